# SPDX-License-Identifier: Apache-2.0
"""No number of a value, buffer or node is used where there is none; no layout for another."""

from __future__ import annotations

import re

import numpy as np
import pytest
from engine import threads

import pycnn
from pycnn import _core, reference
from pycnn import layers as L


@pytest.mark.parametrize("batch", [1, 2, 60])
def test_transposed_convolution_without_taps_has_no_packed_kernel(batch, tmp_path):
    """Finding 1: each output pixel lies between the taps, so there is nothing to pack."""
    layer = L.Conv2DTranspose(
        4, 2, strides=2, dilation_rate=2, padding=((1, 1), (1, 1)), bias_initializer="ones"
    )
    model = pycnn.Sequential([L.Input((1, 1, 3)), layer])
    x = np.ones((batch, 1, 1, 3), np.float32)
    np.testing.assert_array_equal(model.predict(x), np.ones((batch, 1, 1, 4)))
    model.save(tmp_path / "m.pycnn")
    loaded = pycnn.load_model(tmp_path / "m.pycnn")
    np.testing.assert_array_equal(loaded.predict(x), np.ones((batch, 1, 1, 4)))


def test_numbers_of_values_are_checked():
    graph = _core.Graph()
    x = graph.input("x", (None, 4, 4, 3))
    w = graph.parameter("w", (3, 3, 3, 2))
    for bad in (-1, 2, 2**40, -(2**40)):
        with pytest.raises(ValueError, match=f"value {bad}"):
            graph.conv2d(x, bad)
        with pytest.raises(ValueError, match=f"value {bad}"):
            graph.conv2d(x, w, bad)
        with pytest.raises(ValueError, match=f"value {bad}"):
            graph.mark_output(bad)
        with pytest.raises(ValueError, match=f"value {bad}"):
            graph.concatenate([x, bad])
    for absent in (None, 1.5, "x", 2**80):
        with pytest.raises(TypeError, match="add"):
            graph.add(x, absent)
    graph.conv2d(x, w, None)
    assert graph.nodes()[-1]["inputs"] == [x, w, None]


def graph_of_two_layouts() -> tuple[_core.Graph, int, int, int, int]:
    """Two kernels of equal shape, one for two groups, and their gradients: lying differently."""
    graph = _core.Graph()
    x = graph.input("x", (None, 6, 6, 6))
    half = graph.input("half", (None, 6, 6, 3))
    grouped = graph.parameter("grouped", (3, 3, 3, 10))
    whole = graph.parameter("whole", (3, 3, 3, 10))
    y = graph.add(graph.conv2d(x, grouped, groups=2), graph.conv2d(half, whole))
    loss = graph.loss("mean_squared_error", graph.input("t", graph.shape(y)), y)
    d_grouped, d_whole = graph.gradients(loss, [grouped, whole])
    assert d_grouped is not None
    assert d_whole is not None
    return graph, grouped, whole, d_grouped, d_whole


UPDATES = {
    "sgd": lambda graph, w, dw: graph.sgd(w, dw, momentum=0.9),
    "adam": lambda graph, w, dw: graph.adam(w, dw),
    "moving_average": lambda graph, w, dw: graph.moving_average(w, dw, momentum=0.9),
}


SHAPES = ((1, 6, 6, 6), (1, 6, 6, 3), (1, 4, 4, 10))
EXPECTED = {
    "sgd": lambda w, g: reference.sgd(w, g, np.zeros_like(w), 0.5, momentum=0.9)[0],
    "adam": lambda w, g: reference.adam(w, g, np.zeros_like(w), np.zeros_like(w), 1, 0.5)[0],
    "moving_average": lambda w, g: reference.moving_average(w, g, momentum=0.9),
}


def run_on_noise(graph: _core.Graph, isa: str) -> tuple[_core.Plan, _core.Parameters]:
    parameters = _core.Parameters(graph, isa, "guard_end")
    random = np.random.default_rng(3)
    for name in parameters.names():
        parameters.set(name, random.random(parameters.get(name).shape, np.float32))
    plan = _core.Plan(graph, parameters, 1, "guard_end")
    arrays = [random.random(shape, np.float32) for shape in SHAPES]
    plan.run(arrays, step=1, learning_rate=0.5)
    return plan, parameters


