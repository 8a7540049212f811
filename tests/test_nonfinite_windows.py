# SPDX-License-Identifier: Apache-2.0
"""A number that is not finite reaches what reads it, alone and in a batch (finding 22).

Large batches take neighbouring columns of a convolution together (csrc/ops/widen.h), and rows are
packed with zeros beside them: neither may carry NaN to a window that does not hold it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from engine import Array, Net, Setting

from pycnn import _core, reference

BATCH = 64
CASES = [  # image, kernel, strides, padding, dilation
    ((12, 12, 1), (3, 3, 1, 8), (1, 1), "valid", (1, 1)),
    ((12, 12, 1), (5, 5, 1, 6), (1, 1), "same", (1, 1)),
    ((12, 12, 3), (3, 3, 3, 16), (1, 1), "same", (1, 1)),
    ((12, 12, 2), (1, 2, 2, 5), (1, 1), "same", (1, 1)),
    ((13, 12, 4), (3, 5, 4, 3), (1, 1), "same", (1, 1)),
    ((24, 24, 2), (3, 3, 2, 4), (2, 2), "same", (1, 1)),
    ((24, 24, 1), (3, 4, 1, 10), (1, 2), "valid", (1, 1)),
    ((12, 12, 6), (3, 3, 6, 32), (1, 1), "same", (1, 1)),
    ((12, 12, 20), (3, 3, 20, 33), (1, 1), "same", (1, 1)),
    ((16, 12, 3), (3, 3, 3, 8), (1, 1), "same", (2, 2)),
    ((4, 60, 1), (3, 3, 1, 8), (1, 1), "same", (1, 1)),
    ((1, 60, 2), (1, 3, 2, 4), (1, 1), "valid", (1, 1)),
]
each_case = pytest.mark.parametrize("case", CASES, ids=str)
each_kind = pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])


def options_of(case: Any) -> dict[str, Any]:
    return dict(zip(("strides", "padding", "dilation"), case[2:], strict=True))


def places(shape: Sequence[int]) -> list[tuple[int, ...]]:
    """(row, column, channel): corners, edges and what lies between."""
    H, W, C = shape
    rows, columns = sorted({0, H // 2, H - 1}), sorted({0, 1, W // 2, W // 2 + 1, W - 1})
    return [(h, w, (h + w) % C) for h in rows for w in columns]


def with_bad_pixels(shape: Sequence[int], bad: float, seed: int) -> tuple[Array, Array]:
    """(numbers, where they are bad): one place of an image, some images without any."""
    x = np.random.default_rng(seed).normal(size=(BATCH, *shape)).astype(np.float32)
    mark = np.zeros(x.shape)
    for n, place in zip(range(3, BATCH, 2), places(shape), strict=False):
        mark[(n, *place)] = 1
    x[mark == 1] = bad
    return x, mark


def check(net: Net, index: int, expected: Array) -> None:
    """Exactly the expected numbers are not finite; each image gives the same bits alone."""
    batch = net.run()[index]
    np.testing.assert_array_equal(~np.isfinite(batch), expected)
    alone = net.make_plan(1)
    for n in range(20):
        alone.run(net.inputs, start=n)
        np.testing.assert_array_equal(alone.output(index)[0], batch[n], err_msg=f"image {n}")


@each_case
@each_kind
def test_forward(case, bad, isa):
    x_shape, w_shape, *_ = case
    x, mark = with_bad_pixels(x_shape, bad, 0)
    w = np.random.default_rng(1).normal(size=w_shape)

    def build(g: _core.Graph, v: dict[str, int]) -> list[int]:
        return [g.conv2d(v["x"], v["w"], v["b"], **options_of(case))]

    net = Net(build, {"x": x}, {"w": w, "b": np.ones(w_shape[-1])}, Setting(isa))
    check(net, 0, reference.conv2d(mark, np.ones(w_shape), **options_of(case)) > 0)


@each_case
@each_kind
def test_backward_data(case, bad, isa):
    x_shape, w_shape, *_ = case
    x = np.zeros((BATCH, *x_shape))
    y_shape = reference.conv2d(x[:1], np.ones(w_shape), **options_of(case)).shape[1:]
    dy, mark = with_bad_pixels(y_shape, bad, 0)
    w = np.random.default_rng(1).normal(size=w_shape)

    def build(g: _core.Graph, v: dict[str, int]) -> list[int]:
        return [g.conv2d_backward_data(v["dy"], v["w"], v["x"], **options_of(case))]

    net = Net(build, {"dy": dy, "x": x}, {"w": w}, Setting(isa))
    expected = reference.conv2d_backward_data(mark, np.ones(w_shape), x.shape, **options_of(case))
    check(net, 0, expected > 0)


@each_case
@each_kind
def test_backward_weights(case, bad, isa):
    """One bad pixel of x or of dy at a time, in a batch and alone."""
    x_shape, w_shape, *_ = case
    options = options_of(case)
    clean = np.ones((BATCH, *x_shape), np.float32)
    y_shape = reference.conv2d(clean[:1], np.ones(w_shape), **options).shape[1:]
    w = np.ones(w_shape)

    def build(g: _core.Graph, v: dict[str, int]) -> list[int]:
        dw = g.conv2d_backward_weights(v["x"], v["dy"], v["w"], **options)
        return [dw, g.conv2d(v["x"], v["w"], **options)]

    arrays = {"x": clean, "dy": np.ones((BATCH, *y_shape), np.float32)}
    net = Net(build, arrays, {"w": w}, Setting(isa))
    alone = net.make_plan(1)
    for which, shape in enumerate((x_shape, y_shape)):
        for place in places(shape):
            marks = [np.ones((1, *x_shape)), np.ones((1, *y_shape))]
            marks[which] = np.zeros_like(marks[which])
            marks[which][(0, *place)] = 1
            expected = reference.conv2d_backward_weights(*marks, w_shape, **options) > 0
            net.inputs[which][(2, *place)] = bad
            np.testing.assert_array_equal(~np.isfinite(net.run()[0]), expected, str(place))
            alone.run(net.inputs, start=2)
            np.testing.assert_array_equal(~np.isfinite(alone.output(0)), expected, str(place))
            net.inputs[which][(2, *place)] = 1


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("strides", [(1, 1), (2, 2)])
@each_kind
def test_transposed(padding, strides, bad, isa):
    x, mark = with_bad_pixels((12, 12, 6), bad, 0)
    w = np.random.default_rng(1).normal(size=(3, 3, 4, 6))
    options = {"padding": padding, "strides": strides}

    def build(g: _core.Graph, v: dict[str, int]) -> list[int]:
        return [g.conv2d_transpose(v["x"], v["w"], v["b"], **options)]

    net = Net(build, {"x": x}, {"w": w, "b": np.ones(4)}, Setting(isa))
    check(net, 0, reference.conv2d_transpose(mark, np.ones(w.shape), **options) > 0)


@pytest.mark.parametrize("padding", ["same", "valid"])
@each_kind
def test_depthwise(padding, bad, isa):
    """All passes: the taps of these kernels never leave the image."""
    x, mark = with_bad_pixels((12, 12, 5), bad, 0)
    w_shape, options = (3, 3, 1, 5), {"padding": padding, "groups": 5}
    w = np.random.default_rng(1).normal(size=w_shape)

    def build(g: _core.Graph, v: dict[str, int]) -> list[int]:
        return [g.conv2d(v["x"], v["w"], **options)]

    expected = reference.conv2d(mark, np.ones(w_shape), **options) > 0
    check(Net(build, {"x": x}, {"w": w}, Setting(isa)), 0, expected)
    dy, mark = with_bad_pixels(expected.shape[1:], bad, 0)
    clean = np.ones(x.shape)

    def backward(g: _core.Graph, v: dict[str, int]) -> list[int]:
        dx = g.conv2d_backward_data(v["dy"], v["w"], v["x"], **options)
        return [dx, g.conv2d_backward_weights(v["x"], v["dy"], v["w"], **options)]

    net = Net(backward, {"dy": dy, "x": clean}, {"w": w}, Setting(isa))
    wanted = reference.conv2d_backward_data(mark, np.ones(w_shape), x.shape, **options) > 0
    check(net, 0, wanted)
    wanted = reference.conv2d_backward_weights(clean, mark, w_shape, **options) > 0
    np.testing.assert_array_equal(~np.isfinite(net.run()[1]), wanted)


@pytest.mark.parametrize("kind", ["max_pool2d", "avg_pool2d"])
@pytest.mark.parametrize(
    "strides, padding", [((2, 2), "valid"), ((1, 1), "same"), ((2, 3), "same")]
)
@each_kind
def test_pools(kind, strides, padding, bad, isa):
    """-inf is only a maximum where nothing else is in the window."""
    x, mark = with_bad_pixels((12, 13, 5), bad, 0)

    def build(g: _core.Graph, v: dict[str, int]) -> list[int]:
        return [getattr(g, kind)(v["x"], pool_size=(2, 3), strides=strides, padding=padding)]

    expected = reference.avg_pool2d(mark, (2, 3), strides, padding) > 0
    if kind == "max_pool2d" and bad == -np.inf:
        expected = np.isinf(reference.max_pool2d(x, (2, 3), strides, padding))
    check(Net(build, {"x": x}, {}, Setting(isa)), 0, expected)


@each_kind
def test_what_follows_a_convolution_in_its_tiles(bad, isa):
    """Bias, residual, activation, pool: each image alone gives the bits it has in a batch."""
    x, _ = with_bad_pixels((12, 12, 3), bad, 0)
    shapes = {"w1": (3, 3, 3, 8), "w2": (3, 3, 8, 8), "w3": (3, 3, 8, 6), "b": (8,)}
    rng = np.random.default_rng(2)
    parameters = {name: rng.normal(size=shape) for name, shape in shapes.items()}

    def build(g: _core.Graph, v: dict[str, int]) -> list[int]:
        a = g.activation(g.conv2d(v["x"], v["w1"], v["b"], padding="same"), "relu")
        b = g.activation(g.add(g.conv2d(a, v["w2"], padding="same"), a), "relu")
        c = g.max_pool2d(g.conv2d(b, v["w3"], padding="same"), pool_size=(2, 2), strides=(2, 2))
        return [c]

    net = Net(build, {"x": x}, parameters, Setting(isa))
    batch, alone = net.run()[0], net.make_plan(1)
    assert not np.isfinite(batch).all() and np.isfinite(batch[:3]).all()
    for n in range(20):
        alone.run(net.inputs, start=n)
        np.testing.assert_array_equal(alone.output(0)[0], batch[n], err_msg=f"image {n}")


@each_kind
def test_gradients_behind_pools_and_gates(bad, isa):
    """dx of a pooled, gated layer: not finite within reach of the bad gradient, and no further."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(BATCH, 16, 16, 4)).astype(np.float32)
    shapes = {"w1": (3, 3, 4, 4), "w2": (3, 3, 4, 8)}
    parameters = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    t = np.zeros((BATCH, 8, 8, 8), np.float32)
    t[2, 4, 4] = bad

    def build(g: _core.Graph, v: dict[str, int]) -> list[int]:
        a = g.activation(g.conv2d(v["x"], v["w1"], padding="same"), "relu")
        y = g.activation(g.conv2d(a, v["w2"], padding="same"), "relu")
        y = g.max_pool2d(y, pool_size=(2, 2), strides=(2, 2))
        (dx,) = g.gradients(g.loss("mean_squared_error", v["t"], y), [v["x"]])
        assert dx is not None
        return [dx]

    net = Net(build, {"x": x, "t": t}, parameters, Setting(isa))
    dx, alone = net.run()[0], net.make_plan(1)
    for n in range(4):  # BATCH is a power of two: the mean over it rounds nothing
        alone.run(net.inputs, start=n)
        np.testing.assert_array_equal(alone.output(0)[0] / BATCH, dx[n], err_msg=f"image {n}")
    touched = np.argwhere(~np.isfinite(dx))
    assert len(touched) and (touched[:, 0] == 2).all()
    assert touched[:, 1:3].min() >= 8 - 2 and touched[:, 1:3].max() <= 9 + 2
