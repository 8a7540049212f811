# SPDX-License-Identifier: Apache-2.0
"""Numbers that are not finite stop a training step before it has changed anything."""

from __future__ import annotations

import numpy as np
import pytest
from engine import Net, Setting
from networks import SLOTS, SmallCnn, state_of

from pycnn import _core
from pycnn.errors import NumericError


def poison(net: SmallCnn, where: str) -> str:
    """Breaks something; returns what the message must name."""
    if where == "input":
        net.arrays[0][3] = np.nan
        return "(images|conv1|dense1)"  # the first of them that is still in memory
    name = {"weights": "dense1.w", "infinite": "conv1.w"}[where]
    w = net.parameters.get(name)
    w.reshape(-1)[1] = np.nan if where == "weights" else np.inf
    net.parameters.set(name, w)
    return name.partition(".")[0]


@pytest.mark.parametrize("optimizer", sorted(SLOTS))
@pytest.mark.parametrize("where", ["input", "weights", "infinite"])
def test_nothing_is_updated_where_a_number_is_not_finite(where, optimizer, isa):
    """NumericError names step and layer; weights, slots and averages stay as they were."""
    for count in (1, 3):
        net = SmallCnn(isa, optimizer=optimizer, threads=count)
        net.train(2)
        layer, before = poison(net, where), state_of(net)
        with pytest.raises(NumericError, match=f"step 12: .*not finite.*{layer}"):
            net.step(12)
        assert state_of(net) == before


def test_adam_has_no_step_zero(isa):
    """Its bias correction would divide by zero; steps count from 1, and 0 is the default."""
    net = SmallCnn(isa)
    before = state_of(net)
    with pytest.raises(ValueError, match="step"):
        net.step(0)
    assert state_of(net) == before


def test_overflow_in_the_gradient_alone_is_found(isa):
    """A finite loss with an infinite gradient: 1e30 * 1e30 appears in backward only."""

    def build(graph: _core.Graph, v: dict[str, int]) -> list[int]:
        y = graph.dense(graph.dense(v["x"], v["w"], name="early"), v["u"], name="late")
        loss = graph.loss("mean_squared_error", v["t"], y)
        (dw,) = graph.gradients(loss, [v["w"]])
        assert dw is not None
        graph.sgd(v["w"], dw)
        return [loss]

    arrays = {"x": [[1e30]], "t": [[-1e15]]}
    net = Net(build, arrays, {"w": [[0.0]], "u": [[1e30]]}, Setting(isa))
    with pytest.raises(NumericError, match=r"step 3: .*(early|w\b)"):
        net.run(step=3, learning_rate=0.0)
    assert net.parameters.get("w")[0, 0] == 0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_one_bad_number_anywhere_in_a_gradient_is_found(bad, isa):
    """At every place of vectors, groups of vectors and their remainders; huge ones are not bad."""

    def build(graph: _core.Graph, v: dict[str, int]) -> list[int]:
        dw = graph.dense_backward_weights(v["x"], v["dy"], v["w"])
        graph.sgd(v["w"], dw)
        return [graph.dense(v["x"], v["w"])]

    for count in (1, 3, 16, 64, 65, 131, 20_000):
        arrays = {"x": np.full((1, count), 1e30), "dy": np.ones((1, 1))}
        net = Net(build, arrays, {"w": np.zeros((count, 1))}, Setting(isa, threads=2))
        net.run(step=1, learning_rate=0.0)
        for at in range(count) if count < 200 else (0, 16_383, 16_384, count - 1):
            net.inputs[0][0, at] = bad
            with pytest.raises(NumericError):
                net.run(step=1, learning_rate=0.0)
            net.inputs[0][0, at] = 1e30
