# SPDX-License-Identifier: Apache-2.0
"""What a run must have computed, by the NumPy twins of its nodes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from graph_runs import LEARNING_RATE, Case, Run
from harness import Finding
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

from pycnn import reference

MAX_COMPARED = 1 << 18  # elements of a value that NumPy computes
MAX_TAPS = 512
BETAS = {"beta_1": float(np.float32(0.9)), "beta_2": float(np.float32(0.999))}


def comparable(case: Case, weights: dict[str, Array], kept: Run) -> bool:
    """Whether NumPy can say what is right, soon."""
    sizes = [array.size for array in kept.values.values()]
    windows = [n["inputs"][1] for n in case.nodes if n["op"] in ("conv2d", "conv2d_transpose")]
    taps = [math.prod(case.graph.shape(w)[:2]) for w in windows]
    taps += [math.prod(n["attributes"].get("pool_size", ())) for n in case.nodes]
    work = sum(n["macs"] for n in case.nodes) * case.batch
    classes = max((classes for _, classes in case.maker.truths.values()), default=0)
    if max(sizes) > MAX_COMPARED or max([*taps, classes]) > MAX_TAPS or work > 2e7:
        return False
    return finite_and_normal([*weights.values(), *kept.values.values(), *kept.parameters.values()])


def node_of(case: Case, entry: dict[str, Any], values: dict[int, Array]) -> Node:
    inputs = [None if i is None else values[i] for i in entry["inputs"]]
    shape = ()
    if entry["outputs"]:
        extents = case.graph.shape(entry["outputs"][0])
        shape = tuple(case.batch if extent is None else extent for extent in extents)
    call = case.maker.calls.get(entry["name"], Call(entry["op"]))
    call = case.maker.calls_of_values.get(next(iter(entry["outputs"]), -1), call)
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
    for step in (1e-5, 1e-6, 1e-7, 1e-8):  # a kink between the two points spoils one, not all
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
