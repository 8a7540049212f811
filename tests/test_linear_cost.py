# SPDX-License-Identifier: Apache-2.0
"""Time in proportion to what is asked for: layers, models, slots, files, windows (finding 5)."""

from __future__ import annotations

import json
import threading
import time

import numpy as np
import pytest
from engine import python

import pycnn
from pycnn import _core
from pycnn.errors import ModelFormatError
from pycnn.files import container, saving
from pycnn.layers import (
    Activation,
    AveragePooling2D,
    BatchNormalization,
    Conv2D,
    Dense,
    GlobalAveragePooling2D,
    Input,
    UpSampling2D,
)
from pycnn.models import Model, Sequential, load_model


def seconds(action, *arguments, repeats=3):
    """The least processor time of a few."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        action(*arguments)
        times.append(time.process_time() - start)
    return min(times)


def test_predictions_are_linear_in_folded_layers():
    """2,000 pairs: 26 ms; each asked all weights for their version."""

    def made(pairs):
        model = Sequential([Input((1, 1, 1))])
        for _ in range(pairs):
            model.add(Conv2D(1, 1))
            model.add(BatchNormalization())
        model.predict(np.ones((1, 1, 1, 1)))
        return model

    few, many = (seconds(made(n).predict, np.ones((1, 1, 1, 1)), repeats=5) for n in (250, 1000))
    assert many < 9 * max(few, 1e-4), (few, many)


def test_slots_are_linear_in_variables():
    """16,000 took 2.3 s: each looked through all the others."""

    def make(count):
        state = _core.OptimizerState()
        variables = [_core.Variable((1,)) for _ in range(count)]
        for variable in variables:
            state.get(variable, "m")
        assert state.slots_of(variables[0]) == ["m"]

    few, many = seconds(make, 3000), seconds(make, 12_000)
    assert many < 9 * max(few, 1e-3), (few, many)


def test_slots_of_variables_that_are_gone_are_dropped():
    state = _core.OptimizerState()
    kept = [_core.Variable((4,)) for _ in range(3)]
    for variable in kept:
        state.set(variable, "m", np.ones(4, np.float32))
    for _ in range(200):  # at the same places in memory, too
        gone = _core.Variable((4,))
        assert state.slots_of(gone) == []
        assert not state.get(gone, "m").any()
        state.set(gone, "m", np.ones(4, np.float32))
    assert all(state.get(variable, "m").all() for variable in kept)


def test_models_on_shared_layers_do_not_slow_each_other():
    """The 90,000th took ten times as long as the first: a chain of gates, one more each."""
    inputs = Input((2,))
    shared = Dense(2)(inputs)

    def heads(count):
        for _ in range(count):
            Model(inputs, shared).predict(np.ones((1, 2), np.float32))

    first = seconds(heads, 300, repeats=1)
    heads(3000)
    assert seconds(heads, 300, repeats=3) < 3 * first + 0.05


def nested(depth, calls):
    """Models that call a model `calls` times each, as a file describes them."""
    inner = {"class": "Activation", "config": {"name": "a", "trainable": True}}
    inner["config"]["activation"] = "relu"
    if depth:
        inner = {"class": "Model", "config": nested(depth - 1, calls)}
    config = {"name": "input", "trainable": True, "shape": [1]}
    return {
        "class": "Model",
        "name": "m",
        "seed": 0,
        "layers": [{"class": "InputLayer", "config": config}, inner],
        "nodes": [[0, []]] + [[1, [i]] for i in range(calls)],
        "inputs": [0],
        "outputs": [calls],
    }


@pytest.mark.parametrize("calls", [7, 20, 100])
def test_models_that_call_models_are_counted(calls):
    """2.5 KB of file took 29 s to load, and 3 KB any time."""
    graph = json.dumps(nested(7, calls))
    data = container.pack({"pycnn.format": "1.0", "pycnn.graph": graph}, {})
    start = time.process_time()
    with pytest.raises(ModelFormatError, match="layers, counted at each call of a model"):
        saving.from_bytes(data)
    assert time.process_time() - start < 1
    small = container.pack({"pycnn.format": "1.0", "pycnn.graph": json.dumps(nested(3, 3))}, {})
    assert saving.from_bytes(small).predict(np.ones((1, 1))).tolist() == [[1.0]]


def test_activations_of_inner_models_are_limited(tmp_path):
    inputs = Input((1, 1, 1))
    body = Model(inputs, GlobalAveragePooling2D()(UpSampling2D(30_000)(inputs)))
    for model in (body, Model(inputs, body(inputs)), Sequential([Input((1, 1, 1)), body])):
        model.save(tmp_path / "m.pycnn")
        with pytest.raises(ModelFormatError, match="max_activations"):
            load_model(tmp_path / "m.pycnn", max_activations=2**20)
        load_model(tmp_path / "m.pycnn", max_activations=None)


def test_taps_of_pools_are_work():
    """An average over 6,000 pixels counted as nothing: an interrupt waited 9.7 s."""
    model = Sequential([Input((600, 8, 2)), AveragePooling2D((600, 1), strides=1, padding="same")])
    plan = model.prediction_plan(3)[0]
    assert plan.operations == 3 * 600 * 8 * 2 * 600
    with pytest.raises(MemoryError, match="max_operations"):
        pycnn.limits.max_operations = plan.operations - 1
        try:
            model.predict(np.ones((3, 600, 8, 2), np.float32), 3)
        finally:
            pycnn.limits.max_operations = None


ROWS = """
import threading
import numpy as np
from pycnn import _core
from pycnn.errors import ShapeError
graph = _core.Graph()
x = graph.input("x", (None, 500))
graph.mark_output(graph.flatten(x))
batch = 100_000
plan = _core.Plan(graph, _core.Parameters(graph), batch)
data, rows = np.ones((batch, 500), np.float32), np.arange(batch)
for delay in (0.001, 0.01, 0.03):
    rows[:] = np.arange(batch)
    timer = threading.Timer(delay, lambda: rows.fill(2**30))
    timer.start()
    try:
        plan.run([data], rows=rows)
    except ShapeError:  # the other thread came before the check
        pass
    timer.join()
print("whole")
"""


def test_numbers_of_rows_belong_to_the_run():
    """Another thread changed them between the check and the copy: a segmentation fault."""
    result = python(ROWS, timeout=60)
    assert result.stdout == "whole\n", (result.returncode, result.stderr)


def test_what_is_derived_follows_from_what_is_there():
    """After add() or compile() in one thread another one's older network or objective stayed."""
    for _ in range(30):
        model = Sequential([Input((3,)), Dense(1)])
        model.compile("sgd", "mse")
        errors, done = [], threading.Event()

        def look(model=model, errors=errors, done=done):
            while not done.is_set():
                try:
                    model.metrics_names, model.network  # noqa: B018
                except Exception as error:
                    errors.append(error)

        thread = threading.Thread(target=look)
        thread.start()
        for i in range(5):
            model.add(Activation("relu"))
            model.compile("adam", "mse" if i % 2 else "binary_crossentropy", metrics=["mse"])
        done.set()
        thread.join()
        assert not errors
        assert len(model.network.layers) == len(model.layers) + 1 == 7
        assert model.objective.optimizer is model.optimizer
