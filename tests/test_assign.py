# SPDX-License-Identifier: Apache-2.0
"""Slots, and values that are assigned to them and to parameters: what optimizers are written of."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from engine import UNIT, Array, Net, Setting
from optimizers import NAMES, RATE, WRITTEN, Update, adamw, mapped, network, rmsprop, sgd
from strategies import random_array

from pycnn import _core
from pycnn.errors import NumericError


def state_of(net: Net, slots: Sequence[str], names: Sequence[str] = NAMES) -> list[bytes]:
    return [net.parameters.get(n, s).tobytes() for n in names for s in ("", *slots)]


@pytest.mark.parametrize("name", WRITTEN)
def test_five_steps_are_those_of_the_formulas(name, isa):
    """Each step from the state that the engine has: the errors are those of one step."""
    update, formula, slots = WRITTEN[name]
    net = network(update, Setting(isa))
    for step in range(1, 6):
        before = {n: {s: net.parameters.get(n, s) for s in ("", *slots)} for n in NAMES}
        gradients = net.run(learning_rate=RATE, step=step)
        for n, g in zip(NAMES, gradients[:-1], strict=True):
            expected = {s: array.astype(np.float64) for s, array in before[n].items()}
            formula(expected, g.astype(np.float64), step)
            for s, array in expected.items():
                size = np.abs(before[n][s]) + np.abs(array) + np.abs(g) * (1 + np.abs(g))
                error = np.abs(net.parameters.get(n, s) - array)
                assert (error <= 64 * UNIT * (size + 2 * RATE)).all(), (step, n, s, error.max())


def built_in_sgd(graph: _core.Graph, w: int, g: int) -> None:
    graph.sgd(w, g, momentum=0.5)


def built_in_adam(graph: _core.Graph, w: int, g: int) -> None:
    graph.adam(w, g, weight_decay=0.5)


def test_momentum_is_the_built_in_one(isa):
    """The same bits: both round what they add once, and products with powers of two never."""
    ours, theirs = (network(update, Setting(isa)) for update in (sgd, built_in_sgd))
    for step in range(1, 6):
        for net in (ours, theirs):
            net.run(learning_rate=2.0**-14, step=step)
        assert state_of(ours, ["velocity"]) == state_of(theirs, ["velocity"])


def test_adam_is_the_built_in_one_but_for_roundings(isa):
    ours, theirs = (network(update, Setting(isa)) for update in (adamw, built_in_adam))
    for step in range(1, 6):
        for name in NAMES:
            for slot in ("", "m", "v"):
                ours.parameters.set(name, theirs.parameters.get(name, slot), slot)
        gradients = [net.run(learning_rate=RATE, step=step) for net in (ours, theirs)]
        for name, g in zip(NAMES, gradients[1][:-1], strict=True):
            for slot in ("", "m", "v"):
                got, want = (net.parameters.get(name, slot) for net in (ours, theirs))
                size = np.abs(want) + RATE + np.abs(g) * (1 + np.abs(g))
                assert (np.abs(got - want) <= 32 * UNIT * size).all(), (step, name, slot)


@pytest.mark.parametrize("name", [*WRITTEN, "sgd"])
def test_threads_change_no_bit(name, isa):
    update, slots = (sgd, ("velocity",)) if name == "sgd" else WRITTEN[name][::2]
    nets = [network(update, Setting(isa, threads=count)) for count in (1, 3)]
    for step in range(1, 4):
        for net in nets:
            net.run(learning_rate=RATE, step=step)
    assert state_of(nets[0], slots) == state_of(nets[1], slots)


# --- all or nothing -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WRITTEN)
def test_a_gradient_that_is_nan_changes_nothing(name, isa):
    update, _, slots = WRITTEN[name]
    net = network(update, Setting(isa))
    net.run(learning_rate=RATE, step=1)
    before = state_of(net, slots)
    net.inputs[0][1, 2, 2, 0] = np.nan
    with pytest.raises(NumericError, match="step 2: the loss or a gradient is not finite"):
        net.run(learning_rate=RATE, step=2)
    assert state_of(net, slots) == before


def one(update: Update, isa: str, w: Array, g: Array, *more: Array, threads: int = 1) -> Net:
    """A graph of a parameter, its gradient and more of their shape, which are parameters, too."""

    def build(graph: _core.Graph, v: dict[str, int]) -> list[int]:
        update(graph, v["w"], v["g"])
        return [graph.activation(v["x"], "tanh")]

    parameters = {"w": w, "g": g, **{f"p{i}": array for i, array in enumerate(more)}}
    return Net(build, {"x": np.zeros((1, 2))}, parameters, Setting(isa, threads=threads))


@pytest.mark.parametrize("name", ["adamw", "rmsprop", "adagrad", "nadam"])
@pytest.mark.parametrize("threads", [1, 3])
def test_an_update_that_overflows_changes_nothing(name, threads, isa):
    """A finite gradient whose square is not: of the last of many elements."""
    update, _, slots = WRITTEN[name]
    g = np.ones(70_000)
    net = one(update, isa, np.ones(70_000), g, threads=threads)
    net.run(learning_rate=RATE, step=1)
    before = state_of(net, slots, "w")
    g[-1] = 3e19 if name == "adagrad" else 3e22
    net.parameters.set("g", g.astype(np.float32))
    with pytest.raises(NumericError, match="the update would make w or its optimizer's state not"):
        net.run(learning_rate=RATE, step=2)
    assert state_of(net, slots, "w") == before
    net.parameters.set("g", np.ones(70_000, np.float32))
    net.run(learning_rate=RATE, step=2)
    assert state_of(net, slots, "w") != before


def test_steps_that_add_up_to_too_much(isa):
    net = one(sgd, isa, np.zeros(300), np.full(300, -1.0))
    net.run(learning_rate=1e38)
    net.run(learning_rate=1e38)
    w = net.parameters.get("w")
    np.testing.assert_allclose(w, 2.5e38, rtol=1e-6)
    with pytest.raises(NumericError, match="the update would make w"):
        net.run(learning_rate=1e38)
    np.testing.assert_array_equal(net.parameters.get("w"), w)


def test_what_is_not_finite_may_be_asked_for(isa):
    net = one(sgd, isa, np.zeros(300), np.full(300, -1.0))
    for _ in range(3):
        net.run(learning_rate=1e38, check_finite=False)
    assert np.isinf(net.parameters.get("w")).all()
    with pytest.raises(NumericError):
        net.run(learning_rate=0.0)


def test_negative_slots_have_no_root(isa):
    net = one(rmsprop, isa, np.ones(300), np.ones(300))
    net.run(learning_rate=RATE)
    bad = net.parameters.get("w", "rms")
    bad[-1] = -4.0
    net.parameters.set("w", bad, "rms")
    before = state_of(net, ("rms", "momentum"), "w")
    with pytest.raises(NumericError, match="the update would make w"):
        net.run(learning_rate=RATE)
    assert state_of(net, ("rms", "momentum"), "w") == before


def test_averages_are_not_taken_for_what_they_were(isa):
    """What a moving average wrote is looked at before it is squared."""

    def update(graph: _core.Graph, w: int, g: int) -> None:
        average = graph.parameter("average", (9,), trainable=False)
        graph.moving_average(average, g, momentum=0.0)
        graph.assign(w, mapped(graph, [average], "square x0", "t0"))

    net = one(update, isa, np.zeros(9), np.full(9, 1e30))
    net.run()
    assert not net.parameters.get("w").any()
    with pytest.raises(NumericError, match="the update would make w"):
        net.run()


# --- the state before the step --------------------------------------------------------------------


def test_all_read_the_state_before_the_step(isa):
    """Three arrays change places, in one step, through views and maps."""

    def update(graph: _core.Graph, w: int, g: int) -> None:
        a, b = graph.slot(w, name="a"), graph.slot(w, name="b")
        graph.assign(w, mapped(graph, [a], "x0"))
        graph.assign(a, graph.reshape(graph.reshape(b, shape=(3, 2)), shape=(2, 3)))
        graph.assign(b, w)

    w = np.arange(6.0).reshape(2, 3)
    net = one(update, isa, w, w)
    for name, factor in (("a", 10), ("b", 100)):
        net.parameters.set("w", (factor * w).astype(np.float32), name)
    for expected in ((10, 100, 1), (100, 1, 10), (1, 10, 100)):
        net.run()
        for name, factor in zip(("", "a", "b"), expected, strict=True):
            np.testing.assert_array_equal(net.parameters.get("w", name), factor * w)


def test_updates_of_others_are_not_seen(isa):
    """An average of the weights before the step, whichever update comes first."""

    def update(graph: _core.Graph, w: int, g: int) -> None:
        ema = graph.slot(w, name="ema")
        graph.sgd(w, g)
        graph.assign(ema, mapped(graph, [ema, w], "add x0 x1", "multiply t0 0.5", "t1"))

    net = one(update, isa, np.full(5, 8.0), np.full(5, 2.0))
    net.run(learning_rate=1.0)
    net.run(learning_rate=1.0)
    np.testing.assert_array_equal(net.parameters.get("w"), np.full(5, 4.0))
    np.testing.assert_array_equal(net.parameters.get("w", "ema"), np.full(5, 5.0))


def test_slots_are_constants_to_gradients():
    graph = _core.Graph()
    w = graph.parameter("w", (4,))
    y = graph.map([w, graph.slot(w, name="anchor")], ["subtract x0 x1", "square t0", "t1"])
    (gradient,) = graph.gradients(graph.reduce([y], "sum"), [w])
    assert gradient is not None
    graph.mark_output(gradient)
    parameters = _core.Parameters(graph)
    parameters.set("w", np.full(4, 3.0, np.float32))
    plan = _core.Plan(graph, parameters, 1)
    plan.run([])
    np.testing.assert_array_equal(plan.output(0), np.full(4, 6.0))


# --- slots ----------------------------------------------------------------------------------------


def test_slots_are_the_optimizers():
    """Plans of all batch sizes share them; they go by their names, and count as those of others."""
    graph = network(adamw, Setting("scalar")).graph
    groups = _core.groups_of(graph)
    variables = {}
    for node in graph.nodes():
        if node["op"] == "parameter":
            shape = node["attributes"]["shape"]
            variables[node["name"]] = _core.Variable(shape, groups[node["name"]])
            variables[node["name"]].set(random_array(tuple(shape), 3).astype(np.float32))
    parameters, state = _core.Parameters.of(variables), _core.OptimizerState()
    kernel = variables["c"]
    plans = [_core.Plan(graph, parameters, n, optimizer=state) for n in (1, 3)]
    x, t = random_array((3, 5, 5, 3), 1), random_array((3, 7), 2)
    arrays = [x.astype(np.float32), t.astype(np.float32)]
    for steps, plan in enumerate([*plans, plans[0]], 1):
        before = kernel.version
        plan.run(arrays, learning_rate=RATE)
        assert state.iterations == steps
        assert kernel.version > before
    assert state.slots_of(kernel) == ["m", "v"]
    assert state.get(kernel, "m").any()
    _, (m,), iterations = _core.read([kernel], state, [(kernel, "m")])
    np.testing.assert_array_equal(m, state.get(kernel, "m"))
    assert iterations == 3


@pytest.mark.parametrize("step", [None, 0])
def test_the_step_must_be_counted(step):
    net = network(adamw, Setting("scalar"))
    with pytest.raises(ValueError, match="step must be >= 1 where Adam or an expression counts it"):
        net.run(learning_rate=RATE, step=step)


# --- what is refused ------------------------------------------------------------------------------


def pieces() -> tuple[_core.Graph, int, int, int]:
    graph = _core.Graph()
    w, g = graph.parameter("w", (3,)), graph.parameter("g", (3,))
    return graph, w, g, graph.slot(w, name="m")


@pytest.mark.parametrize("name", ["", "a" * 65, "a:b", "a/b", "a b", "\u00e9", "a\0"])
def test_names_of_slots(name):
    graph, w, _, _ = pieces()
    with pytest.raises(ValueError, match="slot: name must be 1 to 64 letters"):
        graph.slot(w, name=name)


def test_slots_that_are_refused():
    graph, w, g, m = pieces()
    with pytest.raises(ValueError, match="slot: the graph already has the slot 'm' of w"):
        graph.slot(w, name="m")
    assert graph.slot(g, name="m") != m
    with pytest.raises(ValueError, match=r"slot: parameter must be a parameter, got .* of slot"):
        graph.slot(m, name="n")
    with pytest.raises(ValueError, match=r"slot: parameter must be a parameter, got .* of input"):
        graph.slot(graph.input("x", (None, 3)), name="n")


def test_assignments_that_are_refused():
    graph, w, g, m = pieces()
    computed = mapped(graph, [w], "negative x0", "t0")
    with pytest.raises(
        ValueError, match=r"assign: target must be a parameter or a slot, .* of map"
    ):
        graph.assign(computed, w)
    with pytest.raises(ValueError, match=r"assign: value must have shape \(3,\), got \(4,\)"):
        graph.assign(w, graph.parameter("four", (4,)))
    with pytest.raises(TypeError, match="assign: value must be float32, got int32"):
        graph.assign(w, graph.map([w], ["x0"], dtype="int32"))
    graph.assign(w, computed)
    graph.assign(m, computed)
    for target, name in ((w, "w"), (m, "m")):
        with pytest.raises(ValueError, match=f"assign: {name} is updated by assign already"):
            graph.assign(target, computed)
    for update in (graph.sgd, graph.adam):
        with pytest.raises(ValueError, match="w is assigned already"):
            update(w, g)
    with pytest.raises(ValueError, match="moving_average: w is assigned already"):
        graph.moving_average(w, g, momentum=0.5)


def test_updates_do_not_meet():
    graph, w, g, m = pieces()
    graph.adam(w, g)
    with pytest.raises(ValueError, match="assign: w is updated by adam already"):
        graph.assign(w, g)
    with pytest.raises(ValueError, match="assign: m is updated by adam already"):
        graph.assign(m, g)
    graph.assign(graph.slot(w, name="ema"), w)
    graph.assign(graph.slot(g, name="m"), g)
    graph.sgd(g, w)
    graph, w, g, m = pieces()
    graph.assign(m, g)
    with pytest.raises(ValueError, match="adam: its slot 'm' of w is assigned already"):
        graph.adam(w, g)
    graph.sgd(w, g)


def test_hostile_programs():
    graph, w, _, m = pieces()
    graph.assign(w, mapped(graph, [w, m], "add x0 x1", "t0"))
    program = graph.program()
    assert _core.Graph.from_program(program).program() == program
    for change in (
        lambda nodes: nodes.append(nodes[-1]),  # twice
        lambda nodes: nodes[-1].update(inputs=[3, 3]),  # to a computed value
        lambda nodes: nodes[-1].update(inputs=[0, 99]),
        lambda nodes: nodes[-1].update(inputs=[None, 3]),
        lambda nodes: nodes[2].update(name=""),
        lambda nodes: nodes[2].update(name="m" * 1000),
        lambda nodes: nodes[2].update(attributes={"shape": [3]}),
    ):
        broken = graph.program()
        change(broken["nodes"])
        with pytest.raises(ValueError, match=r"assign|slot|map") as caught:
            _core.Graph.from_program(broken)
        assert len(str(caught.value)) < 300
