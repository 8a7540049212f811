# SPDX-License-Identifier: Apache-2.0
"""Updates that would write a number that is not finite are found before any is written (23)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from engine import Net, Setting

import pycnn
from pycnn import _core
from pycnn.errors import NumericError
from pycnn.layers import Dense

Update = Callable[[_core.Graph, int, int], None]
HUGE = 3e38


def linear(isa: str, update: Update, gradient: float, w: float = 1.0, count: int = 700) -> Net:
    """One weight vector whose gradient is `gradient` everywhere: loss = mean((x w - t)^2)."""

    def build(graph: _core.Graph, v: dict[str, int]) -> list[int]:
        y = graph.dense(v["x"], v["w"], name="layer")
        loss = graph.loss("mean_squared_error", v["t"], y)
        (dw,) = graph.gradients(loss, [v["w"]])
        assert dw is not None
        graph.moving_average(v["average"], graph.bias_backward(y), momentum=0.5)
        update(graph, v["w"], dw)
        return [loss]

    x = np.zeros((1, count))
    x[0, -1] = 1.0  # the last element alone has a gradient: 2 * (w - t)
    weights = np.zeros((count, 1))
    weights[-1] = w
    arrays = {"x": x, "t": [[w - gradient / 2]]}
    parameters = {"w": weights, "average": np.zeros(1)}
    return Net(build, arrays, parameters, Setting(isa))


def state(net: Net, slots: tuple[str, ...]) -> list[bytes]:
    names = [("w", ""), ("average", ""), *(("w", slot) for slot in slots)]
    return [net.parameters.get(*name).tobytes() for name in names]


UPDATES: dict[str, tuple[Update, tuple[str, ...]]] = {
    "sgd": (lambda g, w, dw: g.sgd(w, dw), ()),
    "momentum": (lambda g, w, dw: g.sgd(w, dw, momentum=0.9), ("velocity",)),
    "nesterov": (lambda g, w, dw: g.sgd(w, dw, momentum=0.9, nesterov=True), ("velocity",)),
    "decay": (lambda g, w, dw: g.sgd(w, dw, weight_decay=0.5), ()),
    "adam": (lambda g, w, dw: g.adam(w, dw), ("m", "v")),
}


@pytest.mark.parametrize("name", UPDATES)
def test_infinite_weights_are_found_before_they_are_written(name, isa):
    update, slots = UPDATES[name]
    net = linear(isa, update, gradient=1e10)
    net.run(step=1, learning_rate=1e-20)
    if name == "adam":  # its steps are about learning_rate long
        net.parameters.set("w", np.full((700, 1), HUGE, np.float32))
        net.inputs[0][0, -1] = 1e-30
        net.inputs[1][:] = 1e10
    before = state(net, slots)
    with pytest.raises(NumericError, match="the update would make w or its optimizer's state not"):
        net.run(step=2, learning_rate=3.4e38)
    assert state(net, slots) == before
    net.run(step=2, learning_rate=1e-20)  # and goes on


def test_adams_second_moment_of_a_huge_finite_gradient(isa):
    """v = g * g is infinite from 2e19 on: the weight would be NaN one step later."""
    net = linear(isa, UPDATES["adam"][0], gradient=1e19)
    net.run(step=1, learning_rate=1e-3)
    net = linear(isa, UPDATES["adam"][0], gradient=0.0)
    net.inputs[0][0, -1] = 1e10  # gradient 2e10 * (1e10 w - t)
    net.inputs[1][0, 0] = 1e10 - 1e9
    with pytest.raises(NumericError, match="would make w or its optimizer's state"):
        net.run(step=1, learning_rate=1e-3)
    assert not net.parameters.get("w", "v").any()


@pytest.mark.parametrize("slot", ["m", "v", ""])
@pytest.mark.parametrize("bad", [np.inf, np.nan, -1.0])
def test_slots_and_weights_that_were_set_are_looked_at(slot, bad, isa):
    """Not finite, or a negative second moment: the root would be NaN."""
    net = linear(isa, UPDATES["adam"][0], gradient=1.0)
    net.run(step=1, learning_rate=1e-3)
    array = net.parameters.get("w", slot)
    array[3, 0] = bad  # x is 0 there: the forward pass sees 0 * bad
    net.parameters.set("w", array, slot)
    before = state(net, ("m", "v"))
    if bad == -1.0 and slot != "v":
        net.run(step=2, learning_rate=1e-3)
        assert np.isfinite(net.parameters.get("w")).all()
        return
    with pytest.raises(NumericError):
        net.run(step=2, learning_rate=1e-3)
    assert state(net, ("m", "v")) == before


def test_large_finite_numbers_are_no_reason_to_stop(isa):
    """Bounds that are only loose must not refuse a step: the arrays themselves decide."""
    for name, (update, _) in UPDATES.items():
        net = linear(isa, update, gradient=1e8, w=1e38)
        net.inputs[1][:] = 1e38
        net.inputs[0][0, -1] = 0
        net.inputs[0][0, 0] = 1e-3  # another weight, small, has the gradient
        net.inputs[1][:] = -5e4
        for step in range(1, 4):
            net.run(step=step, learning_rate=1e-6)
        w = net.parameters.get("w")
        assert np.isfinite(w).all() and w[0, 0] != 0, name


def test_a_long_training_is_not_stopped_by_its_bounds(isa):
    net = linear(isa, UPDATES["adam"][0], gradient=1.0, count=3)
    for step in range(1, 2000):
        net.run(step=step, learning_rate=1e-2)
    assert np.isfinite(net.parameters.get("w")).all()


def test_the_step_that_would_overflow_is_found_after_others(isa):
    """Steps of 1e38 that add up: what is known of the weight grows with it."""

    def build(graph: _core.Graph, v: dict[str, int]) -> list[int]:
        graph.sgd(v["w"], v["dw"])
        return [graph.activation(v["x"], "tanh")]

    parameters = {"w": np.zeros(5), "dw": np.full(5, -1.0)}
    net = Net(build, {"x": np.zeros((1, 2))}, parameters, Setting(isa))
    for step in (1, 2, 3):
        net.run(learning_rate=1e38)
        np.testing.assert_allclose(net.parameters.get("w"), step * 1e38, rtol=1e-6)
    with pytest.raises(NumericError, match="the update would make w"):
        net.run(learning_rate=1e38)
    np.testing.assert_allclose(net.parameters.get("w"), 3e38, rtol=1e-6)


def test_what_is_known_of_weights_grows_in_ignored_steps_too(isa):
    """The first weight overflows, which is ignored; the second one is large from then on."""

    def build(graph: _core.Graph, v: dict[str, int]) -> list[int]:
        graph.sgd(v["a"], v["da"])
        graph.sgd(v["b"], v["db"])
        return [graph.activation(v["x"], "tanh")]

    gradients = {"da": np.full(5, -1.0), "db": np.full(5, -3.2)}
    parameters = {"a": np.zeros(5), "b": np.zeros(5), **gradients}
    net = Net(build, {"x": np.zeros((1, 2))}, parameters, Setting(isa))
    net.run(learning_rate=1.0)
    net.parameters.set("a", np.full(5, HUGE, np.float32))
    net.run(learning_rate=1e38, check_finite=False)
    assert np.isinf(net.parameters.get("a")).all()
    net.parameters.set("a", np.zeros(5, np.float32))
    with pytest.raises(NumericError, match="the update would make b"):
        net.run(learning_rate=1e37)
    np.testing.assert_allclose(net.parameters.get("b"), 3.2e38, rtol=1e-6)


@pytest.mark.parametrize("rate", [np.nan, np.inf, -1.0])
def test_learning_rates_that_are_none_are_refused(rate, isa):
    net = linear(isa, UPDATES["sgd"][0], gradient=1.0)
    before = state(net, ())
    with pytest.raises(ValueError, match="learning_rate must be finite and >= 0"):
        net.run(step=1, learning_rate=rate)
    assert state(net, ()) == before


def test_fit_stops_before_infinite_weights():
    """SGD(3e38) left infinite weights without an error."""
    model = pycnn.Sequential([Dense(3, input_dim=2)])
    model.compile(pycnn.optimizers.SGD(3e38), "mse")
    before = model.get_weights()
    with pytest.raises(NumericError, match="dense/kernel or its optimizer's state not finite"):
        model.fit(np.full((4, 2), 1e6), np.zeros((4, 3)), verbose=0)
    for got, want in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(got, want)
    assert model.optimizer.iterations == 0
