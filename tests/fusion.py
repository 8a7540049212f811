# SPDX-License-Identifier: Apache-2.0
"""Graphs whose plans are known step by step: what is joined, what is not, and equal results.

All numbers are whole or exact sums of products, so what is computed in one step must equal what is
computed in several to the bit: a twin of the graph marks what lies between as outputs, too, which
keeps the nodes apart.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from engine import Array, Net, Setting, assert_equal, stored
from strategies import small_integers

from pycnn import _core

Values = dict[str, int]
# The outputs, and what lies between the nodes that are joined; nothing where none are.
Build = Callable[[_core.Graph, Values], tuple[list[int], list[int]]]

IMAGE, VECTORS = (2, 8, 8, 4), (2, 4)
SHAPES = {
    "w": (3, 3, 4, 8),
    "w8": (3, 3, 8, 8),
    "point": (1, 1, 8, 8),
    "depthwise": (3, 3, 1, 4),
    "dense": (4, 8),
    "dense8": (8, 8),
    "b": (8,),
    "beta": (8,),
    "mean": (8,),
}


def parameters() -> dict[str, Array]:
    made = {name: small_integers(s, i, 5, 2) for i, (name, s) in enumerate(SHAPES.items())}
    made["gamma"] = 2.0 ** (np.arange(8) % 3)
    made["var"] = np.where(np.arange(8) % 2, 3.0, 15.0)  # with epsilon 1 the roots are whole
    return made


@dataclass(frozen=True)
class Case:
    build: Build
    steps: list[str]  # of the plan, without the copies in and out

    def __str__(self) -> str:
        return self.build.__name__


class Cases(list[Case]):
    """A table, filled by a decorator: @cases.add("conv2d activation", "loss_backward ...")."""

    def add(self, *steps: str) -> Callable[[Build], Build]:
        def register(build: Build) -> Build:
            self.append(Case(build, " ".join(steps).split()))
            return build

        return register


def net_of(case: Case, setting: Setting, *, apart: bool = False) -> Net:
    """apart: what lies between is an output, too."""

    def outputs(g: _core.Graph, v: Values) -> list[int]:
        wanted, between = case.build(g, v)
        return [*wanted, *between] if apart else wanted

    images, vectors = small_integers(IMAGE, 1, 0, 2), small_integers(VECTORS, 2, 0, 2)
    net = Net(outputs, {"x": images, "vectors": vectors}, parameters(), setting)
    for node in net.graph.nodes():
        if node["op"] == "input" and node["name"].startswith("target"):
            shape = net.graph.shape(node["outputs"][0])[1:]
            net.inputs.append(stored(small_integers((len(images), *shape), 7, len(shape), 2)))
    return net


def check(case: Case, isa: str) -> None:
    """The plan has these steps, the twin has others where it must, and both compute the same."""
    net, twin = (net_of(case, Setting(isa), apart=apart) for apart in (False, True))
    assert net.steps() == case.steps, net.steps()
    assert (twin.steps() != case.steps) == (len(twin.outputs) > len(net.outputs))
    for i, (got, expected) in enumerate(zip(net.run(), twin.run(), strict=False)):
        assert expected.any()
        assert_equal(got, expected, f"output {i}")


# --- nodes, in short ------------------------------------------------------------------------------


def conv(g: _core.Graph, v: Values, x: int | None = None, w: str = "w", b: str = "") -> int:
    x = v["x"] if x is None else x
    groups = g.shape(x)[3] if w == "depthwise" else 1
    return g.conv2d(x, v[w], v[b] if b else None, padding="same", groups=groups)


def dense(g: _core.Graph, v: Values, x: int | None = None, w: str = "dense") -> int:
    return g.dense(v["vectors"] if x is None else x, v[w])


def norm(g: _core.Graph, v: Values, x: int, **others: int) -> int:
    values = {name: v[name] for name in ("gamma", "beta", "mean", "var")} | others
    return g.batch_norm_inference(x, *values.values(), epsilon=1.0)


def relu(g: _core.Graph, x: int) -> int:
    return g.activation(x, "relu")


def pool(g: _core.Graph, x: int, size: int = 2, stride: int = 2, padding: Any = "valid") -> int:
    return g.max_pool2d(x, pool_size=(size, size), strides=(stride, stride), padding=padding)


def gradients(g: _core.Graph, v: Values, y: int, *wrt: str | int) -> list[int]:
    """Of a mean squared error of y, whose target is an input; whole numbers times 2^-k."""
    target = g.input(f"target{len(g.nodes())}", g.shape(y))
    loss = g.loss("mean_squared_error", target, y)
    found = g.gradients(loss, [v[x] if isinstance(x, str) else x for x in wrt])
    assert None not in found
    return [value for value in found if value is not None]
