# SPDX-License-Identifier: Apache-2.0
"""Activations, add and dropout, forward and backward, against the reference."""

from __future__ import annotations

import numpy as np
import pytest
from engine import (
    CHANNELS,
    GUARDS,
    TINY,
    UNIT,
    Array,
    Check,
    Setting,
    assert_equal,
    assert_guarded,
    assert_within,
    mse_gradients,
    rounded,
    run,
)
from hypothesis import given
from hypothesis import strategies as st
from strategies import dense_shapes, extents, random_array, seeds, small_integers

from pycnn import _core, reference

KINDS = _core.ops()["activation"]["attributes"]["kind"]["choices"]
ALPHAS = {"leaky_relu": (None, 0.0, 0.25, 1.5), "elu": (None, 0.0, 0.25, 1.5)}
# largest error of the engine's formula in units of its last place; 0: equal to the reference
ULPS = {"sigmoid": 3, "tanh": 2, "elu": 3, "leaky_relu": 1, "hard_sigmoid": 2}
SPECIAL = [
    *(
        3.0,
        -3.0,
        2.9999998,
        -2.9999998,
        0.0,
        -0.0,
        1.0,
        -1.0,
        6.0,
        5.9999995,
        6.0000005,
        0.625,
        -0.625,
        88.0,
        -88.0,
        89.5,
        -104.5,
    ),
    *(1e-30, -1e-30, 1e-3, -1e-3, 1e4, -1e4, 1e38, -1e38, np.inf, -np.inf, np.nan),
]


def spacing(x: Array) -> Array:
    """The distance of float32 values around x; that of the smallest normal one below it."""
    return np.spacing(np.maximum(np.abs(x), TINY).astype(np.float32)).astype(np.float64)


def activation(kind: str, alpha: float | None):
    def build(graph: _core.Graph, v: dict[str, int]) -> list[int]:
        return [graph.activation(v["x"], kind, alpha=alpha)]

    return build


def compare_forward(kind: str, alpha: float | None, x: Array, y: Array) -> None:
    with np.errstate(invalid="ignore"):  # 0 * inf
        expected = reference.activation(kind, x, alpha)
    np.testing.assert_array_equal(np.isnan(y), np.isnan(expected), err_msg=f"{kind}({x})")
    whole = np.isfinite(expected)
    assert_equal(y[~whole], expected[~whole], f"{kind} infinities")
    got, wanted = y[whole], expected[whole]
    if kind not in ULPS:
        assert_equal(got, wanted, kind)
    else:
        bound = ULPS[kind] * spacing(wanted) + TINY
        assert_within(got, wanted, bound, kind)


def check_forward(case: tuple[int, ...], seed: int, setting: Setting) -> None:
    """All kinds, on a mixture of random and special values."""
    x = rounded(4 * random_array(case, seed))
    chosen = np.random.default_rng((seed, 1)).choice([*SPECIAL, 1e-20, 20.0], case)
    x = rounded(np.where(random_array(case, seed, 2) > 0.5, chosen, x))
    for kind in KINDS:
        for alpha in ALPHAS.get(kind, (None,)):
            y = run(activation(kind, alpha), {"x": x}, {}, setting)[0]
            used = float(np.float32(0.2)) if (kind, alpha) == ("leaky_relu", None) else alpha
            compare_forward(kind, used, x, y)


def gradient_bound(kind: str, alpha: float | None, y: Array, dy: Array, dx: Array) -> Array:
    """Roundings of dy * (y * (1 - y)), dy * (1 - y * y), dy * (y + alpha), alpha * dy."""
    if kind == "tanh":
        return 4 * UNIT * np.abs(dy) + TINY
    rounds = {"sigmoid": 4, "elu": 3, "leaky_relu": 1, "hard_sigmoid": 1}.get(kind, 0)
    return rounds * UNIT * np.abs(dx) + (2 * TINY if rounds else 0)


def check_backward(case: tuple[int, ...], seed: int, setting: Setting) -> None:
    """From the engine's own y and dy, so that only this op's roundings count."""
    x = 4 * random_array(case, seed)
    for kind in KINDS:
        if kind in ("step", "linear"):
            continue  # step is refused, linear is no step at all
        for alpha in ALPHAS.get(kind, (None,)):
            (y,), dy, (dx,) = mse_gradients(activation(kind, alpha), {"x": x}, {}, ["x"], setting)
            used = float(np.float32(0.2)) if (kind, alpha) == ("leaky_relu", None) else alpha
            y64, dy64 = y.astype(np.float64), dy.astype(np.float64)
            expected = reference.activation_backward(kind, y64, dy64, used)
            bound = gradient_bound(kind, used, y64, dy64, expected)
            assert_within(dx, expected, bound, f"{kind} {alpha}")


