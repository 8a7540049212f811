# SPDX-License-Identifier: Apache-2.0
"""What a plan refuses or survives: odd graphs, foreign parameters, labels out of range."""

from __future__ import annotations

import time

import numpy as np
import pytest

from pycnn import _core, reference
from pycnn.errors import NumericError, ShapeError

X = np.random.default_rng(0).integers(-3, 4, (2, 8, 8, 3)).astype(np.float32)


def parameters_of(graph: _core.Graph, isa: str, **values: np.ndarray) -> _core.Parameters:
    parameters = _core.Parameters(graph, isa)
    for name, value in values.items():
        parameters.set(name, np.asarray(value, np.float32))
    return parameters


def test_two_pools_after_a_convolution(isa):
    w = np.random.default_rng(1).integers(-2, 3, (3, 3, 3, 5)).astype(np.float32)
    graph = _core.Graph()
    y = graph.conv2d(graph.input("x", (None, 8, 8, 3)), graph.parameter("w", w.shape))
    for _ in range(2):
        y = graph.max_pool2d(y, pool_size=(2, 2), strides=(2, 2))
    graph.mark_output(y)
    plan = _core.Plan(graph, parameters_of(graph, isa, w=w), 2)
    plan.run([X])
    expected = reference.conv2d(X, w)
    for _ in range(2):
        expected = reference.max_pool2d(expected, (2, 2), (2, 2), "valid")
    np.testing.assert_array_equal(plan.output(0), expected)


@pytest.mark.parametrize("geometry", [(1, 2, 5), (2, 4, 3)], ids=["1x1 s2 d5", "2x2 s4 d3"])
@pytest.mark.parametrize("memory", ["planned", "guard_begin"])
def test_stride_phases_without_taps_before_a_pool(isa, geometry, memory):
    kernel, stride, dilation = geometry
    w = np.ones((kernel, kernel, 3, 6), np.float32)
    options = {"strides": (stride, stride), "dilation": (dilation, dilation)}
    graph = _core.Graph()
    x, labels = graph.input("x", (None, 8, 8, 3)), graph.input("y", (None,), "int32")
    kernels = [graph.parameter("v", (1, 1, 3, 3)), graph.parameter("w", w.shape)]
    y = graph.conv2d(graph.conv2d(x, kernels[0]), kernels[1], **options, padding="same")
    y = graph.max_pool2d(y, pool_size=(2, 2), strides=(2, 2))
    loss = graph.loss("sparse_categorical_crossentropy", labels, graph.flatten(y), from_logits=True)
    for gradient in graph.gradients(loss, kernels):
        graph.mark_output(gradient)
    parameters = parameters_of(graph, isa, v=np.ones((1, 1, 3, 3)), w=w)
    plan = _core.Plan(graph, parameters, 2, memory)
    plan.run([X, np.zeros(2, np.int32)])
    assert np.isfinite(plan.output(0)).all()


def test_more_inputs_than_a_plan_takes():
    graph = _core.Graph()
    values = [graph.input(f"x{i}", (None, 3)) for i in range(17)]
    total = values[0]
    for value in values[1:]:
        total = graph.add(total, value)
    graph.mark_output(total)
    with pytest.raises(ValueError, match="at most 16 inputs"):
        _core.Plan(graph, _core.Parameters(graph), 1)


def dense_graph(inputs: int) -> _core.Graph:
    graph = _core.Graph()
    graph.mark_output(
        graph.dense(graph.input("x", (None, inputs)), graph.parameter("w", (inputs, 4)))
    )
    return graph


def test_parameters_of_another_shape_or_use():
    with pytest.raises(ShapeError, match=r"parameter w: .*\(1600, 4\).*\(8, 4\)"):
        _core.Plan(dense_graph(1600), _core.Parameters(dense_graph(8)), 1)
    plain = _core.Graph()
    x = plain.input("x", (None, 4))
    plain.mark_output(plain.add(plain.parameter("w", (8, 4)), plain.parameter("b", (8, 4))))
    assert x >= 0
    with pytest.raises(ValueError, match="parameter w: "):
        _core.Plan(dense_graph(8), _core.Parameters(plain), 1)


def test_a_kernel_is_a_sample_of_an_average(isa):
    graph = dense_graph(8)
    w = next(n["outputs"][0] for n in graph.nodes() if n["name"] == "w")
    graph.moving_average(graph.parameter("ema", (8, 4), False), w, momentum=0.5)
    parameters = _core.Parameters(graph, isa)
    parameters.set("w", np.arange(32, dtype=np.float32).reshape(8, 4))
    _core.Plan(graph, parameters, 1).run([np.zeros((1, 8), np.float32)])
    np.testing.assert_array_equal(parameters.get("ema"), parameters.get("w") / 2)


@pytest.mark.parametrize("label", [-1, 4, 10_000_000])
@pytest.mark.parametrize("from_logits", [False, True])
def test_labels_out_of_range_stop_the_step(isa, label, from_logits):
    graph = dense_graph(8)
    w, y = graph.nodes()[1]["outputs"][0], graph.nodes()[2]["outputs"][0]
    labels = graph.input("y", (None,), "int32")
    y = y if from_logits else graph.softmax(y)
    kind = "sparse_categorical_crossentropy"
    loss = graph.loss(kind, labels, y, from_logits=from_logits)
    (gradient,) = graph.gradients(loss, [w])
    graph.sgd(w, gradient)
    graph.mark_output(loss)
    start = np.ones((8, 4), np.float32)
    parameters = parameters_of(graph, isa, w=start)
    plan = _core.Plan(graph, parameters, 2)
    with pytest.raises(NumericError):
        plan.run([np.ones((2, 8), np.float32), np.array([0, label], np.int32)])
    np.testing.assert_array_equal(parameters.get("w"), start)


def test_strides_beyond_the_image_cost_nothing():
    graph = _core.Graph()
    x, dy = graph.input("x", (None, 4, 4, 1)), graph.input("dy", (None, 1, 1, 1))
    options = {"strides": (100_000, 100_000)}
    w = graph.parameter("w", (1, 1, 1, 1))
    graph.mark_output(graph.conv2d_backward_data(dy, w, x, **options))
    start = time.process_time()
    plan = _core.Plan(graph, parameters_of(graph, "scalar", w=np.ones((1, 1, 1, 1))), 1)
    assert time.process_time() - start < 1
    plan.run([np.zeros((1, 4, 4, 1), np.float32), np.ones((1, 1, 1, 1), np.float32)])
    assert plan.output(0).sum() == plan.output(0)[0, 0, 0, 0] == 1
