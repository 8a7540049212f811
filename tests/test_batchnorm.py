# SPDX-License-Identifier: Apache-2.0
"""Batch normalisation in training and inference, its gradients and its moving averages."""

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
    Net,
    Setting,
    assert_guarded,
    assert_within,
    mse_gradients,
    rounded,
    stored,
)
from hypothesis import given
from strategies import conv_shapes, dense_shapes, random_array, seeds

from pycnn import _core, reference

EPSILON = float(np.float32(1e-3))
NAMES = ("gamma", "beta", "mean", "var")
SHAPES = conv_shapes(max_batch=3).map(lambda case: case.x_shape) | dense_shapes(max_rank=3).map(
    lambda case: case.x_shape
)
PICKED = [
    *((2, 3, 4, C) for C in CHANNELS),
    *((M, 9) for M in CHANNELS),
    (3, 40, 41, 16),  # several chunks of rows
    (2, 9, 9, 300),  # several blocks of channels
    (2300, 17),
    (4, 64, 64, 3),  # few channels, many rows
]


def training(graph: _core.Graph, v: dict[str, int]) -> list[int]:
    return list(graph.batch_norm_training(v["x"], v["gamma"], v["beta"], epsilon=EPSILON))


def inference(graph: _core.Graph, v: dict[str, int]) -> list[int]:
    parameters = (v[name] for name in ("x", "gamma", "beta", "mean", "var"))
    return [graph.batch_norm_inference(*parameters, epsilon=EPSILON)]


def arrays(shape: tuple[int, ...], seed: int, offset: float) -> tuple[Array, dict[str, Array]]:
    """x around `offset`, each channel with its own mean and deviation; gamma and beta."""
    C = shape[-1:]
    own = 0.5 + np.abs(random_array(C, seed, 1))
    x = rounded(offset + random_array(C, seed, 2) + own * random_array(shape, seed, 3))
    gamma, beta = rounded(random_array(C, seed, 4)), rounded(random_array(C, seed, 5))
    return x, {"gamma": gamma, "beta": beta}


def sums(x: Array) -> Array:
    return np.asarray(x.sum(axis=tuple(range(x.ndim - 1))))


def check_training(shape: tuple[int, ...], seed: int, setting: Setting) -> None:
    """Sums over n rows of deviations cost n roundings of a deviation, whatever the mean is."""
    n = int(np.prod(shape[:-1]))
    for offset in (0.0, 100.0):
        x, parameters = arrays(shape, seed, offset)
        gamma, beta = parameters.values()
        outputs, dy, gradients = mse_gradients(
            training, {"x": x}, parameters, ["x", "gamma", "beta"], setting
        )
        y, mean, var = (output.astype(np.float64) for output in outputs)
        expected = reference.batch_norm_training(x, gamma, beta, EPSILON)
        d = np.abs(x - expected[1])
        spread = sums(d) / n
        scale = np.abs(gamma) / np.sqrt(expected[2] + EPSILON)
        rounds = (n + 10) * UNIT
        assert_within(mean, expected[1], rounds * spread + 2 * UNIT * np.abs(expected[1]), "mean")
        # a chunk's mean is rounded: the deviations from it are corrected, their rounding stays
        lost = (4 * UNIT * np.abs(expected[1])) ** 2
        assert_within(var, expected[2], 2 * rounds * (expected[2] + lost) + lost + TINY, "var")
        shift = scale * (2 * UNIT * np.abs(expected[1])) + np.abs(beta)
        bound = rounds * scale * (d + spread) + 4 * UNIT * shift + 2 * scale * np.sqrt(lost) * UNIT
        assert_within(y, expected[0], bound + TINY, "y")
        check_gradients(x, gamma, mean, var, dy.astype(np.float64), gradients)