def check_add(case: tuple[int, ...], seed: int, setting: Setting) -> None:
    """One rounding; whole numbers are equal; both sides may be the same value."""
    a, b = rounded(random_array(case, seed)), rounded(random_array(case, seed, 1))

    def build(graph: _core.Graph, v: dict[str, int]) -> list[int]:
        return [graph.add(v["a"], v["b"]), graph.add(v["a"], v["a"])]

    got, twice = run(build, {"a": a, "b": b}, {}, setting)
    assert_equal(got, a.astype(np.float32) + b.astype(np.float32), "a + b")
    assert_equal(twice, 2 * a, "a + a")


def check_dropout(case: tuple[int, ...], seed: int, setting: Setting) -> None:
    """The bits of the reference's mask; kept values are one division away."""
    x = small_integers(case, seed) + 9  # nothing is zero before
    for rate, step in ((0.0, 0), (0.25, 1), (0.5, 7), (0.9, 2**32 - 1)):
        key = {"seed": seed * 2**31 + step, "step": step}

        def build(graph: _core.Graph, v: dict[str, int], rate=rate) -> list[int]:
            return [graph.dropout(v["x"], rate=rate, stream=5)]

        (y,), dy, (dx,) = mse_gradients(build, {"x": x}, {}, ["x"], setting, **key)
        keep = reference.dropout(np.ones(case), rate, stream=5, **key) != 0
        np.testing.assert_array_equal(y != 0, keep, err_msg=f"mask at rate {rate}")
        scale = np.float32(1) - np.float32(rate)
        np.testing.assert_array_equal(y, np.where(keep, x.astype(np.float32) / scale, 0))
        np.testing.assert_array_equal(dx, np.where(keep, dy / scale, np.float32(0)))
        if rate in (0.0, 0.5):
            expected = reference.dropout(x, rate, stream=5, **key)
            assert_equal(y, expected, "reference, bit for bit")


ALL = (check_forward, check_backward, check_add, check_dropout)
SHAPES = dense_shapes(max_rows=17, max_channels=17, max_rank=4).map(lambda case: case.x_shape)
PICKED = [*((1, n) for n in (*CHANNELS, 63, 64, 65, 127)), (3, 9000), (2, 3, 5, 7)]


@pytest.mark.parametrize("check", ALL)
@pytest.mark.parametrize("case", PICKED, ids=str)
def test_picked_shapes(check, case, isa):
    check(case, 0, Setting(isa))


@pytest.mark.parametrize("check", ALL)
@given(SHAPES, seeds)
def test_drawn_shapes(isa, check, case, seed):
    check(case, seed, Setting(isa))


CHECKS = [Check(check, SHAPES, PICKED) for check in ALL]


@pytest.mark.parametrize("memory", GUARDS)
def test_no_byte_outside(memory, isa):
    assert_guarded(__name__, memory, isa)


@pytest.mark.parametrize("kind", KINDS)
def test_special_values_in_every_lane(kind, isa):
    """NaN and infinities come out the same wherever they stand in a vector or its tail."""
    alpha = 0.25 if kind in ALPHAS else None
    for n in range(1, 19):
        x = np.full((len(SPECIAL), n), 0.5)
        x[:, -1] = SPECIAL
        y = run(activation(kind, alpha), {"x": x}, {}, Setting(isa))[0]
        compare_forward(kind, alpha, rounded(x), y)


def test_sweep_of_all_magnitudes(isa):
    """Every exponent, both signs: the error stays within the stated units of the last place."""
    bits = np.arange(0, 2**32, 40503, dtype=np.uint32)
    x = bits.view(np.float32)
    x = x[(np.abs(x) < 1e38) & ((np.abs(x) >= TINY) | (x == 0))][None]
    for kind in KINDS:
        alpha = 0.25 if kind in ALPHAS else None
        y = run(activation(kind, alpha), {"x": x}, {}, Setting(isa))[0]
        compare_forward(kind, alpha, x.astype(np.float64), y)


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.data())
def test_random_uniform_is_the_reference(seed, stream, step, data):
    count = data.draw(extents(17))
    expected = reference.uniform(seed, stream, step, count)
    np.testing.assert_array_equal(_core.random_uniform(seed, stream, step, count), expected)


def test_streams_and_steps_of_dropout_differ(isa):
    x = np.ones((4, 4096))

    def build(graph: _core.Graph, v: dict[str, int]) -> list[int]:
        return [graph.dropout(v["x"], rate=0.5, stream=stream) for stream in (0, 1)]

    a, b = run(build, {"x": x}, {}, Setting(isa), seed=1, step=1)
    c, d = run(build, {"x": x}, {}, Setting(isa), seed=1, step=2)
    for first, second in ((a, b), (a, c), (b, d), (b, c)):
        assert 0.4 < np.mean((first != 0) == (second != 0)) < 0.6


def test_step_has_no_gradient():
    graph = _core.Graph()
    x = graph.input("x", (None, 3))
    loss = graph.loss("mean_squared_error", x, graph.activation(x, "step"))
    with pytest.raises(ValueError, match="step has no gradient"):
        graph.gradients(loss, [x])
