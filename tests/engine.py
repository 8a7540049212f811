# SPDX-License-Identifier: Apache-2.0
"""Runs ops of the compiled engine as small graphs, and states how exact their results must be.

Whole numbers must come out equal. Real ones: a sum of k products in single precision, in any
order, with or without fused multiply-adds, lies within (k + 2) * 2^-24 * sum|x * w| of the exact
one. Guarded memory puts each buffer against an inaccessible page: one byte outside ends the
process, so those checks run in a process of their own.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike, NDArray
from strategies import small_integers

from pycnn import _core

Array = NDArray[Any]
Build = Callable[[_core.Graph, dict[str, int]], Sequence[int]]

UNIT = 2.0**-24  # the rounding error of a float32 operation, relative to its result
TINY = 2.0**-126  # results below are flushed to zero
GUARDS = ("guard_end", "guard_begin")
# around the widths of vectors (4, 8, 16) and the heights and widths of the register tiles
CHANNELS = (1, 5, 6, 7, 8, 9, 12, 13, 15, 16, 17, 24, 25, 31, 33)


@dataclass(frozen=True)
class Setting:
    """How to run a graph."""

    isa: str
    memory: str = "planned"
    threads: int = 1


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Run plans with `count` threads inside the block; 0 is automatic, as it is outside."""
    _core.set_num_threads(count)
    try:
        yield
    finally:
        _core.set_num_threads(0)


def stored(array: ArrayLike) -> Array:
    """The array as plans take it: int32 and uint8 as they are, float32 for all else."""
    array = np.asarray(array)
    dtype = array.dtype if array.dtype in (np.int32, np.uint8) else np.float32
    return np.ascontiguousarray(array, dtype).reshape(array.shape)


def rounded(array: ArrayLike) -> Array:
    """Float64 values that single precision can hold."""
    return np.asarray(array, np.float32).astype(np.float64)


class Net:
    """One graph with its parameters and a plan, made from example arrays."""

    def __init__(
        self,
        build: Build,
        inputs: Mapping[str, ArrayLike],
        parameters: Mapping[str, ArrayLike],
        setting: Setting,
        batch: int | None = None,
    ) -> None:
        """build(graph, values by name) returns the values to mark as outputs."""
        self.graph, self.setting = _core.Graph(), setting
        self.inputs = [stored(array) for array in inputs.values()]
        self.values: dict[str, int] = {}
        for name, array in zip(inputs, self.inputs, strict=True):
            shape = (None, *array.shape[1:])
            self.values[name] = self.graph.input(name, shape, str(array.dtype))
        for name, array in parameters.items():
            self.values[name] = self.graph.parameter(name, np.shape(array))
        self.outputs = list(build(self.graph, self.values))
        for value in self.outputs:
            self.graph.mark_output(value)
        self.parameters = _core.Parameters(self.graph, setting.isa, setting.memory)
        for name, array in parameters.items():
            self.parameters.set(name, stored(array))
        self.batch = len(self.inputs[0]) if batch is None else batch
        self.plan = self.make_plan(self.batch)

    def make_plan(self, batch: int) -> _core.Plan:
        memory = self.setting.memory
        plan = _core.Plan(self.graph, self.parameters, batch, memory, operations_per_thread=1.0)
        assert plan.useful_threads >= self.setting.threads  # however small the graph is
        return plan

    def run(self, **options: Any) -> list[Array]:
        """All outputs, from the first rows of the inputs unless options say otherwise."""
        with threads(self.setting.threads):
            self.plan.run(self.inputs, **options)
        return [self.plan.output(i) for i in range(len(self.outputs))]

    def steps(self) -> list[str]:
        """The ops of the plan, without the copies in and out."""
        return [step for step in self.plan.steps() if step not in ("input", "output")]


def run(
    build: Build,
    inputs: Mapping[str, ArrayLike],
    parameters: Mapping[str, ArrayLike],
    setting: Setting,
    **options: Any,
) -> list[Array]:
    """The outputs of a graph; see Net."""
    return Net(build, inputs, parameters, setting).run(**options)


def sum_bound(terms: int, magnitude: ArrayLike) -> Array:
    """The largest error of a sum of products; magnitude is the sum of their absolute values."""
    return np.asarray((terms + 2) * (UNIT * np.asarray(magnitude) + TINY))


def assert_equal(got: Array, expected: ArrayLike, what: str) -> None:
    """Equal as float32, NaN where NaN is expected."""
    np.testing.assert_array_equal(got, np.asarray(expected, np.float32), err_msg=what)


def assert_within(got: Array, expected: ArrayLike, bound: ArrayLike, what: str) -> None:
    """Every |got - expected| is at most its bound."""
    error = np.abs(got.astype(np.float64) - expected)
    bound = np.broadcast_to(bound, error.shape)
    if np.all(error <= bound):
        return
    at = np.unravel_index(np.argmax(np.where(error <= bound, 0, error - bound)), error.shape)
    at = tuple(int(i) for i in at)
    raise AssertionError(
        f"{what}{list(at)}: got {got[at]!r}, expected {np.asarray(expected)[at]!r}, "
        f"error {error[at]:.3g}, bound {bound[at]:.3g}"
    )


