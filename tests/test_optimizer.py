# SPDX-License-Identifier: Apache-2.0
"""SGD, Adam and their slots against the reference, on plain and on packed parameters."""

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
    stored,
)
from hypothesis import given
from hypothesis import strategies as st
from strategies import dense_shapes, random_array, seeds

from pycnn import _core, reference

SHAPES = dense_shapes(max_channels=17).map(lambda case: case.w_shape)
PICKED = [*((3, K) for K in CHANNELS), (130, 70)]
RATE = float(np.float32(0.05))


def number(x: float) -> float:
    """The float32 value that the engine keeps."""
    return float(np.float32(x))


SGD = [
    {},
    {"weight_decay": number(0.1)},
    {"momentum": number(0.9)},
    {"momentum": number(0.9), "nesterov": True, "weight_decay": number(0.01)},
]
ADAM = [
    {},
    {"beta_1": 0.5, "beta_2": 0.75, "epsilon": number(1e-3), "weight_decay": number(0.01)},
]


def training_net(shape: tuple[int, int], seed: int, update: str, options, setting: Setting) -> Net:
    """One dense layer with bias; marks both gradients, so that they are known exactly."""
    x, y = random_array((4, shape[0]), seed), random_array((4, shape[1]), seed, 1)
    parameters = {"w": random_array(shape, seed, 2), "b": random_array(shape[1:], seed, 3)}

    def build(graph: _core.Graph, v: dict[str, int]) -> list[int]:
        loss = graph.loss("mean_squared_error", v["y"], graph.dense(v["x"], v["w"], v["b"]))
        gradients = [g for g in graph.gradients(loss, [v["w"], v["b"]]) if g is not None]
        for name, gradient in zip("wb", gradients, strict=True):
            getattr(graph, update)(v[name], gradient, **options)
        return gradients

    return Net(build, {"x": x, "y": y}, parameters, setting)


def check_sgd(shape: tuple[int, int], seed: int, setting: Setting) -> None:
    """Two steps; each result within the roundings of its few terms."""
    for options in SGD:
        net = training_net(shape, seed, "sgd", options, setting)
        for _ in range(2):
            before = {name: state(net, name, "velocity", options) for name in "wb"}
            gradients = dict(zip("wb", net.run(learning_rate=RATE), strict=True))
            for name, (w, velocity) in before.items():
                g = gradients[name]
                expected = reference.sgd(w, g, velocity, RATE, **options)
                got = state(net, name, "velocity", options)
                size = np.abs(w) + 2 * (RATE * np.abs(g) + np.abs(velocity))
                for part, a, b in zip(("w", "velocity"), got, expected, strict=True):
                    assert_within(a, b, 6 * UNIT * size + TINY, f"{name} {part} {options}")


def state(net: Net, name: str, slot: str, options) -> tuple[Array, Array]:
    w = net.parameters.get(name)
    return w, net.parameters.get(name, slot) if options.get("momentum") else np.zeros_like(w)


def check_adam(shape: tuple[int, int], seed: int, setting: Setting) -> None:
    """Three steps from a late one on: the bias corrections are those of the step number."""
    for options in ADAM:
        net = training_net(shape, seed, "adam", options, setting)
        betas = {name: number(options.get(name, default)) for name, default in BETAS.items()}
        full = {"epsilon": number(1e-7), **options, **betas}
        for step in (1, 2, 1000):
            before = {name: slots(net, name) for name in "wb"}
            gradients = dict(zip("wb", net.run(learning_rate=RATE, step=step), strict=True))
            for name, (w, m, v) in before.items():
                g = gradients[name]
                expected = reference.adam(w, g, m, v, step, RATE, **full)
                move = np.abs(expected[0] - w) + RATE * np.abs(w)
                # m may be a difference of larger numbers: its rounding is carried into the move
                alpha = RATE * np.sqrt(1 - full["beta_2"] ** step) / (1 - full["beta_1"] ** step)
                size_m = np.abs(m) + np.abs(g)
                carried = alpha * size_m / (np.sqrt(expected[2]) + full["epsilon"])
                bounds = (
                    2 * UNIT * np.abs(w) + 16 * UNIT * (move + carried),
                    4 * UNIT * size_m,
                    6 * UNIT * (np.abs(v) + g.astype(np.float64) ** 2),
                )
                got = slots(net, name)
                for part, a, b, bound in zip("wmv", got, expected, bounds, strict=True):
                    assert_within(a, b, bound + TINY, f"{name} {part} step {step} {options}")


BETAS = {"beta_1": 0.9, "beta_2": 0.999}


def slots(net: Net, name: str) -> tuple[Array, Array, Array]:
    w, m, v = (net.parameters.get(name, slot) for slot in ("", "m", "v"))
    return w, m, v


ALL = (check_sgd, check_adam)


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


@given(SHAPES, st.sampled_from(["", "velocity", "m"]), seeds)
def test_slots_keep_the_users_layout(isa, shape, slot, seed):
    """What is set is got, bit for bit, in kernels that lie packed too."""
    net = training_net(shape, seed, "adam", {}, Setting(isa))
    for name, extents in (("w", shape), ("b", shape[1:])):
        array = stored(random_array(extents, seed))
        net.parameters.set(name, array, slot)
        np.testing.assert_array_equal(net.parameters.get(name, slot), array)


def test_zero_gradient_and_rate_change_nothing(isa):
    for update, options in (("sgd", SGD[2]), ("adam", {})):
        net = training_net((5, 9), 1, update, options, Setting(isa))
        before = [net.parameters.get(name) for name in "wb"]
        net.run(learning_rate=0.0, step=1)
        for name, w in zip("wb", before, strict=True):
            np.testing.assert_array_equal(net.parameters.get(name), w)


def test_update_sees_the_gradient_of_old_weights(isa):
    """All gradients are computed before the first update, though w is updated first."""
    parameters = {"w": np.array([[2.0]]), "u": np.array([[3.0]])}

    def build(graph: _core.Graph, v: dict[str, int]) -> list[int]:
        z = graph.dense(graph.dense(v["x"], v["w"]), v["u"])
        loss = graph.loss("mean_squared_error", v["y"], z)
        for name in ("w", "u"):
            (gradient,) = graph.gradients(loss, [v[name]])
            assert gradient is not None
            graph.sgd(v[name], gradient)
        return [loss]

    net = Net(build, {"x": [[1.0]], "y": [[5.0]]}, parameters, Setting(isa))
    assert net.run(learning_rate=0.5)[0] == 1.0
    assert net.parameters.get("w")[0, 0] == 2 - 0.5 * 2 * 3
    assert net.parameters.get("u")[0, 0] == 3 - 0.5 * 2 * 2


def test_slots_of_unnamed_things_are_refused():
    net = training_net((2, 3), 0, "sgd", {}, Setting("scalar"))
    with pytest.raises(ValueError, match="no parameter is named 'q'"):
        net.parameters.get("q")
    with pytest.raises(ValueError, match=r"parameter w: expected \(2, 3\), got \(3, 2\)"):
        net.parameters.set("w", np.zeros((3, 2), np.float32))
    with pytest.raises(TypeError, match="incompatible function arguments"):
        net.parameters.set("w", np.zeros((2, 3)))  # float64 is not converted in silence
