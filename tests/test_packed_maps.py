# SPDX-License-Identifier: Apache-2.0
"""Kernels, their gradients and their slots, which lie packed, as values that any op reads."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from engine import Net, Setting
from strategies import random_array

from pycnn import _core

PACKED: dict[str, Callable[[_core.Graph, int, int], int]] = {
    "in their place": lambda g, w, dw: g.map([w, dw], ["multiply x1 0.5", "subtract x0 t0", "t1"]),
    "zeros that do not stay": lambda g, w, dw: g.map([w], ["divide 1 x0", "t0"]),
    "with numbers": lambda g, w, dw: g.map(
        [w, dw, g.reduce([w], "mean")], ["multiply x1 x2", "add x0 t0", "t1"]
    ),
    "sums of gradients": lambda g, w, dw: g.map([g.add(dw, dw), w], ["add x0 x1", "t0"]),
    "places": lambda g, w, dw: g.map([w], ["multiply x0 iota0", "add t0 iota1", "t1"]),
    "random numbers": lambda g, w, dw: g.map([w], ["multiply x0 uniform3", "t0"]),
    "with channels": lambda g, w, dw: g.map(
        [w, g.reduce([w], "sum", axes=[0], expression=["square x0", "t0"])],
        ["add x1 1", "sqrt t0", "divide x0 t1", "t2"],
    ),
    "views": lambda g, w, dw: g.reshape(
        g.transpose(g.reshape(w, shape=(1, *g.shape(w))), axes=(0, 1, 2)), like=w
    ),
    "other ops": lambda g, w, dw: g.activation(g.transpose(g.transpose(w, (1, 0)), (1, 0)), "elu"),
}


def dense_step(
    value: Callable[[_core.Graph, int, int], int], packed: bool, isa: str, *, fused: bool = False
) -> Net:
    """A weight, its gradient and what is assigned, in a layer's kernel or lying as they are."""
    shape = (9, 21)

    def build(graph: _core.Graph, v: dict[str, int]) -> list[int]:
        dw = v["g"]
        if packed:
            y = graph.dense(v["x"], v["w"])
            dw = graph.dense_backward_weights(
                v["x"], graph.map([y], ["multiply x0 0", "t0"]), v["w"]
            )
            dw = graph.map([dw, v["g"]], ["add x0 x1", "t0"])
        new = value(graph, v["w"], dw)
        graph.assign(v["w"], new)
        if fused:  # nobody else reads it
            return [graph.activation(v["x"], "tanh")]
        return [new, graph.reduce([new], "max")]

    parameters = {"w": random_array(shape, 1), "g": random_array(shape, 2)}
    net = Net(build, {"x": np.ones((2, 9))}, parameters, Setting(isa, "guard_end", threads=2))
    net.parameters.set("w", net.parameters.get("w") + np.float32(3))
    return net


@pytest.mark.parametrize("name", PACKED)
def test_packed_or_not_the_bits_are_the_same(name, isa):
    nets = [dense_step(PACKED[name], packed, isa) for packed in (True, False)]
    for step in (1, 2, 3):
        packed, plain = (net.run(step=step, seed=4) for net in nets)
        for got, want in zip(packed, plain, strict=True):
            np.testing.assert_array_equal(got, want)
        got, want = (net.parameters.get("w") for net in nets)
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("name", PACKED)
def test_written_in_place_the_bits_are_the_same(name, isa):
    nets = [dense_step(PACKED[name], True, isa, fused=fused) for fused in (True, False)]
    in_place = name in list(PACKED)[:4]
    assert (nets[0].steps()[-1] == "map") == in_place
    for step in (1, 2, 3):
        for net in nets:
            net.run(step=step, seed=4)
        got, want = (net.parameters.get("w") for net in nets)
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("groups", [1, 2, 6])
def test_packed_kernels_of_groups(groups, isa):
    """Decay, clipping by the norm of all gradients, and a norm that is kept, of one kernel."""
    shape = (3, 3, 6 // groups, 18)
    w, x = random_array(shape, 1), random_array((2, 5, 5, 6), 2)

    def build(graph: _core.Graph, v: dict[str, int]) -> list[int]:
        y = graph.conv2d(v["x"], v["w"], groups=groups)
        squares = graph.reduce([v["w"]], "sum", expression=["square x0", "t0"])
        loss = graph.add(graph.reduce([y], "mean"), squares)
        (dw,) = graph.gradients(loss, [v["w"]])
        assert dw is not None
        norm = graph.reduce([dw], "sum", expression=["square x0", "t0"])
        step = ["sqrt x2", "divide x1 t0", "multiply learning_rate t1", "subtract x0 t2", "t3"]
        moved = graph.map([v["w"], dw, norm], step)
        axes = [0, 1, 2]
        length = graph.reduce([moved], "sum", axes=axes, expression=["square x0", "t0"])
        kept = ["sqrt x1", "maximum t0 1", "divide x0 t1", "t2"]
        graph.assign(v["w"], graph.map([moved, length], kept))
        return [loss, dw]

    net = Net(build, {"x": x}, {"w": w}, Setting(isa, "guard_begin"))
    loss, dw = net.run(learning_rate=0.5)
    moved = w - 0.5 * dw / np.sqrt((dw.astype(np.float64) ** 2).sum())
    expected = moved / np.maximum(1, np.sqrt((moved**2).sum((0, 1, 2))))
    np.testing.assert_allclose(net.parameters.get("w"), expected, 1e-5, 1e-6)
    plain = Net(
        lambda g, v: [g.conv2d(v["x"], v["w"], groups=groups)], {"x": x}, {"w": w}, Setting(isa)
    )
    np.testing.assert_allclose(
        loss, plain.run()[0].mean(dtype=np.float64) + (w**2).sum(), 1e-5, 1e-5
    )
