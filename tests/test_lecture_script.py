# SPDX-License-Identifier: Apache-2.0
"""The lecture's Keras script runs when its two import lines name pycnn, on the lecture's data."""

from __future__ import annotations

import re
import shutil

import pytest

import pycnn

SCRIPT = """
from numpy import loadtxt
from keras.models import Sequential
from keras.layers import Dense
# load the dataset
dataset = loadtxt('data.csv', delimiter=',')
# split into input (X) and output (y) variables
X = dataset[:,0:8]
y = dataset[:,8]
# define the keras model
model = Sequential()
model.add(Dense(12, input_dim=8, activation='relu'))
model.add(Dense(8, activation='relu'))
model.add(Dense(1, activation='sigmoid'))
# compile the keras model
model.compile(loss='binary_crossentropy',
              optimizer='adam',
              metrics=['accuracy'])
# fit the keras model on the dataset
model.fit(X, y, epochs=150, batch_size=10)
# evaluate the keras model
_, accuracy = model.evaluate(X, y)
print('Accuracy: %.2f' % (accuracy*100))
"""


@pytest.fixture
def folder(data_home, tmp_path, monkeypatch):
    source = data_home / "pima" / "data.csv"
    if not source.is_file():
        pytest.skip(f"no {source}")
    shutil.copy(source, tmp_path / "data.csv")
    monkeypatch.chdir(tmp_path)
    pycnn.set_seed(0)
    pycnn.set_num_threads(1)
    yield tmp_path
    pycnn.set_num_threads(0)


def test_lecture_script_runs_with_two_import_lines_changed(folder, capsys):
    script = SCRIPT.replace("from keras.", "from pycnn.")
    changed = [a for a, b in zip(SCRIPT.splitlines(), script.splitlines(), strict=True) if a != b]
    assert len(changed) == 2
    assert all(line.startswith("from keras.") for line in changed)
    exec(compile(script, "lecture.py", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 150 + 1 + 1  # epochs, evaluate, print
    accuracy = re.fullmatch(r"Accuracy: (\d+\.\d\d)", lines[-1])
    assert accuracy
    assert float(accuracy[1]) > 70  # always answering "no" gives 65.10