def check_gradients(
    x: Array, gamma: Array, mean: Array, var: Array, dy: Array, got: list[Array]
) -> None:
    """Against the reference at the engine's own mean, var and dy."""
    n = x.size // x.shape[-1]
    rounds, r = (n + 10) * UNIT, 1 / np.sqrt(var + EPSILON)
    d = np.abs(x - mean)
    dx, dgamma, dbeta = reference.batch_norm_backward(x, gamma, mean, var, dy, EPSILON)
    absolute = sums(np.abs(dy)), sums(np.abs(dy) * d) * r
    assert_within(got[2], dbeta, rounds * absolute[0] + TINY, "dbeta")
    assert_within(got[1], dgamma, rounds * absolute[1] + TINY, "dgamma")
    terms = np.abs(dy) + absolute[0] / n + d * r * absolute[1] / n
    assert_within(got[0], dx, rounds * np.abs(gamma) * r * terms + TINY, "dx")


def check_inference(shape: tuple[int, ...], seed: int, setting: Setting) -> None:
    """A difference, a scale and a shift; mean and var are constants in the gradient."""
    x, parameters = arrays(shape, seed, 3.0)
    C = shape[-1:]
    parameters["mean"] = rounded(3 + random_array(C, seed, 6))
    parameters["var"] = rounded(np.abs(random_array(C, seed, 7)))
    gamma, beta, mean, var = parameters.values()
    wrt = ["x", "gamma", "beta"]
    (y,), dy, (dx, dgamma, dbeta) = mse_gradients(inference, {"x": x}, parameters, wrt, setting)
    expected = reference.batch_norm_inference(x, gamma, beta, mean, var, EPSILON)
    r = 1 / np.sqrt(var + EPSILON)
    bound = 4 * UNIT * (np.abs(gamma * (x - mean)) * r + np.abs(beta)) + TINY
    assert_within(y, expected, bound, "y")
    dy = dy.astype(np.float64)
    expected = gamma * r * dy
    assert_within(dx, expected, 4 * UNIT * np.abs(expected) + 2 * TINY, "dx")
    rounds = (x.size // x.shape[-1] + 10) * UNIT
    d = (x - mean) * r
    assert_within(dgamma, sums(dy * d), rounds * sums(np.abs(dy * d)) + TINY, "dgamma")
    assert_within(dbeta, sums(dy), rounds * sums(np.abs(dy)) + TINY, "dbeta")


ALL = (check_training, check_inference)


@pytest.mark.parametrize("check", ALL)
@pytest.mark.parametrize("case", PICKED, ids=str)
def test_picked_shapes(check, case, isa):
    check(case, 0, Setting(isa))


@pytest.mark.parametrize("check", ALL)
@given(SHAPES, seeds)
def test_drawn_shapes(isa, check, case, seed):
    check(case, seed, Setting(isa))


@pytest.mark.parametrize("shape", PICKED[-4:], ids=str)
def test_threads_change_no_bit(shape, isa):
    x, parameters = arrays(shape, 0, 1.0)
    wrt = ["x", "gamma", "beta"]
    results = [
        mse_gradients(training, {"x": x}, parameters, wrt, Setting(isa, threads=n))
        for n in (1, 2, 5)
    ]
    for outputs, _, gradients in results[1:]:
        for a, b in zip((*outputs, *gradients), (*results[0][0], *results[0][2]), strict=True):
            np.testing.assert_array_equal(a, b)


CHECKS = [Check(check, SHAPES, PICKED) for check in ALL]


@pytest.mark.parametrize("memory", GUARDS)
def test_no_byte_outside(memory, isa):
    assert_guarded(__name__, memory, isa)


def test_constant_channels_have_no_variance(isa):
    """Not even at 1e4, where a sum of squares would leave noise of 100."""
    x = np.full((7, 5, 3, 9), 1e4) + np.arange(9)
    parameters = {"gamma": np.ones(9), "beta": np.zeros(9)}
    y, mean, var = Net(training, {"x": x}, parameters, Setting(isa)).run()
    np.testing.assert_array_equal(mean, x[0, 0, 0].astype(np.float32))
    np.testing.assert_array_equal(var, np.zeros(9))
    np.testing.assert_array_equal(y, np.zeros(x.shape))


def test_moving_averages(isa):
    """The averages of the whole run, and nothing else changes them."""
    momentum = 0.75
    x, parameters = arrays((4, 3, 3, 9), 1, 2.0)
    parameters |= {"mean": np.zeros(9), "var": np.ones(9)}

    def build(graph: _core.Graph, v: dict[str, int]) -> list[int]:
        outputs = training(graph, v)
        for name, sample in zip(("mean", "var"), outputs[1:], strict=True):
            graph.moving_average(v[name], sample, momentum=momentum)
        return outputs

    net = Net(build, {"x": x}, parameters, Setting(isa))
    mean, var = parameters["mean"], parameters["var"]
    for _ in range(3):
        outputs = net.run()
        mean = reference.moving_average(mean, outputs[1], momentum)
        var = reference.moving_average(var, outputs[2], momentum)
    np.testing.assert_allclose(net.parameters.get("mean"), mean, rtol=8 * UNIT, atol=8 * UNIT)
    np.testing.assert_allclose(net.parameters.get("var"), var, rtol=8 * UNIT)
    np.testing.assert_array_equal(net.parameters.get("gamma"), parameters["gamma"])


# --- inputs that may be absent --------------------------------------------------------------------


@pytest.mark.parametrize("absent", [("gamma",), ("beta",), ("gamma", "beta")])
@pytest.mark.parametrize("build", [training, inference])
def test_absent_inputs_are_one_and_zero(build, absent):
    """The same bits as with vectors of ones and zeros, in the gradients too."""
    x, parameters = arrays((3, 5, 4, 19), 1, 0.5)
    statistics = {"mean": rounded(random_array((19,), 1, 7)), "var": np.full(19, 0.75, np.float32)}
    neutral = {"gamma": np.ones(19, np.float32), "beta": np.zeros(19, np.float32)}
    given = {**parameters, **statistics, **{name: neutral[name] for name in absent}}
    kept = ["x", *(name for name in parameters if name not in absent)]
    without = {name: value for name, value in given.items() if name not in absent}

    def lacking(graph, v):
        return build(graph, {**dict.fromkeys(absent), **v})

    for setting in (Setting(isa) for isa in _core.isas()):
        want = mse_gradients(build, {"x": x}, given, kept, setting)
        got = mse_gradients(lacking, {"x": x}, without, kept, setting)
        for mine, theirs in ((got[0], want[0]), (got[2], want[2])):
            values = mine.values() if isinstance(mine, dict) else mine
            others = theirs.values() if isinstance(theirs, dict) else theirs
            for a, b in zip(values, others, strict=True):
                np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("absent", [("gamma",), ("beta",), ("mean",), ("gamma", "beta", "mean")])
def test_a_fold_knows_what_is_absent(absent):
    x = stored(random_array((2, 6, 5, 3), 3))
    vectors = {name: stored(random_array((8,), i, 2)) for i, name in enumerate(NAMES)}
    vectors["var"] = np.abs(vectors["var"])
    neutral = {"gamma": np.ones(8, "f4"), "beta": np.zeros(8, "f4"), "mean": np.zeros(8, "f4")}
    vectors.update({name: neutral[name] for name in absent})
    results = []
    for left_out in (absent, ()):
        graph = _core.Graph()
        given = graph.input("x", (None, 6, 5, 3))
        y = graph.conv2d(given, graph.parameter("w", (3, 3, 3, 8)))
        inputs = [None if n in left_out else graph.parameter(n, (8,)) for n in NAMES]
        graph.mark_output(graph.batch_norm_inference(y, *inputs, epsilon=EPSILON))
        parameters = _core.Parameters(graph)
        parameters.set("w", stored(random_array((3, 3, 3, 8), 4)))
        for name in NAMES:
            if name not in left_out:
                parameters.set(name, vectors[name])
        plan = _core.Plan(graph, parameters, 2)
        plan.run([x])
        assert plan.steps() == ["input", "conv2d", "output"]
        results.append(plan.output(0))
    np.testing.assert_array_equal(*results)
