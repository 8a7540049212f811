# SPDX-License-Identifier: Apache-2.0
"""Maps that are fused into their readers: fewer steps, the same bits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from engine import Net, Setting
from hypothesis import given
from hypothesis import strategies as st
from strategies import extents, random_array, seeds

from pycnn import _core

FUNCTIONS = _core.functions()


@dataclass(frozen=True)
class Node:
    """inputs: of x, w (channels), s (a number per sample) and the nodes before."""

    op: str
    inputs: tuple[int, ...]
    code: tuple[str, ...] = ()
    kind: str = ""
    dtype: str = "float32"


@dataclass(frozen=True)
class Case:
    shape: tuple[int, int, int]
    nodes: tuple[Node, ...]


ACTIVATIONS = ("sigmoid", "tanh", "relu", "relu6", "leaky_relu", "elu", "hard_sigmoid", "step")


@st.composite
def nodes(draw, before: int, full: list[int]) -> Node:
    """full: those of the values before that have every element."""
    op = draw(st.sampled_from(["map", "map", "map", "add", "activation", "reduce"]))
    if op in ("add", "activation"):
        count = 2 if op == "add" else 1
        inputs = tuple(draw(st.sampled_from(full)) for _ in range(count))
        return Node(op, inputs, kind=draw(st.sampled_from(ACTIVATIONS)))
    first = draw(st.sampled_from(full))
    others = draw(st.lists(st.integers(0, before - 1), max_size=2))
    inputs = (first, *others)
    code: list[str] = []
    for i in range(draw(st.integers(1, 4))):
        name = draw(st.sampled_from(sorted(FUNCTIONS)))
        known = [*(f"x{k}" for k in range(len(inputs))), *(f"t{k}" for k in range(i))]
        known += ["0.5", "iota1", "uniform3"]
        words = [draw(st.sampled_from(known)) for _ in range(FUNCTIONS[name])]
        code.append(" ".join([name, *words]))
    code.append(f"t{len(code) - 1}")
    kind = draw(st.sampled_from(["sum", "mean", "max", "min", "arg_max"])) if op == "reduce" else ""
    dtype = (
        draw(st.sampled_from(["float32"] * 4 + ["int32", "uint8"])) if op == "map" else "float32"
    )
    return Node(op, inputs, tuple(code), kind, dtype)


@st.composite
def cases(draw) -> Case:
    shape = (draw(st.integers(1, 3)), draw(extents(9)), draw(extents(17)))
    made: list[Node] = []
    full = [0]  # x
    for _ in range(draw(st.integers(2, 8))):
        node = draw(nodes(3 + len(made), full))
        made.append(node)
        if node.op != "reduce" and node.dtype == "float32":
            full.append(2 + len(made))
    return Case(shape, tuple(made))


def build_nodes(case: Case, graph: _core.Graph, v: dict[str, int]) -> list[int]:
    values = [v["x"], v["w"], v["s"]]
    for node in case.nodes:
        inputs = [values[i] for i in node.inputs]
        if node.op == "map":
            made = graph.map(inputs, node.code, dtype=node.dtype)
        elif node.op == "reduce":
            made = graph.reduce(inputs, node.kind, axes=[2], keepdims=True, expression=node.code)
        elif node.op == "add":
            made = graph.add(*inputs)
        else:
            made = graph.activation(inputs[0], node.kind)
        values.append(made)
    return values[3:]


def net_of(case: Case, setting: Setting, seed: int, keep_all: bool) -> Net:
    N, _, C = case.shape
    inputs = {"x": random_array(case.shape, seed), "s": random_array((N, 1, 1), seed, 1)}
    parameters = {"w": random_array((C,), seed, 2)}

    def build(graph: _core.Graph, v: dict[str, int]) -> list[int]:
        made = build_nodes(case, graph, v)
        return made if keep_all else made[-1:]

    return Net(build, inputs, parameters, setting)


@given(cases(), seeds)
def test_fusing_never_changes_a_bit(isa, case, seed):
    kept = net_of(case, Setting(isa), seed, keep_all=True)
    fused = net_of(case, Setting(isa, threads=2), seed, keep_all=False)
    assert len(kept.steps()) >= len(fused.steps())
    expected = kept.run(seed=5, step=2)[-1]
    got = fused.run(seed=5, step=2)[0]
    np.testing.assert_array_equal(got, expected)
    np.testing.assert_array_equal(np.signbit(got), np.signbit(expected))


def chain(*nodes: Node) -> Case:
    return Case((2, 5, 7), nodes)


TWICE = ("multiply x0 2", "t0")
PICKED = {
    "maps": (chain(Node("map", (0,), TWICE), Node("map", (3, 1), ("add x0 x1", "t0"))), ["map"]),
    "of an activation": (
        chain(Node("activation", (0,), kind="relu"), Node("map", (3,), TWICE)),
        ["map"],
    ),
    "of ops that are no maps": (
        chain(Node("add", (0, 0)), Node("activation", (3,), kind="relu")),
        ["add", "activation"],
    ),
    "one without an expression": (
        chain(Node("activation", (0,), kind="elu"), Node("map", (3,), TWICE)),
        ["activation", "map"],
    ),
    "into a fold": (
        chain(Node("map", (0,), TWICE), Node("reduce", (3,), ("square x0", "t0"), "sum")),
        ["reduce"],
    ),
    "random numbers of rows that begin anywhere": (
        chain(
            Node("map", (0,), ("add x0 uniform3", "t0")),
            Node("reduce", (3,), ("square x0", "t0"), "arg_max"),
        ),
        ["reduce"],
    ),
    "not where it is smaller": (
        chain(Node("map", (1,), TWICE), Node("map", (0, 3), ("add x0 x1", "t0"))),
        ["map", "map"],
    ),
    "not what is read twice": (
        chain(
            Node("map", (0,), TWICE),
            Node("reduce", (3,), ("x0",), "sum"),
            Node("map", (3, 4), ("subtract x0 x1", "t0")),
        ),
        ["map", "reduce", "map"],
    ),
    "through an integer": (
        chain(
            Node("map", (0,), ("multiply x0 3", "t0"), dtype="int32"),
            Node("map", (3,), ("multiply x0 0.5", "t0")),
        ),
        ["map"],
    ),
}


@pytest.mark.parametrize("name", PICKED)
def test_steps(name, isa):
    case, steps = PICKED[name]
    fused = net_of(case, Setting(isa), 0, keep_all=False)
    assert fused.steps() == steps
    expected = net_of(case, Setting(isa), 0, keep_all=True).run()[-1]
    np.testing.assert_array_equal(fused.run()[0], expected)


def test_long_chains_are_cut_where_an_expression_ends(isa):
    """At most 64 instructions and 16 inputs in one."""
    case = chain(*(Node("map", (2 + i if i else 0,), TWICE) for i in range(100)))
    fused = net_of(case, Setting(isa), 0, keep_all=False)
    assert fused.steps() == ["map", "map"]
    expected = random_array(case.shape, 0).astype(np.float32) * np.float32(2.0**100)
    np.testing.assert_array_equal(fused.run()[0], expected)
