# SPDX-License-Identifier: Apache-2.0
"""Max, average and global average pooling and their gradients against the reference."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from engine import (
    CHANNELS,
    GUARDS,
    TINY,
    UNIT,
    Array,
    Check,
    Probe,
    Setting,
    assert_equal,
    assert_guarded,
    assert_within,
    mse_gradients,
    rounded,
    run,
    sum_bound,
)
from hypothesis import given
from strategies import PoolShape, pool_shapes, random_array, seeds, small_integers

from pycnn import _core, reference

SHAPES = pool_shapes()
PICKED = [
    *(PoolShape((2, 5, 6, C), (2, 2), (2, 2)) for C in CHANNELS),
    *(PoolShape((1, 4, 4, C), (3, 3), (2, 2), "same") for C in CHANNELS),
    *(PoolShape((1, 3, W, 5), (2, 3), (1, 1), "same") for W in CHANNELS),
    PoolShape((2, 8, 8, 64), (2, 2), (2, 2)),
    PoolShape((2, 9, 9, 40), (3, 3), (1, 1), (1, 1, 1, 1)),
    PoolShape((2, 9, 10, 3), (2, 2), (4, 3)),  # pixels that no window sees
    PoolShape((1, 17, 17, 2), (15, 17), (1, 1), "same"),  # 255 pixels: the largest window
    PoolShape((3, 40, 40, 8), (2, 2), (2, 2)),  # several tasks
    PoolShape((1, 1, 1, 9), (3, 3), (2, 2), (2, 2, 2, 2)),
    PoolShape((1, 6, 6, 129), (6, 6), (6, 6)),
]


def max_pool(case: PoolShape):
    def build(graph: _core.Graph, v: dict[str, int]) -> list[int]:
        return [graph.max_pool2d(v["x"], **case.arguments)]

    return build


def average_pool(case: PoolShape):
    def build(graph: _core.Graph, v: dict[str, int]) -> list[int]:
        return [graph.avg_pool2d(v["x"], **case.arguments)]

    return build


def global_pool(graph: _core.Graph, v: dict[str, int]) -> list[int]:
    return [graph.global_avg_pool2d(v["x"])]


def check_max_integers(case: PoolShape, seed: int, setting: Setting) -> None:
    """Values and gradients are equal, also with many ties."""
    for limit in (1, 4):
        x = small_integers(case.x_shape, seed, limit=limit)
        expected = reference.max_pool2d(x, **case.arguments)
        probe = Probe.of(expected, seed)

        def build(graph: _core.Graph, v: dict[str, int], probe=probe) -> list[int]:
            y = graph.max_pool2d(v["x"], **case.arguments)
            (dx,) = graph.gradients(probe.loss(graph, v, y), [v["x"]])
            assert dx is not None
            return [y, dx]

        y, dx = run(build, {"x": x, **probe.inputs}, probe.parameters, setting)
        assert_equal(y, expected, "y")
        assert_equal(run(max_pool(case), {"x": x}, {}, setting)[0], expected, "y without arg")
        backward = reference.max_pool2d_backward(x, probe.dy, **case.arguments)
        assert_equal(dx, backward, "dx")


def check_max_special(case: PoolShape, seed: int, setting: Setting) -> None:
    """NaN and infinities: a NaN wins, the first of several; -inf alone still has a winner."""
    rng = np.random.default_rng(seed)
    x = rng.choice([-np.inf, np.inf, np.nan, 0.0, 1.0], case.x_shape, p=[0.5, 0.1, 0.1, 0.2, 0.1])
    expected = reference.max_pool2d(x, **case.arguments)
    assert_equal(run(max_pool(case), {"x": x}, {}, setting)[0], expected, "y without arg")

    def build(graph: _core.Graph, v: dict[str, int]) -> list[int]:
        y = graph.max_pool2d(v["x"], **case.arguments)
        flat = graph.flatten(y)
        loss = graph.loss("mean_squared_error", flat, graph.dense(flat, v["eye"]))
        ids = graph.gradients(loss, [v["x"], y])
        return [y, *(i for i in ids if i is not None)]

    size = int(np.prod(case.y_shape[1:]))
    if size > 64:
        return
    y, dx, dy = run(build, {"x": x}, {"eye": np.eye(size)}, setting)
    assert_equal(y, expected, "y")
    dy = np.where(np.isnan(dy), 7.0, dy)  # only where dx is NaN or not is compared
    taken = reference.max_pool2d_backward(x, np.ones(dy.shape), **case.arguments) != 0
    assert not dx[~taken].any(), "dx where nothing was taken"


def window_counts(case: PoolShape) -> Array:
    """Pixels of each window inside the image, shape (P, Q)."""
    (top, _), (left, _) = case.pads
    size, pool = case.x_shape[1:3], case.pool_size
    axes = []
    for axis, pad in enumerate((top, left)):
        first = np.arange(case.y_shape[1 + axis]) * case.strides[axis] - pad
        axes.append(np.minimum(first + pool[axis], size[axis]) - np.maximum(first, 0))
    return np.outer(*axes)


def check_average_integers(case: PoolShape, seed: int, setting: Setting) -> None:
    """Forward is one correctly rounded division; backward is exact where counts are 1, 2, 4."""
    x = small_integers(case.x_shape, seed)
    expected = reference.avg_pool2d(x, **case.arguments)
    assert_equal(run(average_pool(case), {"x": x}, {}, setting)[0], expected, "y")
    assert_equal(run(global_pool, {"x": x}, {}, setting)[0], reference.global_avg_pool2d(x), "g")
    counts = window_counts(case)
    if not np.isin(counts, (1, 2, 4)).all():
        return
    probe = Probe.of(4 * expected, seed)  # whole numbers
    probe = replace(
        probe, target=probe.target + (expected - 4 * expected).reshape(len(x), -1) @ probe.weights
    )

    def build(graph: _core.Graph, v: dict[str, int]) -> list[int]:
        y = graph.avg_pool2d(v["x"], **case.arguments)
        (dx,) = graph.gradients(probe.loss(graph, v, y), [v["x"]])
        assert dx is not None
        return [dx]

    (dx,) = run(build, {"x": x, **probe.inputs}, probe.parameters, setting)
    backward = reference.avg_pool2d_backward(probe.dy, case.x_shape, **case.arguments)
    assert_equal(dx, backward, "dx")


def check_average_real(case: PoolShape, seed: int, setting: Setting) -> None:
    """A sum, a division; backward a reciprocal, a product and a sum: 3 roundings a term at most."""
    x = rounded(random_array(case.x_shape, seed))
    R, S = case.pool_size
    (y,), dy, (dx,) = mse_gradients(average_pool(case), {"x": x}, {}, ["x"], setting)
    magnitude = reference.avg_pool2d(np.abs(x), **case.arguments)
    assert_within(y, reference.avg_pool2d(x, **case.arguments), sum_bound(R * S, magnitude), "y")
    backward = [
        reference.avg_pool2d_backward(g, case.x_shape, **case.arguments) for g in (dy, np.abs(dy))
    ]
    assert_within(dx, backward[0], sum_bound(R * S + 1, backward[1]), "dx")


def check_global_real(case: PoolShape, seed: int, setting: Setting) -> None:
    """The columns of a row are added in float, the rows in double."""
    x = rounded(random_array(case.x_shape, seed))
    (y,), dy, (dx,) = mse_gradients(global_pool, {"x": x}, {}, ["x"], setting)
    magnitude = reference.global_avg_pool2d(np.abs(x))
    assert_within(y, reference.global_avg_pool2d(x), sum_bound(case.x_shape[2], magnitude), "y")
    expected = reference.global_avg_pool2d_backward(dy, case.x_shape)
    assert_within(dx, expected, 3 * UNIT * np.abs(expected) + TINY, "dx")


ALL = (
    check_max_integers,
    check_max_special,
    check_average_integers,
    check_average_real,
    check_global_real,
)


@pytest.mark.parametrize("check", ALL)
@pytest.mark.parametrize("case", PICKED, ids=str)
def test_picked_shapes(check, case, isa):
    check(case, 0, Setting(isa))


@pytest.mark.parametrize("check", ALL)
@given(SHAPES, seeds)
def test_drawn_shapes(isa, check, case, seed):
    check(case, seed, Setting(isa))


@pytest.mark.parametrize("case", PICKED[-7:], ids=str)
def test_threads_change_no_bit(case, isa):
    x = random_array(case.x_shape, 2)
    for op in (max_pool(case), average_pool(case), global_pool):
        results = [
            mse_gradients(op, {"x": x}, {}, ["x"], Setting(isa, threads=n)) for n in (1, 2, 5)
        ]
        for (y,), _, (dx,) in results[1:]:
            np.testing.assert_array_equal(y, results[0][0][0])
            np.testing.assert_array_equal(dx, results[0][2][0])


CHECKS = [Check(check, SHAPES, PICKED) for check in ALL]


@pytest.mark.parametrize("memory", GUARDS)
def test_no_byte_outside(memory, isa):
    assert_guarded(__name__, memory, isa)
