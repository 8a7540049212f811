#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Fuzzes graphs of the core: each is refused by a named error, or runs and equals the reference.

It runs with all values kept (and compared node by node), then with a few of them, so that steps are
fused, on several threads and against guard pages: the same bits each time. Whole numbers are exact.
"""

from __future__ import annotations

import math
import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from graph_cases import REFUSALS, Maker, train, updated
from harness import Finding, main
from twins import (
    SLOTS,
    UPDATES,
    Array,
    Call,
    Node,
    bounds_of,
    evaluate,
    finite_and_normal,
    grain_of,
    outputs_of,
)

from pycnn import _core, errors, reference

LIMITS = {"max_arena_bytes": 1 << 27, "max_scratch_bytes": 1 << 27, "max_operations": 5e7}
MAX_PARAMETERS = 1 << 24  # floats
MAX_COMPARED = 1 << 18  # elements of a value that NumPy computes
MAX_TAPS = 512
LEARNING_RATE = 0.125
ACROSS = {*UPDATES, "dropout", "batch_norm_training", "loss", "metric", "bias_backward"}
BETAS = {"beta_1": float(np.float32(0.9)), "beta_2": float(np.float32(0.999))}
MEMORY = ("planned", "guard_end", "guard_begin")
NAMED = (*REFUSALS, errors.NumericError)


@dataclass
class Run:
    """What a run left: values by number, parameters and slots by name."""

    values: dict[int, Array]
    parameters: dict[str, Array]

    def bytes_of(self) -> list[bytes]:
        arrays = [*self.values.values(), *self.parameters.values()]
        return [array.tobytes() for array in arrays]


class Case:
    """One graph, with numbers to run it on."""

    def __init__(self, seed: int, number: int) -> None:
        self.rng = rng = random.Random(f"{seed}/{number}")
        self.numbers = np.random.default_rng([seed, number])
        self.data = rng.choices(("whole", "real", "wild"), (4, 5, 1))[0]
        self.odd = rng.choice((0.0, 0.0, 0.02, 0.2))
        self.maker = Maker(rng, self.data == "whole", self.odd)
        self.maker.grow(rng.randint(1, 9))
        if rng.random() < 0.5:
            train(self.maker, updated)
        self.graph, self.batch = self.maker.graph, rng.choice((1, 1, 2, 3, 4, 5, 8))
        self.isa = rng.choice(_core.isas())
        self.nodes = self.graph.nodes()
        self.step, self.seed = rng.randint(1, 3), rng.randrange(2**64)

    # ---- numbers ----

    def floats(self, shape: Sequence[int]) -> Array:
        if self.data == "whole":
            return self.numbers.integers(-2, 3, shape).astype(np.float32)
        array = self.numbers.standard_normal(shape).astype(np.float32)
        if self.data == "wild":
            special = np.float32([0, -0.0, np.inf, -np.inf, np.nan, 1e38, -3e38, 1e-40, 1e-45])
            mask = self.numbers.random(shape) < self.rng.choice((0.0, 0.02, 0.3))
            array = np.where(mask, self.numbers.choice(special, shape), array)
        return np.ascontiguousarray(array, np.float32).reshape(shape)

    def arrays(self) -> list[Array]:
        """Of the inputs; labels are what their losses expect."""
        found = []
        for name, (extents, dtype) in self.maker.inputs.items():
            shape = tuple(self.batch if e is None else e for e in extents)
            kind, classes = self.maker.truths.get(self.maker.ids[name], ("", 0))
            if dtype == "int32":
                labels = self.numbers.integers(0, classes, shape)
                if self.data == "wild" and self.rng.random() < 0.3:
                    labels = self.numbers.integers(-(2**31), 2**31, shape)
                found.append(labels.astype(np.int32))
            elif kind == "binary_crossentropy":
                found.append(self.numbers.integers(0, 2, shape).astype(np.float32))
            elif kind == "categorical_crossentropy":
                eye = np.eye(classes, dtype=np.float32)
                found.append(eye[self.numbers.integers(0, classes, shape[:-1])])
            else:
                found.append(self.floats(shape))
        return [np.ascontiguousarray(array) for array in found]

    def weights(self) -> dict[str, Array]:
        found = {}
        variances = {
            i for n in self.nodes if n["op"] == "batch_norm_inference" for i in n["inputs"][4:]
        }
        for name, shape in self.maker.parameters.items():
            array = self.floats(shape)
            if self.maker.ids[name] in variances:
                array = np.abs(array) + np.float32(0.5)
            found[name] = array
        return found

    # ---- runs ----

    def too_large(self) -> bool:
        """Parameters that a machine may or may not hold are not asked for."""
        sizes = [math.prod(shape) for shape in self.maker.parameters.values()]
        inputs = [math.prod(e or self.batch for e in s) for s, _ in self.maker.inputs.values()]
        return sum(sizes) + sum(inputs) > MAX_PARAMETERS

    def run(
        self,
        outputs: Sequence[int],
        arrays: Sequence[Array],
        weights: dict[str, Array],
        memory: str,
        threads: int,
    ) -> Run:
        """A first step with these weights; the outputs are those marked so far."""
        parameters = _core.Parameters(self.graph, self.isa, memory)
        for name, array in weights.items():
            parameters.set(name, array)
        plan = _core.Plan(
            self.graph, parameters, self.batch, memory, operations_per_thread=1.0, **LIMITS
        )
        _core.set_num_threads(threads)
        options = {"learning_rate": LEARNING_RATE, "seed": self.seed, "step": self.step}
        if not any(n["op"] in UPDATES for n in self.nodes):  # what one run leaves, another survives
            plan.run([array[::-1].copy() for array in arrays], **options)
        plan.run(arrays, **options)
        state = {name: parameters.get(name) for name in weights}
        for name, slot in self.slots():
            state[f"{slot}:{name}"] = parameters.get(name, slot)
        values = {value: plan.output(i) for i, value in enumerate(outputs)}
        given = {self.maker.ids[name]: array for name, array in weights.items()}
        return Run({**values, **given}, state)  # an updated parameter is read after its update

    def slots(self) -> list[tuple[str, str]]:
        names = {value: name for name, value in self.maker.ids.items()}
        updates = [n for n in self.nodes if n["op"] in UPDATES]
        return [(names[n["inputs"][0]], slot) for n in updates for slot in SLOTS[n["op"]]]


def run_case(seed: int, number: int, say: Callable[[str], None]) -> str:
    case = Case(seed, number)
    for line in case.maker.log:
        say(line)
    say(f"batch {case.batch}, isa {case.isa}, {case.data} numbers, step {case.step}")
    made = [value for node in case.nodes for value in node["outputs"]]
    if not made or case.too_large():
        return "nothing to run"
    case.rng.shuffle(made)
    arrays, weights = case.arrays(), case.weights()
    try:
        return compare(case, made, arrays, weights)
    except NAMED as error:
        if not str(error):
            raise Finding(f"{type(error).__name__} without a message") from error
        say(f"{type(error).__name__}: {error}")
        return type(error).__name__


def compare(
    case: Case, made: Sequence[int], arrays: Sequence[Array], weights: dict[str, Array]
) -> str:
    """First with some values kept, where steps are fused, then with all of them."""
    some = made[: case.rng.randint(1, 4)]
    for value in some:
        case.graph.mark_output(value)
    fused = case.run(some, arrays, weights, case.rng.choice(MEMORY), 1)
    for threads, memory in ((case.rng.choice((2, 3, 5)), case.rng.choice(MEMORY)), (1, "planned")):
        again = case.run(some, arrays, weights, memory, threads)
        if again.bytes_of() != fused.bytes_of():
            raise Finding(f"other bits with {threads} threads in {memory} memory")
    check_rows(case, some, arrays, weights, fused)
    for value in made[len(some) :]:
        case.graph.mark_output(value)
    kept = case.run(made, arrays, weights, case.rng.choice(MEMORY), case.rng.choice((1, 2)))
    if not comparable(case, weights, kept):
        return "ran"
    check_updates(case, weights, kept)
    check_fused(case, check_nodes(case, kept), kept, fused)
    check_gradients(case, kept)
    return "right"


def check_rows(
    case: Case,
    some: Sequence[int],
    arrays: Sequence[Array],
    weights: dict[str, Array],
    fused: Run,
) -> None:
    """Each sample alone, by a plan that shares its parameters with another: the same bits."""
    if any(n["op"] in ACROSS or n["op"].endswith("_backward_weights") for n in case.nodes):
        return
    parameters = _core.Parameters(case.graph, case.isa)
    for name, array in weights.items():
        parameters.set(name, array)
    plans = [_core.Plan(case.graph, parameters, batch, **LIMITS) for batch in (case.batch, 1)]
    row = case.rng.randrange(case.batch)
    for plan in plans * 2:
        plan.run(arrays, start=row if plan.batch == 1 else 0)
    for i, value in enumerate(some):
        if case.graph.shape(value)[:1] != (None,):
            continue
        alone, together = plans[1].output(i), fused.values[value][row : row + 1]
        if alone.tobytes() != together.tobytes():
            raise Finding(f"value {value}: other bits of sample {row} alone")


def comparable(case: Case, weights: dict[str, Array], kept: Run) -> bool:
    """Whether NumPy can say what is right, soon."""
    sizes = [array.size for array in kept.values.values()]
    windows = [n["inputs"][1] for n in case.nodes if n["op"] in ("conv2d", "conv2d_transpose")]
    taps = [math.prod(case.graph.shape(w)[:2]) for w in windows]
    work = sum(n["macs"] for n in case.nodes) * case.batch
    if max(sizes) > MAX_COMPARED or max(taps, default=0) > MAX_TAPS or work > 2e7:
        return False
    return finite_and_normal([*weights.values(), *kept.values.values(), *kept.parameters.values()])


def node_of(case: Case, entry: dict[str, Any], values: dict[int, Array]) -> Node:
    inputs = [None if i is None else values[i] for i in entry["inputs"]]
    shape = ()
    if entry["outputs"]:
        extents = case.graph.shape(entry["outputs"][0])
        shape = tuple(case.batch if extent is None else extent for extent in extents)
    call = case.maker.calls.get(entry["name"], Call(entry["op"]))
    return Node(entry["op"], call, inputs, shape, case.seed, case.step)


def computed(case: Case) -> list[dict[str, Any]]:
    return [n for n in case.nodes if n["op"] not in {"input", "parameter", *UPDATES}]


def check_nodes(case: Case, kept: Run) -> dict[int, int | None]:
    """Every value from those it was made of; returns the grains of whole numbers."""
    whole = 0 if case.data == "whole" else None
    grains = dict.fromkeys(case.maker.ids.values(), whole)
    for entry in computed(case):
        outputs = entry["outputs"]
        node = node_of(case, entry, kept.values)
        expected = outputs_of(node)
        grain = grain_of(node, [grains.get(i) for i in entry["inputs"] if i is not None], expected)
        grains.update(dict.fromkeys(outputs, grain))
        bounds = bounds_of(node, expected, case.numbers)
        for value, want, bound in zip(outputs, expected, bounds, strict=False):
            exact = 0 if grain is not None else 1
            check(f"{entry['op']} {entry['name']}", kept.values[value], want, exact * bound)
    return grains


def check(what: str, got: Array, want: Array, bound: Array) -> None:
    if got.shape != want.shape:
        raise Finding(f"{what}: shape {got.shape}, expected {want.shape}")
    error = np.abs(got.astype(np.float64) - want)
    wrong = ~(error <= bound)
    if wrong.any():
        at = np.unravel_index(np.argmax(np.where(wrong, error - bound, -1)), wrong.shape)
        bound = np.broadcast_to(bound, wrong.shape)
        raise Finding(
            f"{what} at {[int(i) for i in at]}: got {got[at]!r}, expected {want[at]!r}, "
            f"bound {bound[at]:.3g}, {int(wrong.sum())} of {wrong.size} wrong"
        )


def check_fused(case: Case, grains: dict[int, int | None], kept: Run, fused: Run) -> None:
    """Whole numbers to the bit, others as far as roundings on the way reach."""
    reach: dict[int, Array] | None = None
    for value, got in fused.values.items():
        want = kept.values[value].astype(np.float64)
        if grains.get(value) is not None:
            check(f"value {value}, fused", got, want, 0 * want)
            continue
        size = np.abs(want).max(initial=0)
        if np.all(np.abs(got - want) <= 2.0**-18 * size):
            continue
        reach = sensitivity(case, kept) if reach is None else reach
        check(f"value {value}, fused", got, want, 2.0**-16 * size + 20 * reach[value])


def whole_graph(case: Case, kept: Run) -> tuple[dict[int, Any], dict[int, Array]]:
    nodes = {}
    for i, entry in enumerate(computed(case)):
        nodes[i] = (node_of(case, entry, kept.values), entry["inputs"], entry["outputs"])
    leaves = {value: kept.values[value] for value in case.maker.ids.values()}
    leaves.update(
        (n["outputs"][1], kept.values[n["outputs"][1]])
        for n in case.nodes
        if n["op"] == "max_pool2d"
    )
    return nodes, leaves


def sensitivity(case: Case, kept: Run) -> dict[int, Array]:
    """How far each value moves when every node errs a little."""
    nodes, leaves = whole_graph(case, kept)
    calm = evaluate(nodes, leaves)
    reach = {value: np.zeros(array.shape) for value, array in calm.items()}
    for _ in range(8):
        for value, array in evaluate(nodes, leaves, case.numbers).items():
            reach[value] = np.maximum(reach[value], np.abs(array - calm[value]))
    return reach


def check_gradients(case: Case, kept: Run) -> None:
    """The graph's own gradient nodes, in float64, against differences of its loss."""
    if case.data != "real" or not case.maker.gradients:
        return
    loss, pairs = case.maker.gradients
    nodes, leaves = whole_graph(case, kept)
    calm = evaluate(nodes, leaves)
    misses = []
    for step in (1e-5, 1e-6, 1e-7):  # a kink between the two points spoils one, not all
        moved = [dict(leaves), dict(leaves)]
        slope = 0.0
        for value, gradient in pairs:
            way = case.numbers.standard_normal(leaves[value].shape)
            slope += float((way * calm[gradient]).sum())
            for sign, there in zip((1, -1), moved, strict=True):
                there[value] = leaves[value].astype(np.float64) + sign * step * way
        high, low = (float(evaluate(nodes, there)[loss]) for there in moved)
        found = (high - low) / (2 * step)
        if abs(found - slope) <= 1e-3 * (abs(slope) + 1e-3) + 1e-9 * abs(high) / step:
            return
        misses.append(f"{found!r} for {slope!r}")
    raise Finding(f"gradient of {[v for v, _ in pairs]}: slopes {', '.join(misses)}")


