# SPDX-License-Identifier: Apache-2.0
"""Maps that are assigned become one step that writes in place: fewer steps, the same bits."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from engine import Array, Net, Setting
from hypothesis import given
from hypothesis import strategies as st
from optimizers import NAMES, RATE, WRITTEN, Update, adamw, mapped, network
from strategies import random_array, seeds

from pycnn import _core
from pycnn.errors import NumericError

Values = list[int]


def updates(net: Net) -> list[str]:
    steps = net.steps()
    return steps[steps.index("check_updates") + 1 :]


def marked(update: Update) -> Update:
    """The same, with every value that is assigned marked as an output: none is written in place."""

    def marking(graph: _core.Graph, w: int, g: int) -> None:
        update(graph, w, g)
        for node in graph.nodes():
            if node["op"] == "assign" and len(node["inputs"]) == 2:
                graph.mark_output(node["inputs"][1])

    return marking


def test_steps_go_by_the_name_of_their_parameter():
    net = network(adamw, Setting("scalar"))
    times = net.plan.profile(net.inputs, repeats=1, step=1)
    assert [name for op, name, _ in times if op == "map"][-4:] == list(NAMES)


@pytest.mark.parametrize("name", WRITTEN)
def test_one_step_for_each_parameter(name, isa):
    update, _, slots = WRITTEN[name]
    assert updates(network(update, Setting(isa))) == ["map"] * len(NAMES)
    nets = [single(each, isa, threads=2) for each in (update, marked(update))]
    assert [updates(net) for net in nets] == [["map"], ["assign"] * (1 + len(slots))]
    for step in range(1, 6):
        for net in nets:
            net.run(learning_rate=RATE, step=step)
        for slot in ("", *slots):
            got, want = (net.parameters.get("w", slot) for net in nets)
            np.testing.assert_array_equal(got, want)


def single(update: Update, isa: str, threads: int = 1, shape: tuple[int, ...] = (9000,)) -> Net:
    def build(graph: _core.Graph, v: dict[str, int]) -> list[int]:
        update(graph, v["w"], v["g"])
        return []

    parameters = {"w": random_array(shape, 1) + 3, "g": random_array(shape, 2)}
    net = Net(build, {"x": np.zeros((1, 2))}, parameters, Setting(isa, "guard_end", threads))
    net.outputs = [0] * sum(1 for _ in net.graph.program()["outputs"])
    return net


def of_slots(*names: str) -> Callable[[_core.Graph, int], Values]:
    return lambda graph, w: [graph.slot(w, name=name) for name in names]


def previous(graph: _core.Graph, w: int, g: int) -> None:
    """What was: an identity, which must not be read when w is written already."""
    (last,) = of_slots("last")(graph, w)
    graph.assign(w, mapped(graph, [w, g], "subtract x0 x1", "t0"))
    graph.assign(last, mapped(graph, [w], "x0"))


def five(graph: _core.Graph, w: int, g: int) -> None:
    slots = of_slots("a", "b", "c", "d")(graph, w)
    value = w
    for target in (*slots, w):
        value = mapped(graph, [value, target, g], "add x0 x1", "multiply t0 0.5", "add t1 x2", "t2")
        graph.assign(target, value)


def twice(graph: _core.Graph, w: int, g: int) -> None:
    (a,) = of_slots("a")(graph, w)
    value = mapped(graph, [w, a, g], "add x0 x1", "subtract t0 x2", "t1")
    graph.assign(a, value)
    graph.assign(w, value)


def crossed(graph: _core.Graph, w: int, g: int) -> None:
    a, b = of_slots("a", "b")(graph, w)
    graph.assign(a, mapped(graph, [b, w], "add x0 x1", "t0"))
    graph.assign(b, mapped(graph, [a, w], "subtract x1 x0", "t0"))
    graph.assign(w, mapped(graph, [a, b, g], "add x0 x1", "add t0 x2", "t1"))


def of_another(graph: _core.Graph, w: int, g: int) -> None:
    """Each reads what the other's update writes."""
    graph.assign(w, mapped(graph, [w, g], "add x0 x1", "t0"))
    graph.assign(g, mapped(graph, [w, g], "multiply x0 0.5", "subtract x1 t0", "t1"))


