# SPDX-License-Identifier: Apache-2.0
"""An interrupt between any two lines of Python leaves a model as it was, or as it should become."""

from __future__ import annotations

import os
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from toys import tiny

import pycnn
from pycnn.layers import Activation, Dense, Input
from pycnn.models import Sequential, load_model

PACKAGE = str(Path(pycnn.__file__).parent)


class Interrupt(BaseException):
    """As KeyboardInterrupt, but pytest does not stop for it."""


@contextmanager
def interrupted_at(line: int, *files: str):
    """Raises before this line, counted over those that run in files of the package."""
    places = tuple(os.path.join(PACKAGE, name) for name in files) or (PACKAGE,)
    seen = [0]

    def trace(frame, event, _):
        code = frame.f_code
        if not code.co_filename.startswith(places) or code.co_name == "__del__":
            return None
        if event == "line":
            seen[0] += 1
            if seen[0] == line:
                sys.settrace(None)
                raise Interrupt
        return trace

    tracer = sys.gettrace()
    sys.settrace(trace)
    try:
        yield seen
    except Interrupt:
        pass
    finally:
        sys.settrace(tracer)


def lines_of(action, *files):
    """How many lines it runs."""
    with interrupted_at(-1, *files) as seen:
        action()
    return seen[0]


X, Y = np.ones((2, 3), np.float32), np.ones((2, 2), np.float32)


def unbuilt():
    pycnn.set_seed(0)
    model = Sequential([Dense(4, activation="relu"), Dense(3), Dense(2)])
    model.compile("sgd", "mse")
    return model


def fit(model):
    model.fit(X, Y, verbose=0)


def others_may_build():
    """Whether no lock stayed closed."""
    thread = threading.Thread(target=Sequential([Dense(1)]).build, args=((None, 2),), daemon=True)
    thread.start()
    thread.join(20)
    return not thread.is_alive()


def test_a_first_fit_may_be_interrupted_anywhere():
    """One in three lost layers: the stack was emptied while the model was built."""
    count = lines_of(lambda: fit(unbuilt()))
    want = unbuilt()
    fit(want)
    assert count > 500
    for line in range(1, count, max(1, count // 400)):
        model = unbuilt()
        with interrupted_at(line):
            fit(model)
        assert len(model.layers) == 3
        assert others_may_build()
        trained = model.optimizer.iterations
        if trained == 0:  # else the interrupt came after the step
            fit(model)
        assert model.optimizer.iterations == 1
        for got, expected in zip(model.get_weights(), want.get_weights(), strict=True):
            np.testing.assert_array_equal(got, expected)


def test_an_interrupt_at_any_line_leaves_fit_open():
    """One in a thousand made fit() refuse for ever: "fit is running already"."""
    model = unbuilt()
    fit(model)
    count = lines_of(lambda: fit(model), "training/door.py")
    assert count > 5
    for line in range(1, count + 1):
        with interrupted_at(line, "training/door.py"):
            fit(model)
        fit(model)


@pytest.mark.parametrize("action", ["add", "pop"])
def test_a_stack_may_be_interrupted_anywhere(action):
    """Names stayed taken, layers half added."""

    def change(model, layer):
        model.add(layer) if action == "add" else model.pop()

    def made():
        return Sequential([Input((3,)), Dense(4), Activation("relu", name="top")])

    count = lines_of(lambda: change(made(), Dense(2)))
    for line in range(1, count + 1):
        model = made()
        with interrupted_at(line):
            change(model, Dense(2))
        assert model.predict(X).shape == (2, model.layers[-1].output.shape[-1])
        while len(model.layers) > 1:
            model.pop()
        model.add(Dense(5, name="top"))
        assert model.predict(X).shape == (2, 5)


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # files are closed as they are forgotten
@pytest.mark.parametrize("action", ["save", "load"])
def test_files_may_be_interrupted_anywhere(action, tmp_path):
    """Descriptors stayed open, and one was closed that belonged to somebody else by then."""
    path = tmp_path / "m.pycnn"
    model = tiny()
    model.save(path)
    before = path.read_bytes()

    def act():
        model.save(path) if action == "save" else load_model(path)

    count = lines_of(act, "ground/disk.py")
    assert count > 2
    descriptors = len(os.listdir("/proc/self/fd"))
    for line in range(1, count + 1):
        with interrupted_at(line, "ground/disk.py"):
            act()
        assert path.read_bytes() == before
    assert len(os.listdir("/proc/self/fd")) == descriptors
    act()
    model.save(path)
    assert [file.name for file in tmp_path.iterdir()] == ["m.pycnn"]