def check_updates(case: Case, weights: dict[str, Array], kept: Run) -> None:
    """Parameters and slots after the step, of parameters that one node updates."""
    names = {value: name for name, value in case.maker.ids.items()}
    updates = [n for n in case.nodes if n["op"] in UPDATES]
    targets = [n["inputs"][0] for n in updates]
    for entry in updates:
        name = names[entry["inputs"][0]]
        if targets.count(entry["inputs"][0]) > 1:
            continue
        w, g = weights[name].astype(np.float64), kept.values[entry["inputs"][1]].astype(np.float64)
        call = case.maker.calls[entry["name"]]
        want = update(call, w, g, case.step)
        near = [update(call, w, g * (1 + sign * 2.0**-20), case.step) for sign in (-1, 1)]
        got = [kept.parameters[name]]
        got += [kept.parameters[f"{slot}:{name}"] for slot in SLOTS[call.op]]
        for i, array in enumerate(got):
            reach = max(np.abs(n[i] - want[i]).max(initial=0) for n in near)
            bound = 2.0**-20 * (np.abs(want[i]) + np.abs(w)) + 4 * reach
            check(f"{call.op} of {name}, array {i}", array, want[i], bound)


def update(call: Call, w: Array, g: Array, step: int) -> list[Array]:
    options = {
        key: value if isinstance(value, bool) else float(np.float32(value))
        for key, value in call.arguments.items()
    }
    zero = np.zeros_like(w)
    if call.op == "moving_average":
        return [reference.moving_average(w, g, **options)]
    if call.op == "sgd":
        return list(reference.sgd(w, g, zero, LEARNING_RATE, **options))
    return list(reference.adam(w, g, zero, zero, step, LEARNING_RATE, **BETAS, **options))


if __name__ == "__main__":
    sys.exit(main(run_case))