@dataclass(frozen=True)
class Probe:
    """A loss whose gradient with respect to y is `dy`, whole numbers, exactly.

    z = flatten(y) @ weights, and a mean squared error against z - scale * N / 2: dz = scale.
    """

    weights: Array
    target: Array
    dy: Array

    @staticmethod
    def of(y: Array, seed: int) -> Probe:
        """y: what the graph computes, whole numbers; at most 4 samples (1/N rounds well then)."""
        N = len(y)
        assert N <= 4
        weights = small_integers((y[0].size, 1), seed, 90, limit=3)
        scale = np.array([1.0, -1.0, 2.0, -2.0])[:N, None]
        target = y.reshape(N, -1) @ weights - scale * N / 2
        return Probe(weights, target, (scale * weights.T).reshape(y.shape))

    def loss(self, graph: _core.Graph, values: dict[str, int], y: int) -> int:
        """Needs self.inputs and self.parameters among those of the graph."""
        z = graph.dense(graph.flatten(y), values["probe"])
        return graph.loss("mean_squared_error", values["probe_target"], z)

    @property
    def inputs(self) -> dict[str, Array]:
        return {"probe_target": self.target}

    @property
    def parameters(self) -> dict[str, Array]:
        return {"probe": self.weights}


def mse_gradients(
    op: Build,
    inputs: Mapping[str, Array],
    parameters: Mapping[str, Array],
    wrt: Sequence[str],
    setting: Setting,
    **options: Any,
) -> tuple[list[Array], Array, list[Array]]:
    """(outputs of op, dy, gradients of wrt): of a mean squared error of op's first output y.

    The target holds y's samples in another order, scaled; dy is what the engine passes back.
    """

    def build(graph: _core.Graph, values: dict[str, int]) -> list[int]:
        outputs = list(op(graph, values))
        target = graph.input("mse_target", graph.shape(outputs[0]))
        loss = graph.loss("mean_squared_error", target, outputs[0])
        ids = graph.gradients(loss, [outputs[0], *(values[name] for name in wrt)])
        assert None not in ids
        return [*outputs, *(i for i in ids if i is not None)]

    shape = run(op, inputs, parameters, setting, **options)[0].shape
    net = Net(build, inputs, parameters, setting)
    net.inputs.append(stored(np.random.default_rng(len(shape)).standard_normal(shape)))
    results = net.run(**options)
    count = len(results) - len(wrt)
    return results[: count - 1], results[count - 1], results[count:]


# --- other processes ------------------------------------------------------------------------------


def python(
    code: str, *arguments: str, timeout: float = 300, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run code in a new process that can import this folder and the package under test."""
    paths = [str(Path(__file__).parent), str(Path(_core.__file__).parents[1])]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), **(environment or {})}
    command = [sys.executable, "-c", code, *arguments]
    options: dict[str, Any] = {"capture_output": True, "text": True, "check": False}
    # Not in the checkout: its pycnn/, first on the path of -c, has no compiled modules.
    return subprocess.run(command, env=env, cwd=paths[0], timeout=timeout, **options)


@dataclass(frozen=True)
class Check:
    """What a guarded process repeats: run(case, seed, setting) for all picked and some drawn."""

    run: Callable[[Any, int, Setting], None]
    cases: st.SearchStrategy[Any]
    picked: Sequence[Any] = ()


def run_check(check: Check, setting: Setting, examples: int) -> None:
    """All picked cases and some drawn ones, printed before they run: they may end the process."""

    def announced(case: Any, seed: int) -> None:
        print(check.run.__name__, case, seed, flush=True)
        check.run(case, seed, setting)

    for case in check.picked:
        announced(case, 0)
    options: dict[str, Any] = {"derandomize": True, "database": None, "deadline": None}
    limits = settings(max_examples=examples, suppress_health_check=list(HealthCheck), **options)
    limits(given(check.cases, st.integers(0, 2**32 - 1))(announced))()


def run_checks(module: str, memory: str, isa: str, examples: int = 20) -> None:
    """Run module.CHECKS in one kind of memory."""
    for check in importlib.import_module(module).CHECKS:
        run_check(check, Setting(isa, memory), examples)


def assert_guarded(module: str, memory: str, isa: str) -> None:
    """No byte outside of any buffer of module.CHECKS is touched, and all its checks hold."""
    code = "import sys, engine; engine.run_checks(*sys.argv[1:])"
    result = python(code, module.rpartition(".")[2], memory, isa)
    last = result.stdout.rstrip().rpartition("\n")[2]
    assert result.returncode == 0, f"{result.returncode} after {last}\n{result.stderr[-4000:]}"
    assert result.stdout.count("\n") >= 20  # some cases ran