@pytest.mark.parametrize("update", UPDATES)
@pytest.mark.parametrize("swapped", [False, True])
def test_layouts_are_compared_by_value(update, swapped, isa):
    """Finding 3: both are packed, for one and for two groups; once a write out of bounds."""
    graph, grouped, whole, d_grouped, d_whole = graph_of_two_layouts()
    w, dw = (grouped, d_whole) if swapped else (whole, d_grouped)
    name = "grouped" if swapped else "whole"
    before = run_on_noise(graph, isa)[1].get(name)
    UPDATES[update](graph, w, dw)
    graph.mark_output(dw)
    plan, parameters = run_on_noise(graph, isa)
    expected = EXPECTED[update](before, plan.output(0))
    np.testing.assert_allclose(parameters.get(name), expected, 1e-5, 1e-6)


def test_sums_of_gradients_of_two_layouts(isa):
    graph, _, _, *gradients = graph_of_two_layouts()
    for value in (graph.add(*gradients), *gradients):
        graph.mark_output(value)
    total, *parts = (run_on_noise(graph, isa)[0].output(i) for i in range(3))
    np.testing.assert_array_equal(total, parts[0] + parts[1])


@pytest.mark.parametrize("update", UPDATES)
def test_updates_by_a_gradient_of_the_same_layout_work(update, isa):
    graph, grouped, _, d_grouped, _ = graph_of_two_layouts()
    UPDATES[update](graph, grouped, d_grouped)
    parameters = _core.Parameters(graph, isa)
    before = {name: parameters.get(name) for name in parameters.names()}
    plan = _core.Plan(graph, parameters, 1, "guard_end")
    plan.run([np.ones(shape, np.float32) for shape in SHAPES], step=1, learning_rate=0.1)
    changed = [name for name, w in before.items() if (parameters.get(name) != w).any()]
    assert changed == ["grouped"]


def test_parameters_of_other_groups_are_refused(isa):
    graph, other = _core.Graph(), _core.Graph()
    for g, channels, groups in ((graph, 6, 2), (other, 3, 1)):
        x = g.input("x", (None, 6, 6, channels))
        g.mark_output(g.conv2d(x, g.parameter("w", (3, 3, 3, 10)), groups=groups))
    with pytest.raises(ValueError, match="another op or number of groups"):
        _core.Plan(graph, _core.Parameters(other, isa), 1)


def test_none_is_no_argument():
    """Finding 6: Plan(graph, None, 1).run() ended the process."""
    graph = _core.Graph()
    x = graph.input("x", (None, 2))
    graph.mark_output(graph.dense(x, graph.parameter("w", (2, 3))))
    parameters = _core.Parameters(graph)
    for bad in (
        lambda: _core.Plan(graph, None, 1),
        lambda: _core.Plan(None, parameters, 1),
        lambda: _core.Plan(graph, parameters, None),
        lambda: _core.Plan(graph, parameters, 1, None),
        lambda: _core.Parameters(None),
        lambda: _core.Parameters(graph, memory=None),
        lambda: _core.Plan(graph, parameters, 1).run(None),
        lambda: _core.Plan(graph, parameters, 1).run([None]),
        lambda: _core.Plan(graph, parameters, 1).output(None),
        lambda: parameters.get(None),
        lambda: parameters.set("w", None),
        lambda: graph.mark_output(None),
        lambda: graph.shape(None),
        lambda: graph.gradients(None, []),
        lambda: graph.gradients(x, [None]),
        lambda: graph.input(None, (None, 2)),
        lambda: graph.parameter("p", None),
        lambda: graph.parameter("p", (None,)),
        lambda: graph.concatenate([x, None]),
        lambda: graph.loss(None, x, x),
    ):
        with pytest.raises((TypeError, ValueError)):
            bad()


def test_outputs_keep_their_type():
    """Finding 6: the output of an int32 value was its bytes."""
    graph = _core.Graph()
    labels = graph.input("labels", (None, 3), "int32")
    pixels = graph.input("pixels", (None, 2), "uint8")
    graph.mark_output(labels)
    graph.mark_output(pixels)
    plan = _core.Plan(graph, _core.Parameters(graph), 2)
    values = np.array([[1, -2, 2**31 - 1], [300, 70000, -(2**31)]], np.int32)
    plan.run([values, np.array([[0, 255], [1, 128]], np.uint8)])
    assert plan.output(0).dtype == np.int32
    assert plan.output(1).dtype == np.uint8
    np.testing.assert_array_equal(plan.output(0), values)
    np.testing.assert_array_equal(plan.output(1), [[0, 255], [1, 128]])


