#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Fuzzes graphs of the core: each is refused by a named error, or runs and equals the reference.

It runs with a few values kept, so that steps are fused, on several threads and against guard pages:
the same bits each time. Then all values are kept, and compared node by node. Whole numbers are
exact.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

import numpy as np
from graph_cases import REFUSALS
from graph_checks import check_fused, check_gradients, check_nodes, check_updates, comparable
from graph_runs import LIMITS, MEMORY, Case, Run
from harness import Finding, main
from twins import UPDATES, Array

from pycnn import _core, errors

# What makes a sample's result depend on the others.
ACROSS = {*UPDATES, "dropout", "batch_norm_training", "loss", "metric", "bias_backward"}


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
    except (ValueError, errors.DTypeError, MemoryError, ArithmeticError, RuntimeError) as error:
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
    refuse(case, arrays)
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
        if one_nan(alone).tobytes() != one_nan(together).tobytes():
            raise Finding(f"value {value}: other bits of sample {row} alone")


def one_nan(array: Array) -> Array:
    """The array with all NaNs alike: which of two NaNs a sum keeps is the processor's affair."""
    return np.where(array != array, np.float32(np.nan), array).astype(array.dtype)


def refuse(case: Case, arrays: Sequence[Array]) -> None:
    """Calls that make no sense are refused by name, and then change nothing."""
    numbers = (-1, 2**20, 2**31 - 1, 2**31, 2**40, 2**63 - 1)
    parameters, odd = _core.Parameters(case.graph, case.isa), case.rng.choice(numbers)
    plan = _core.Plan(case.graph, parameters, case.batch, **LIMITS)
    rows = np.full(case.batch, odd)
    wrong = [np.zeros(array.shape, case.rng.choice(("f8", "i8", "u1"))) for array in arrays]
    calls: list[Callable[[], object]] = [
        lambda: plan.run(arrays, start=odd),
        lambda: plan.run(arrays, rows=rows),
        lambda: plan.run(arrays, rows=rows[:-1]),
        lambda: plan.run(arrays, step=odd),
        lambda: plan.run(arrays, learning_rate=case.rng.choice((-1.0, np.nan, np.inf, 1e39))),
        lambda: plan.run(wrong),
        lambda: plan.run([array[:-1] for array in arrays]),
        lambda: plan.run([array[..., ::-1] for array in arrays]),
        lambda: plan.run([*arrays, *arrays]),
        lambda: plan.run(arrays, [np.zeros(1, np.float32)] * 20),
        lambda: plan.output(odd),
        lambda: _core.Plan(case.graph, parameters, odd, **LIMITS),
        lambda: _core.Plan(case.graph, parameters, 0, **LIMITS),
        lambda: case.graph.mark_output(odd),
        lambda: case.graph.gradients(odd, [odd]),
        lambda: case.graph.gradients(0, [0]),
        lambda: parameters.get("none"),
    ]
    for call in case.rng.sample(calls, 3):
        before = {name: parameters.get(name).tobytes() for name in case.maker.parameters}
        try:
            call()
        except REFUSALS as error:
            if not str(error):
                raise Finding(f"{type(error).__name__} without a message") from error
            changed = [n for n, b in before.items() if parameters.get(n).tobytes() != b]
            if changed:
                raise Finding(f"{changed} changed by a call that failed: {error}") from error


if __name__ == "__main__":
    sys.exit(main(run_case))
