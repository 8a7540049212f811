# SPDX-License-Identifier: Apache-2.0
"""Inputs whose rows lie one after the other are read in the caller's memory, and only read."""

from __future__ import annotations

import numpy as np
import pytest
from engine import python

from pycnn import _core

SHAPE = (6, 5, 4)


def plan_of(build, batch=3, shape=SHAPE):
    graph = _core.Graph()
    for output in build(graph, graph.input("x", (None, *shape))):
        graph.mark_output(output)
    return _core.Plan(graph, _core.Parameters(graph), batch)


def data(count=11, shape=SHAPE):
    return np.random.default_rng(1).standard_normal((count, *shape), np.float32)


# Ops that may take their input's memory, directly or behind a view, and some that may not.
FIRST = {
    "activation": lambda g, x: [g.activation(x, "relu")],
    "softmax": lambda g, x: [g.softmax(x)],
    "dropout": lambda g, x: [g.dropout(x, 0.5, stream=0)],
    "add": lambda g, x: [g.add(x, x)],
    "pool": lambda g, x: [g.max_pool2d(x, (2, 2), strides=(2, 2))],
    "view": lambda g, x: [g.activation(g.reshape(x), "tanh")],
    "twice": lambda g, x: [g.activation(x, "relu"), g.activation(x, "tanh")],
    "channels": lambda g, x: [g.concatenate([g.slice_channels(x, 1, count=2), x])],
    "behind": lambda g, x: [g.global_avg_pool2d(g.activation(x, "relu"))],
    "behind a view": lambda g, x: [g.softmax(g.softmax(g.activation(g.reshape(x), "tanh")))],
    "itself": lambda g, x: [x, g.activation(x, "relu")],
    "its view": lambda g, x: [g.reshape(x), g.activation(x, "relu")],
}


@pytest.mark.parametrize("name", FIRST)
def test_where_the_rows_lie_changes_nothing(name):
    plan, x = plan_of(FIRST[name]), data()
    plan.run([x], rows=np.array([7, 2, 9]), step=1)
    gathered = [plan.output(i) for i in range(len(FIRST[name](*graph())))]
    close = np.concatenate([x[:4], x[[7, 2, 9]], x[:4]])
    kept = close.copy()
    for rows, start in ((None, 4), (np.array([4, 5, 6]), 0)):
        plan.run([close], rows=rows, start=start, step=1)
        for i, want in enumerate(gathered):
            np.testing.assert_array_equal(plan.output(i), want)
    np.testing.assert_array_equal(close, kept)


def graph():
    g = _core.Graph()
    return g, g.input("x", (None, *SHAPE))


@pytest.mark.parametrize("name", FIRST)
def test_what_is_lent_is_not_written(name):
    """The pages of the array allow no writing: a step that did would end the process."""
    result = python(READ_ONLY, name)
    assert result.stdout == "fine\n", result.stderr


READ_ONLY = """
import sys, tempfile
import numpy as np
from test_lending import FIRST, data, plan_of
with tempfile.NamedTemporaryFile() as file:
    data().tofile(file.name)
    x = np.memmap(file.name, np.float32, "r", shape=data().shape)
    plan = plan_of(FIRST[sys.argv[1]])
    plan.run([np.asarray(x)], start=2, step=1)
print("fine")
"""


def test_outputs_are_there_after_the_array_is_gone():
    plan = plan_of(FIRST["its view"])
    x = data()
    want = x[2:5].reshape(3, -1).copy()
    plan.run([x], start=2)
    x[:] = 0
    del x
    np.testing.assert_array_equal(plan.output(0), want)


def test_input_and_output_may_be_the_same_array():
    plan, x = plan_of(FIRST["activation"]), data()
    want = np.maximum(x, 0)
    plan.run([x], [x], start=4)
    np.testing.assert_array_equal(x[4:7], want[4:7])


def test_arrays_that_are_not_aligned_are_copied():
    plan, x = plan_of(FIRST["pool"]), data(3)
    plan.run([x])
    want = plan.output(0)
    for offset in (1, 2, 3, 4):
        moved = np.frombuffer(b"?" * offset + x.tobytes(), "f4", offset=offset).reshape(x.shape)
        plan.run([moved])
        np.testing.assert_array_equal(plan.output(0), want)


def test_rows_that_follow_each_other_are_not_copied():
    """16 MB: no machine copies them in 50 microseconds."""
    shape, batch = (64, 64, 16), 64
    plan = plan_of(lambda g, x: [g.global_avg_pool2d(x)], batch, shape)
    times = plan.profile([np.ones((batch, *shape), np.float32)])
    assert next(seconds for op, _, seconds in times if op == "input") < 5e-5