def viewed(graph: _core.Graph, w: int, g: int) -> None:
    view = graph.reshape(graph.reshape(w, shape=(3, 3000)), like=w)
    graph.assign(w, mapped(graph, [view, w, g], "add x0 x1", "add t0 x2", "t1"))


def read_elsewhere(graph: _core.Graph, w: int, g: int) -> None:
    value = mapped(graph, [w, g], "add x0 x1", "t0")
    (a,) = of_slots("a")(graph, w)
    graph.assign(w, value)
    largest = graph.reduce([value], "max")
    graph.assign(a, mapped(graph, [a, w, largest], "add x0 x2", "subtract t0 x1", "t1"))


def long(graph: _core.Graph, w: int, g: int) -> None:
    """More instructions than an expression has."""
    value = w
    for _ in range(100):
        value = mapped(graph, [value, g], "multiply x0 0.5", "add t0 x1", "t1")
    graph.assign(w, value)


def constants(graph: _core.Graph, w: int, g: int) -> None:
    (a,) = of_slots("a")(graph, w)
    graph.assign(w, graph.map([g], ["multiply step 0.5", "t0"]))
    graph.assign(a, graph.map([g], ["2"]))


SHAPES: dict[str, tuple[Update, tuple[str, ...], list[str]]] = {
    "an identity is copied": (previous, ("last",), ["map", "assign"]),
    "four at most": (five, ("a", "b", "c", "d"), ["assign"] * 5),
    "one value twice": (twice, ("a",), ["map"]),
    "crossed": (crossed, ("a", "b"), ["map"]),
    "of another's state": (of_another, (), ["assign"] * 2),
    "through a view": (viewed, (), ["assign"]),
    "read elsewhere": (read_elsewhere, ("a",), ["assign"] * 2),
    "long": (long, (), ["map"]),
    "constants": (constants, ("a",), ["map"]),
}


@pytest.mark.parametrize("name", SHAPES)
def test_what_is_written_in_place(name, isa):
    update, slots, steps = SHAPES[name]
    nets = [single(each, isa, threads=2) for each in (update, marked(update))]
    assert updates(nets[0]) == steps
    for step in range(1, 4):
        for net in nets:
            net.run(learning_rate=RATE, step=step)
        for slot in ("", *slots):
            got, want = (net.parameters.get("w", slot) for net in nets)
            np.testing.assert_array_equal(got, want)
        got, want = (net.parameters.get("g") for net in nets)
        np.testing.assert_array_equal(got, want)


# --- what is known before anything is written -----------------------------------------------------


def test_a_gradient_that_is_not_finite_is_what_is_named(isa):
    net = single(lambda graph, w, g: adamw(graph, w, graph.add(g, g)), isa)
    bad = net.parameters.get("g")
    bad[-1] = np.nan
    net.parameters.set("g", bad)
    with pytest.raises(NumericError, match="the loss or a gradient is not finite; first seen in"):
        net.run(learning_rate=RATE, step=1)
    assert not net.parameters.get("w", "v").any()


UNPROVEN = {
    "a root of what may be negative": ["multiply x0 x1", "maximum t0 -1", "add t1 1", "sqrt t2"],
    "a share of what may be 0": ["subtract x0 100", "divide x1 t0"],
    "functions without a rule": ["arctan2 x0 x1", "tan t0"],
    "places": ["multiply x0 iota0", "add t0 x1"],
}


@pytest.mark.parametrize("name", UNPROVEN)
@pytest.mark.parametrize("threads", [1, 3])
def test_what_intervals_cannot_prove_is_tried(name, threads, isa):
    code = UNPROVEN[name]

    def update(graph: _core.Graph, w: int, g: int) -> None:
        value = graph.map([w, g], [*code, f"t{len(code) - 1}"])
        graph.assign(graph.slot(w, name="a"), value)

    net = single(update, isa, threads)
    net.run()
    finite: Array = net.parameters.get("w", "a")
    assert np.isfinite(finite).all() and finite.any()
    if name != "a share of what may be 0":
        return
    w = net.parameters.get("w")
    w[-1] = 100
    net.parameters.set("w", w)
    with pytest.raises(NumericError, match="the update would make w"):
        net.run()
    np.testing.assert_array_equal(net.parameters.get("w", "a"), finite)
    net.run(check_finite=False)
    assert np.isinf(net.parameters.get("w", "a")[-1])


