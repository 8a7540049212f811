# SPDX-License-Identifier: Apache-2.0
"""dense, its gradients and its epilogues against the reference: whole numbers exactly."""

from __future__ import annotations

import numpy as np
import pytest
from engine import (
    CHANNELS,
    GUARDS,
    Array,
    Check,
    Net,
    Probe,
    Setting,
    assert_equal,
    assert_guarded,
    assert_within,
    rounded,
    run,
    sum_bound,
)
from hypothesis import given
from strategies import DenseShape, dense_shapes, random_array, seeds, small_integers

from pycnn import _core, reference

SHAPES = dense_shapes(max_rows=17, max_channels=17, max_rank=4)
PICKED = [
    *(DenseShape((M, 11), (11, 16)) for M in CHANNELS),
    *(DenseShape((5, C), (C, 9)) for C in CHANNELS),
    *(DenseShape((7, 3), (3, K)) for K in CHANNELS),
    DenseShape((130, 33), (33, 31)),
    DenseShape((1, 300), (300, 257)),  # more weights than a small task reads
    DenseShape((2300, 5), (5, 7)),  # weight gradients in several chunks
    DenseShape((64, 784), (784, 10)),
    DenseShape((2, 3, 5, 9), (9, 24)),
]
NAMES = ("y", "dx", "dw", "db")


def arrays(case: DenseShape, seed: int, make=small_integers) -> tuple[Array, Array, Array, Array]:
    """x, w, b, dy"""
    shapes = (case.x_shape, case.w_shape, case.w_shape[1:], case.y_shape)
    x, w, b, dy = (rounded(make(shape, seed, i)) for i, shape in enumerate(shapes))
    return x, w, b, dy


def all_passes(x: Array, w: Array, b: Array, dy: Array, setting: Setting) -> list[Array]:
    """y, dx, dw, db of the engine, all in one plan."""

    def build(graph: _core.Graph, v: dict[str, int]) -> list[int]:
        return [
            graph.dense(v["x"], v["w"], v["b"]),
            graph.dense_backward_data(v["dy"], v["w"], v["x"]),
            graph.dense_backward_weights(v["x"], v["dy"], v["w"]),
            graph.bias_backward(v["dy"]),
        ]

    return run(build, {"x": x, "dy": dy}, {"w": w, "b": b}, setting)


def expected_passes(x: Array, w: Array, b: Array, dy: Array) -> list[Array]:
    return [
        reference.dense(x, w, b),
        reference.dense_backward_data(dy, w),
        reference.dense_backward_weights(x, dy),
        reference.bias_backward(dy),
    ]


def check_integers(case: DenseShape, seed: int, setting: Setting) -> None:
    """Equal to the reference, and <x w, dy> = <x, dx> = <w, dw> exactly."""
    x, w, b, dy = arrays(case, seed)
    results = all_passes(x, w, b, dy, setting)
    for name, got, expected in zip(NAMES, results, expected_passes(x, w, b, dy), strict=True):
        assert_equal(got, expected, name)
    y, dx, dw, db = (result.astype(np.float64) for result in results)
    assert np.vdot(y, dy) - np.vdot(b, db) == np.vdot(x, dx) == np.vdot(w, dw)


def check_real(case: DenseShape, seed: int, setting: Setting) -> None:
    """Each result lies within the promised bound."""
    rows = int(np.prod(case.x_shape[:-1]))
    terms = (case.w_shape[0], case.w_shape[1], rows, rows)
    values = arrays(case, seed, random_array)
    results, expected = all_passes(*values, setting), expected_passes(*values)
    magnitudes = expected_passes(*(np.abs(value) for value in values))
    for i, name in enumerate(NAMES):
        assert_within(results[i], expected[i], sum_bound(terms[i], magnitudes[i]), name)


@pytest.mark.parametrize("case", PICKED, ids=str)
def test_picked_shapes(case, isa):
    check_integers(case, 0, Setting(isa))
    check_real(case, 1, Setting(isa))


@given(SHAPES, seeds)
def test_integers(isa, case, seed):
    check_integers(case, seed, Setting(isa))


@given(SHAPES, seeds)
def test_real_values(isa, case, seed):
    check_real(case, seed, Setting(isa))