@pytest.mark.parametrize("extents", [(2**16,) * 4, (2**30, 2**30, 16), (2**21, 2**21, 2**22)])
def test_products_of_extents_that_wrap_to_nothing_are_refused(extents):
    """Each product is 0 modulo 2^64: memory for it would be too small by all of it."""
    graph = _core.Graph()
    with pytest.raises(ValueError, match="too many elements"):
        graph.input("x", (None, *extents))
    with pytest.raises(ValueError, match="too many elements"):
        graph.parameter("w", extents)
    with pytest.raises(ValueError, match="too many elements"):
        _core.Variable(extents)


def test_scratch_of_all_threads_that_wraps_is_refused():
    """Finding 2: rows of 2^31 columns, to be pooled; for 128 threads 2^64 bytes and a few."""
    graph = _core.Graph()
    x, w = graph.input("x", (None, 4, 2139923544, 1)), graph.parameter("w", (1, 1, 1, 4209122))
    y = graph.max_pool2d(graph.conv2d(x, w), pool_size=(4, 4), strides=(4, 4))
    graph.mark_output(y)
    parameters = _core.Parameters(graph)
    with threads(1), pytest.raises(MemoryError, match="max_scratch_bytes") as refusal:
        _core.Plan(graph, parameters, 1, max_scratch_bytes=1)
    needed = int(re.findall(r"needs (\d+)", str(refusal.value))[0])
    assert 2**64 < 128 * needed < 2**64 + 2**40
    with threads(128), pytest.raises(MemoryError, match="does not fit"):
        _core.Plan(graph, parameters, 1)


KERNELS = {
    "conv2d": lambda g, x, flat, w, u: g.conv2d(x, w),
    "conv2d_backward_data": lambda g, x, flat, w, u: g.conv2d_backward_data(
        x, w, x, padding="same"
    ),
    "conv2d_transpose": lambda g, x, flat, w, u: g.conv2d_transpose(x, w),
    "depthwise": lambda g, x, flat, w, u: g.conv2d(x, w, groups=8),
    "dense": lambda g, x, flat, w, u: g.dense(flat, u),
    "dense_backward_data": lambda g, x, flat, w, u: g.dense_backward_data(flat, u, flat),
}


@pytest.mark.parametrize("op", KERNELS)
def test_computed_kernels_are_refused(op):
    """They are not packed: reading them as if they were goes beyond their end."""
    graph = _core.Graph()
    x, flat = graph.input("x", (None, 5, 5, 8)), graph.input("flat", (None, 8))
    shape = (3, 3, 1, 8) if op == "depthwise" else (3, 3, 8, 8)
    w, u = graph.parameter("w", shape), graph.parameter("u", (8, 8))
    w, u = graph.activation(w, "tanh"), graph.activation(u, "tanh")
    graph.mark_output(KERNELS[op](graph, x, flat, w, u))
    parameters = _core.Parameters(graph)
    with pytest.raises(ValueError, match="the kernel must be a parameter"):
        _core.Plan(graph, parameters, 1)


def test_gradients_that_are_refused_leave_no_nodes():
    """Half of them stayed in the graph, and in each plan made of it."""

    def make():
        graph = _core.Graph()
        x, t = graph.input("x", (None, 8)), graph.input("t", (None, 8))
        w, u = graph.parameter("w", (8, 8)), graph.parameter("u", (8, 8))
        y = graph.dense(graph.dense_backward_data(x, w, x), u)
        return graph, graph.loss("mean_squared_error", t, y), w, u

    graph, loss, w, u = make()
    before = graph.nodes()
    with pytest.raises(ValueError, match="dense_backward_data: not differentiable"):
        graph.gradients(loss, [u, w])
    assert graph.nodes() == before
    other, other_loss, _, _ = make()
    assert graph.gradients(loss, [u]) == other.gradients(other_loss, [u])
    assert graph.nodes() == other.nodes() != before