def test_finite_updates_are_never_refused(isa):
    """Bounds grow from step to step: where they are too large, the arrays themselves decide."""
    net = single(adamw, isa, shape=(40,))
    for step in range(1, 2500):
        net.run(learning_rate=RATE, step=step)
    assert np.isfinite(net.parameters.get("w")).all()

    def doubled(graph: _core.Graph, w: int, g: int) -> None:
        moved = ["add x0 x1", "subtract t0 x1", "multiply t1 0.5", "multiply t2 2", "t3"]
        graph.assign(w, graph.map([w, g], moved))

    net = single(doubled, isa, shape=(40,))
    for _ in range(600):
        net.run()
    assert np.abs(net.parameters.get("w")).max() < 10


def test_states_that_were_set_are_looked_at(isa):
    """Also where the steps before were tried, and their results known."""

    def update(graph: _core.Graph, w: int, g: int) -> None:
        share = ["subtract x0 100", "divide x1 t0", "add x0 t1", "t2"]
        graph.assign(w, graph.map([w, g], share))

    net = single(update, isa)
    for _ in range(3):
        net.run()
    w = net.parameters.get("w")
    w[5] = 3.4e38
    net.parameters.set("w", w)
    net.run()
    g = net.parameters.get("g")
    g[7] = 3.4e38
    net.parameters.set("g", g)
    net.run()
    w = net.parameters.get("w")
    w[11] = 100
    net.parameters.set("w", w)
    with pytest.raises(NumericError, match="the update would make w"):
        net.run()
    np.testing.assert_array_equal(net.parameters.get("w"), w)


# --- drawn graphs ---------------------------------------------------------------------------------

LINES = ("add x0 x1", "subtract x0 x1", "multiply x0 0.5", "tanh x0", "maximum x1 x0", "cos x0")
TARGETS = 6  # two parameters, two slots of each


@st.composite
def drawn(draw) -> tuple[list[tuple[int, int, str]], dict[int, int]]:
    """Maps of two values before them; and which value becomes which part of the state."""
    count = draw(st.integers(1, 7))
    values = [TARGETS + 3 + i for i in range(count)]
    maps = []
    for value in values:
        a, b = (draw(st.integers(0, value - 1)) for _ in range(2))
        maps.append((a, b, draw(st.sampled_from([*LINES, "x0"]))))
    targets = draw(st.lists(st.integers(0, TARGETS - 1), unique=True, min_size=1))
    return maps, {target: draw(st.sampled_from([*range(3), *values])) for target in targets}


@given(drawn(), st.booleans(), seeds)
def test_drawn_updates(isa, case, is_kernel, seed):
    """In place or not, packed or not; two steps, so that what was written is read."""
    maps, targets = case
    shape = (5, 9)

    def build(all_marked: bool) -> Net:
        def nodes(graph: _core.Graph, v: dict[str, int]) -> list[int]:
            state = [v["p"], v["q"]]
            state += [graph.slot(v[n], name=s) for n in "pq" for s in ("a", "b")]
            values = [
                *state,
                v["g"],
                graph.reduce([v["p"]], "max"),
                graph.reshape(v["q"], like=v["p"]),
            ]
            for a, b, line in maps:
                code = [line] if line == "x0" else [line, "t0"]
                values.append(graph.map([values[a], values[b]], code, shape=shape))
            for target, value in targets.items():
                graph.assign(state[target], values[value])
            loss = graph.dense(v["x"], v["p"]) if is_kernel else v["x"]
            return [loss, *(values[value] for value in targets.values() if all_marked)]

        parameters = {n: random_array(shape, seed, i) for i, n in enumerate("pqg")}
        setting = Setting(isa, "guard_end", threads=2)
        return Net(nodes, {"x": np.zeros((1, 5))}, parameters, setting)

    nets = [build(all_marked) for all_marked in (False, True)]
    for _ in range(2):
        for net in nets:
            net.run(learning_rate=RATE, step=1)
        for name in "pq":
            for slot in ("", "a", "b"):
                got, want = (net.parameters.get(name, slot) for net in nets)
                np.testing.assert_array_equal(got, want, f"{name} {slot}")