@pytest.mark.parametrize("case", PICKED[-5:], ids=str)
def test_threads_change_no_bit(case, isa):
    values = arrays(case, 2, random_array)
    serial = all_passes(*values, Setting(isa))
    for count in (2, 5):
        parallel = all_passes(*values, Setting(isa, threads=count))
        for name, a, b in zip(NAMES, serial, parallel, strict=True):
            np.testing.assert_array_equal(a, b, err_msg=f"{name} with {count} threads")


def check_epilogues(case: DenseShape, seed: int, setting: Setting) -> None:
    """Bias, residual add and activation inside the product: the same values, one step."""
    x, w, b, residual = arrays(case, seed)
    for kind in ("linear", "relu", "relu6"):

        def build(graph: _core.Graph, v: dict[str, int], kind=kind) -> list[int]:
            y = graph.add(v["residual"], graph.dense(v["x"], v["w"], v["b"]))
            return [y if kind == "linear" else graph.activation(y, kind)]

        net = Net(build, {"x": x, "residual": residual}, {"w": w, "b": b}, setting)
        assert net.steps() == ["dense"]
        expected = reference.activation(kind, reference.dense(x, w, b) + residual)
        assert_equal(net.run()[0], expected, kind)


@given(SHAPES, seeds)
def test_epilogues(isa, case, seed):
    check_epilogues(case, seed, Setting(isa))


def check_gates(case: DenseShape, seed: int, setting: Setting) -> None:
    """The gradient of relu and relu6 inside backward_data: the same values, one step less."""
    x, w, b, _ = arrays(case, seed)
    w0 = small_integers((case.w_shape[0],) * 2, seed, 5, limit=1)
    for kind in ("relu", "relu6"):
        hidden = reference.activation(kind, reference.dense(x, w0))
        probe = Probe.of(reference.dense(hidden, w, b), seed)

        def build(graph: _core.Graph, v: dict[str, int], kind=kind, probe=probe) -> list[int]:
            h = graph.activation(graph.dense(v["x"], v["w0"]), kind)
            loss = probe.loss(graph, v, graph.dense(h, v["w"], v["b"]))
            return [i for i in graph.gradients(loss, [v["w0"], v["x"]]) if i is not None]

        parameters = {"w": w, "b": b, "w0": w0, **probe.parameters}
        net = Net(build, {"x": x, **probe.inputs}, parameters, setting)
        assert "activation_backward" not in net.steps()
        gated = reference.activation_backward(
            kind, hidden, reference.dense_backward_data(probe.dy, w)
        )
        dw0, dx = net.run()
        assert_equal(dw0, reference.dense_backward_weights(x, gated), f"{kind} dw0")
        assert_equal(dx, reference.dense_backward_data(gated, w0), f"{kind} dx")


GATED = dense_shapes(max_rows=3, max_channels=33, max_rank=3)


@given(GATED, seeds)
def test_gates(isa, case, seed):
    check_gates(case, seed, Setting(isa))


CHECKS = [
    Check(check_integers, SHAPES, PICKED),
    Check(check_real, SHAPES),
    Check(check_epilogues, SHAPES, PICKED[:5]),
    Check(check_gates, GATED),
]


@pytest.mark.parametrize("memory", GUARDS)
def test_no_byte_outside(memory, isa):
    assert_guarded(__name__, memory, isa)


@pytest.mark.parametrize("shape", [(3, 4), (2, 3, 4), (2, 3, 1, 5)])
def test_flatten_is_a_view_of_samples(shape, isa):
    """Values and gradient keep their order, whatever the rank."""
    x = small_integers(shape, 3)
    probe = Probe.of(x.reshape(len(x), -1), 0)

    def build(graph: _core.Graph, v: dict[str, int]) -> list[int]:
        flat = graph.flatten(v["x"])
        (dx,) = graph.gradients(probe.loss(graph, v, flat), [v["x"]])
        assert dx is not None
        return [flat, dx]

    flat, dx = run(build, {"x": x, **probe.inputs}, probe.parameters, Setting(isa))
    assert_equal(flat, reference.reshape(x), "y")
    assert_equal(dx, reference.reshape(probe.dy, x), "dx")
