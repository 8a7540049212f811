# SPDX-License-Identifier: Apache-2.0
"""Sums over long axes: as exact along one axis as along another (finding 20).

The hard case for a sum in single: one term of 2^24, then ones, each of which is lost where it is
added to the first. Only the terms that share a piece of the sum with it may be.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from engine import UNIT, Array, Setting, assert_within, run

from pycnn import _core, reference

ROUNDINGS = 200  # of a term, of which most are kMostRoundings in ops/reduce.h
SECTION = 2 * 8192  # kSectionTerms in ops/elementwise.h, and the block that fills it
N = 1_000_003


def spiked(count: int, top: float = 2.0**24) -> Array:
    values = np.ones(count)
    values[0] = top
    return values


def along(shape: Sequence[int], values: Array) -> Array:
    """The values along the long axis of the shape, the same for all others."""
    axis = int(np.argmax(shape))
    place = [1] * len(shape)
    place[axis] = -1
    return np.ascontiguousarray(np.broadcast_to(values[: shape[axis]].reshape(place), shape))


IMAGES = [
    (1, 1, N, 1),
    (1, N, 1, 1),
    (2, 1, N // 4, 3),
    (2, N // 4, 1, 3),
    (1, 2, N // 20, 17),
    (1, N // 20, 2, 33),
    (1, 1, 2000, 600),
]
each_image = pytest.mark.parametrize("shape", IMAGES, ids=str)


def check_mean(got: Array, x: Array) -> None:
    axes = tuple(range(1, x.ndim - 1)) or (0,)
    expected = x.mean(axis=axes).reshape(got.shape)
    assert_within(got, expected, ROUNDINGS * UNIT * np.abs(expected), "mean")


@each_image
def test_global_means(shape, isa):
    x = along(shape, spiked(N))
    check_mean(run(lambda g, v: [g.global_avg_pool2d(v["x"])], {"x": x}, {}, Setting(isa))[0], x)


@each_image
def test_means_of_large_windows(shape, isa):
    x = along(shape, spiked(N))

    def build(g: _core.Graph, v: dict[str, int]) -> list[int]:
        return [g.avg_pool2d(v["x"], pool_size=shape[1:3], strides=(1, 1))]

    check_mean(run(build, {"x": x}, {}, Setting(isa))[0], x)


def test_large_windows_that_move(isa):
    """Several, some of them partly outside."""
    x = np.random.default_rng(0).random((2, 30, 41, 5)).astype(np.float32).astype(np.float64)
    for size in ((25, 33), (29, 18), (2, 300), (300, 2)):
        for padding in ("valid", "same"):
            if padding == "valid" and max(size) == 300:
                continue

            def build(g: _core.Graph, v: dict[str, int], size=size, padding=padding) -> list[int]:
                return [g.avg_pool2d(v["x"], pool_size=size, strides=(2, 3), padding=padding)]

            got = run(build, {"x": x}, {}, Setting(isa))[0]
            expected = reference.avg_pool2d(x, size, (2, 3), padding)
            assert_within(got, expected, ROUNDINGS * UNIT, f"{size} {padding}")


@pytest.mark.parametrize("long", [0, 1])
def test_gradients_of_moving_means(long, isa):
    """Thousands of windows cover a pixel: all of them are added."""
    count, windows = 4096, 2048
    size = (1, count - windows + 1) if long else (count - windows + 1, 1)
    x = np.zeros((1, 1, count, 1) if long else (1, count, 1, 1))
    t = along((1, 1, windows, 1) if long else (1, windows, 1, 1), spiked(windows))

    def build(g: _core.Graph, v: dict[str, int]) -> list[int]:
        y = g.avg_pool2d(v["x"], pool_size=size, strides=(1, 1))
        (dx,) = g.gradients(g.loss("mean_squared_error", v["t"], y), [v["x"]])
        assert dx is not None
        return [dx]

    got = run(build, {"x": x, "t": t}, {}, Setting(isa))[0].reshape(-1)
    dy = -2 * t.reshape(-1) / windows
    expected = np.convolve(dy, np.ones(max(size))) / max(size)
    bound = (ROUNDINGS + 256) * UNIT * np.abs(expected) + 1e-6 * np.abs(expected[-1])
    assert_within(got, expected, bound, "dx")


@pytest.mark.parametrize("factor", [(1, 70_001), (70_001, 1), (300, 200)], ids=str)
def test_gradients_of_large_enlargements(factor, isa):
    shape = (1, 2, 2, 3)
    enlarged = (1, 2 * factor[0], 2 * factor[1], 3)
    t = along(enlarged, np.resize(spiked(max(factor)), max(enlarged)))

    def build(g: _core.Graph, v: dict[str, int]) -> list[int]:
        y = g.upsample2d(v["x"], size=factor)
        (dx,) = g.gradients(g.loss("mean_squared_error", v["t"], y), [v["x"]])
        assert dx is not None
        return [dx]

    got = run(build, {"x": np.zeros(shape), "t": t}, {}, Setting(isa))[0]
    dy = -2 * t / t.size
    expected = dy.reshape(1, 2, factor[0], 2, factor[1], 3).sum(axis=(2, 4))
    assert_within(got, expected, ROUNDINGS * UNIT * np.abs(expected), "dx")


ROWS = [(N, 1), (N // 3, 3), (N // 40, 33), (1, N, 1, 1), (1, 1, N, 1), (1, N // 8, 2, 2)]


@pytest.mark.parametrize("shape", ROWS, ids=str)
def test_bias_gradients(shape, isa):
    dy = along(shape, spiked(N))
    got = run(lambda g, v: [g.bias_backward(v["dy"])], {"dy": dy}, {}, Setting(isa))[0]
    expected = dy.reshape(-1, shape[-1]).sum(axis=0)
    assert_within(got, expected, ROUNDINGS * UNIT * expected, "db")


@pytest.mark.parametrize("shape", ROWS, ids=str)
def test_batch_statistics(shape, isa):
    """And the sums of the backward pass, against those of what it was given."""
    C = shape[-1]
    x = along(shape, spiked(N))
    t = -along(shape, spiked(N, 2.0**20))

    def build(g: _core.Graph, v: dict[str, int]) -> list[int]:
        y, mean, var = g.batch_norm_training(v["x"], v["gamma"], v["beta"], epsilon=1e-3)
        loss = g.loss("mean_squared_error", v["t"], y)
        gradients = g.gradients(loss, [y, v["gamma"], v["beta"]])
        assert None not in gradients
        return [mean, var, y, *(i for i in gradients if i is not None)]

    parameters = {"gamma": np.ones(C), "beta": np.zeros(C)}
    mean, var, _, dy, dgamma, dbeta = run(build, {"x": x, "t": t}, parameters, Setting(isa))
    rows = x.reshape(-1, C)
    expected = rows.var(axis=0)
    assert_within(mean, rows.mean(axis=0), ROUNDINGS * UNIT * rows.mean(axis=0), "mean")
    assert_within(var, expected, 4 * ROUNDINGS * UNIT * expected, "var")
    dy = dy.astype(np.float64).reshape(-1, C)
    assert_within(dbeta, dy.sum(axis=0), ROUNDINGS * UNIT * np.abs(dy).sum(axis=0), "dbeta")
    scaled = (rows - rows.mean(axis=0)) / np.sqrt(expected + 1e-3)
    size = (np.abs(dy) * (np.abs(scaled) + 1e-6)).sum(axis=0)
    assert_within(dgamma, (dy * scaled).sum(axis=0), 4 * ROUNDINGS * UNIT * size, "dgamma")


def kinds() -> dict[str, tuple[Array, Array]]:
    """(y_true, y_pred) of one row each, by the name of the loss in the reference."""
    half, root = np.full(N, 0.5), np.sqrt(spiked(N))
    return {
        "mean_squared_error": (np.zeros(N), root),
        "binary_crossentropy": (spiked(N), half),
        "binary_crossentropy_from_logits": (np.zeros(N), spiked(N)),
        "categorical_crossentropy": (spiked(N), spiked(N, 1.0)),
        "categorical_crossentropy_from_logits": (spiked(N), np.zeros(N)),
    }


@pytest.mark.parametrize("name", list(kinds()))
@pytest.mark.parametrize("axis", [0, 1])
def test_losses(name, axis, isa):
    """The mean over rows, or within one row of a million outputs."""
    t, p = (np.expand_dims(values, 1 - axis) for values in kinds()[name])
    kind, logits = name.removesuffix("_from_logits"), name.endswith("_from_logits")

    def build(g: _core.Graph, v: dict[str, int]) -> list[int]:
        return [g.loss(kind, v["t"], v["p"], from_logits=logits)]

    got = run(build, {"t": t, "p": p}, {}, Setting(isa))[0]
    expected = getattr(reference, name)(t, p)
    assert_within(got, expected, 2 * ROUNDINGS * UNIT * abs(expected), name)


def test_softmax_of_a_million_classes(isa):
    x = np.zeros((2, N))
    x[1] = np.random.default_rng(0).normal(size=N).astype(np.float32)
    y = run(lambda g, v: [g.softmax(v["x"])], {"x": x}, {}, Setting(isa))[0]
    expected = reference.softmax(x)
    assert_within(y, expected, ROUNDINGS * UNIT * expected, "y")


def weight_gradient(g: _core.Graph, v: dict[str, int], **options: Any) -> list[int]:
    """[dw, y]: a plan keeps a kernel only where something reads it."""
    dw = g.conv2d_backward_weights(v["x"], v["dy"], v["w"], **options)
    return [dw, g.conv2d(v["x"], v["w"], **options)]


WINDOWS = [  # x, w, groups, strides, padding
    ((1, 1, N, 1), (1, 1, 1, 1), 1, (1, 1), "valid"),
    ((1, 1, N, 1), (1, 3, 1, 1), 1, (1, 1), "valid"),
    ((1, N, 1, 1), (3, 1, 1, 1), 1, (1, 1), "valid"),
    ((1, 1, N, 1), (1, 2, 1, 2), 1, (1, 2), "same"),
    ((1, N, 1, 2), (2, 1, 2, 1), 1, (2, 1), "same"),
    ((1, 1, N, 1), (1, 1, 1, 1), 1, (1, 2), "valid"),
    ((1, 1, N // 4, 4), (1, 3, 1, 4), 4, (1, 1), "same"),
    ((1, N // 4, 1, 4), (3, 1, 1, 4), 4, (1, 1), "same"),
    ((1, 1, N // 4, 4), (1, 3, 2, 6), 2, (1, 1), "same"),
    ((40, 1, N // 40, 1), (1, 3, 1, 1), 1, (1, 1), "valid"),
    ((1, N // 40, 40, 1), (3, 3, 1, 8), 1, (1, 1), "valid"),
]


@pytest.mark.parametrize("case", WINDOWS, ids=str)
def test_weight_gradients(case, isa):
    """Along a row, down a column and over a batch; all channels alike."""
    x_shape, w_shape, groups, strides, padding = case
    x = along(x_shape, spiked(N, 2.0**12))
    w = np.zeros(w_shape)
    dy_shape = reference.conv2d(x[..., :1], w[..., :1, :1], strides=strides, padding=padding).shape
    dy = along((*dy_shape[:-1], w_shape[-1]), spiked(N, 2.0**12))

    def build(g: _core.Graph, v: dict[str, int]) -> list[int]:
        return weight_gradient(g, v, groups=groups, strides=strides, padding=padding)

    got = run(build, {"x": x, "dy": dy}, {"w": w}, Setting(isa))[0]
    one = reference.conv2d_backward_weights(
        x[..., :1], dy[..., :1], (*w_shape[:2], 1, 1), strides=strides, padding=padding
    )
    expected = np.broadcast_to(one, w_shape)
    assert_within(got, expected, SECTION * UNIT * expected, "dw")


@pytest.mark.parametrize("long", [(1, 9001), (9001, 1), (3, 5000)], ids=str)
def test_long_rows_in_pieces_are_exact(long, isa):
    """Whole numbers: rows longer than the pieces they are packed in, with pools, pads, strides."""
    rng = np.random.default_rng(3)
    H, W = (long[0] + 2, long[1] + 2)
    cases = (((1, 1), "same", 3, 5), ((1, 2), "same", 2, 20), ((1, 1), "valid", 40, 3))
    for strides, padding, C, K in cases:
        S = (3, 3)
        x = rng.integers(-2, 3, (2, H, W, C)).astype(float)
        w = np.zeros((*S, C, K))
        y = reference.conv2d(x, w, strides=strides, padding=padding)
        dy = rng.integers(-2, 3, y.shape).astype(float)

        def build(g: _core.Graph, v: dict[str, int], strides=strides, padding=padding) -> list[int]:
            return weight_gradient(g, v, strides=strides, padding=padding)

        got = run(build, {"x": x, "dy": dy}, {"w": w}, Setting(isa))[0]
        expected = reference.conv2d_backward_weights(
            x, dy, w.shape, strides=strides, padding=padding
        )
        np.testing.assert_array_equal(got, expected.astype(np.float32))


def test_threads_and_batches_change_no_bit(isa):
    rng = np.random.default_rng(5)
    x, dy = rng.normal(size=(2, 3, 3, 20_000, 3)).astype(np.float32)

    def build(g: _core.Graph, v: dict[str, int]) -> list[int]:
        wide = g.avg_pool2d(v["x"], pool_size=(2, 700), strides=(1, 50))
        sums = [g.global_avg_pool2d(v["x"]), wide, g.bias_backward(v["dy"])]
        return [*sums, *weight_gradient(g, v, padding="same")]

    arrays, w = {"x": x, "dy": dy}, {"w": rng.normal(size=(3, 3, 3, 3))}
    one = run(build, arrays, w, Setting(isa))
    for count in (2, 5):
        for a, b in zip(one, run(build, arrays, w, Setting(isa, threads=count)), strict=True):
            np.testing.assert_array_equal(a, b)
    single = run(build, {name: value[1:2] for name, value in arrays.items()}, w, Setting(isa))
    for a, b in zip(one[:2], single[:2], strict=True):
        np.testing.assert_array_equal(a[1:2], b)


PRODUCTS = [  # x, w, settings of the convolution: products of a tenth and a tenth, all inside
    ((1, 1, 1, N), (1, 1, N, 1), {}),
    ((2, 1, 1, N // 40), (1, 1, N // 40, 40), {}),
    ((1, 1, N // 4, 4), (1, N // 4, 4, 1), {}),
    ((1, N // 4, 1, 4), (N // 4, 1, 4, 3), {}),
    ((1, 1, N // 9, 9), (1, N // 18, 9, 2), {"dilation": (1, 2)}),
    ((1, 1, N // 9, 9), (1, N // 9 - 6, 9, 2), {"strides": (1, 2)}),
    ((1, 1, N // 20, 20), (1, N // 20 - 1, 10, 4), {"groups": 2}),
    ((1, 1, 2, 40_000), (1, 2, 20_000, 4), {"groups": 2}),
    ((1, 60, 90, 16), (50, 45, 16, 3), {}),
    ((1, 1, N, 2), (1, N - 2, 1, 2), {"groups": 2}),  # depthwise
    ((1, 1000, 1000, 3), (999, 999, 1, 3), {"groups": 3}),
    ((1, 700, 500, 3), (300, 490, 1, 3), {"groups": 3, "dilation": (2, 1), "strides": (40, 1)}),
]


@pytest.mark.parametrize("case", PRODUCTS, ids=str)
def test_long_products(case, isa):
    """Dense layers and convolutions of a million terms; as one chain they were off by 2 %."""
    x_shape, w_shape, options = case
    arrays, w = {"x": np.full(x_shape, 0.1)}, {"w": np.full(w_shape, 0.1)}
    got = run(lambda g, v: [g.conv2d(v["x"], v["w"], **options)], arrays, w, Setting(isa))[0]
    expected = np.full(got.shape, np.prod(w_shape[:3]) * np.float64(np.float32(0.1)) ** 2)
    assert_within(got, expected, SECTION * UNIT * expected, "y")


@pytest.mark.parametrize("w_shape", [(1, 1, 1, N), (3, 3, 2, 60_000), (1, 5, 9, 40_000)], ids=str)
@pytest.mark.parametrize("strides", [(1, 1), (2, 1)])
def test_long_products_of_input_gradients(w_shape, strides, isa):
    x, w = np.zeros((1, 3, 5, w_shape[2])), np.full(w_shape, 0.1)
    dy = np.full(reference.conv2d(x, w, strides=strides, padding="same").shape, 0.1)
    options: dict[str, Any] = {"strides": strides, "padding": "same"}

    def build(g: _core.Graph, v: dict[str, int]) -> list[int]:
        dx = g.conv2d_backward_data(v["dy"], v["w"], v["x"], **options)
        return [dx, g.conv2d(v["x"], v["w"], **options)]

    got = run(build, {"x": x, "dy": dy}, {"w": w}, Setting(isa))[0]
    expected = reference.conv2d_backward_data(dy, w, x.shape, **options)
    assert_within(got, expected, SECTION * UNIT * expected, "dx")


def test_long_products_of_kernels_wider_than_the_image(isa):
    shape, w_shape = (1, 200, 60, 4), (399, 241, 4, 2)
    arrays, w = {"x": np.full(shape, 0.1)}, {"w": np.full(w_shape, 0.1)}

    def build(g: _core.Graph, v: dict[str, int]) -> list[int]:
        return [g.conv2d(v["x"], v["w"], padding="same")]

    got = run(build, arrays, w, Setting(isa))[0]
    expected = np.full(got.shape, np.prod(shape) * np.float64(np.float32(0.1)) ** 2)
    assert_within(got, expected, SECTION * UNIT * expected, "y")


@pytest.mark.parametrize("kernel", [(9, 10, 100, 3), (2, 30, 300, 5), (1, 9, 90, 2)], ids=str)
def test_long_products_do_not_depend_on_threads_or_the_batch(kernel, isa):
    """Sections would move where columns are computed together, as only large batches do."""
    rng = np.random.default_rng(7)
    x = rng.normal(size=(3, 20, 60, kernel[2])).astype(np.float32)
    w = {"w": rng.normal(size=kernel)}

    def build(g: _core.Graph, v: dict[str, int]) -> list[int]:
        return [g.conv2d(v["x"], v["w"], padding="same")]

    one = run(build, {"x": x}, w, Setting(isa))[0]
    np.testing.assert_array_equal(one, run(build, {"x": x}, w, Setting(isa, threads=2))[0])
    np.testing.assert_array_equal(one[1:2], run(build, {"x": x[1:2]}, w, Setting(isa))[0])
    bound = (SECTION + 10) * UNIT * reference.conv2d(np.abs(x), np.abs(w["w"]), padding="same")
    assert_within(one, reference.conv2d(x, w["w"], padding="same"), bound, "y")


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(1, 1, 20_000_000, 1), (1, 20_000_000, 1, 1)], ids=str)
def test_the_mean_of_many_ones_is_one(shape, isa):
    x = np.ones(shape, np.float32)

    def build(g: _core.Graph, v: dict[str, int]) -> list[int]:
        _, mean, _ = g.batch_norm_training(v["x"], v["gamma"], v["beta"], epsilon=1e-3)
        pooled = g.avg_pool2d(v["x"], pool_size=shape[1:3], strides=(1, 1))
        return [g.global_avg_pool2d(v["x"]), pooled, mean]

    parameters = {"gamma": np.ones(1), "beta": np.zeros(1)}
    for mean in run(build, {"x": x}, parameters, Setting(isa)):
        assert mean.reshape(-1) == 1.0
