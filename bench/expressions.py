# SPDX-License-Identifier: Apache-2.0
"""Maps against the same formulas fused by hand, the copy roof and, where installed, PyTorch.

    python bench/expressions.py [--threads 1] [--rounds 7] [--json FILE]

Every round measures all sides of all cases once, one after the other; of each the best is shown.
The formulas by hand are compiled by c++ -O2 with the engine's own vectors (fused_by_hand.cc).
"""

from __future__ import annotations

import argparse
import ctypes
import importlib.util
import json
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pycnn import _core

HERE = Path(__file__).resolve().parent
Array = Any
# name -> lines of the expression, and how many inputs it reads
FORMULAS: dict[str, tuple[list[str], int]] = {
    "scale_shift_relu": (["multiply x0 1.5", "add t0 0.25", "maximum t1 0", "t2"], 1),
    "silu": (["sigmoid x0", "multiply x0 t0", "t1"], 1),
    "silu_gradient": (
        [
            *("sigmoid x0", "subtract 1 t0", "multiply x0 t1", "add t2 1"),
            *("multiply t0 t3", "multiply x1 t4", "t5"),
        ],
        2,
    ),
    "gelu_tanh": (
        [
            *("square x0", "multiply 0.044715 t0", "add 1 t1", "multiply x0 t2"),
            *("multiply 0.79788456 t3", "tanh t4", "add 1 t5", "multiply x0 t6"),
            *("multiply 0.5 t7", "t8"),
        ],
        1,
    ),
    "second_moment": (
        ["multiply x0 0.999", "square x1", "multiply t1 0.001", "add t0 t2", "t3"],
        2,
    ),
}
SIZES = {"256 KB": 1 << 16, "2 MB": 1 << 19, "64 MB": 1 << 24}  # of a tensor
ROWS = 64


def by_hand() -> ctypes.CDLL:
    """The compiled loops."""
    folder = tempfile.mkdtemp()
    library = f"{folder}/fused.so"
    command = ["c++", "-std=c++20", "-O2", "-march=native", "-ffp-contract=off", "-shared", "-fPIC"]
    command += ["-fno-math-errno", "-fno-trapping-math", f"-I{HERE.parent / 'csrc'}"]
    subprocess.run([*command, str(HERE / "fused_by_hand.cc"), "-o", library], check=True)
    return ctypes.CDLL(library)


def pointer(array: Array) -> Any:
    return array.ctypes.data_as(ctypes.POINTER(ctypes.c_float))


def seconds(call: Callable[[], object], least: float = 0.02) -> float:
    """The best of as many calls as take `least` seconds."""
    best, begin = 1e9, time.perf_counter()
    while time.perf_counter() < begin + least:
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
    return best


def layer_norm(ops: Any, x: Any, gamma: Any, beta: Any) -> Any:
    away = x - ops.mean(x, -1, True)
    return away * ops.rsqrt(ops.mean(ops.square(away), -1, True) + 1e-5) * gamma + beta


def focal(ops: Any, z: Any, t: Any) -> Any:
    p = ops.sigmoid(z)
    hit = t * p + (1 - t) * (1 - p)
    return (1 - hit) ** 2 * ops.binary_crossentropy(t, z, from_logits=True)


# Forward and gradient by x, on the activations of a ResNet-20 (batch 32, 32 x 32 pixels, 16
# channels) or, of focal loss, on as many logits.
STEPS = ("layer_norm", "gelu", "focal")
STEP_ROWS, STEP_COLUMNS = 32 * 32 * 32, 16


class Step:
    """The value and its gradient, made of functions of pycnn.ops."""

    def __init__(self, name: str, x: Array, t: Array) -> None:
        from pycnn import ops
        from pycnn.engine.builder import GraphBuilder
        from pycnn.engine.traced import GraphTensor, tracing

        graph = GraphBuilder()
        shape = (None, STEP_COLUMNS)
        a, b = (GraphTensor(graph, graph.core.input(n, shape)) for n in ("x", "t"))
        weights = [graph.core.parameter(n, shape[1:]) for n in ("gamma", "beta")]
        gamma, beta = (GraphTensor(graph, w) for w in weights)
        with tracing(graph):
            if name == "layer_norm":
                y = ops.sum(layer_norm(ops, a, gamma, beta) * b)
            elif name == "gelu":
                y = ops.sum(ops.gelu(a, approximate=False) * b)
            else:
                y = ops.mean(focal(ops, a, b))
        wanted = [a.value, *(weights if name == "layer_norm" else ())]
        for gradient in graph.core.gradients(y.value, wanted):
            graph.core.mark_output(gradient)
        self.inputs = [x, t]
        self.plan = _core.Plan(graph.core, _core.Parameters(graph.core), len(x))

    def seconds(self) -> float:
        steps = self.plan.profile(self.inputs, repeats=10)
        return sum(time for op, _, time in steps if op not in ("input", "output"))


def torch_step(name: str, x: Array, t: Array) -> dict[str, Callable[[], object]]:
    """The same by PyTorch: eager, and compiled where that works."""
    if importlib.util.find_spec("torch") is None:
        return {}
    import torch
    import torch.nn.functional as F

    u, v = torch.from_numpy(x).requires_grad_(), torch.from_numpy(t)
    gamma, beta = (torch.ones(STEP_COLUMNS, requires_grad=True) for _ in range(2))

    def value(u: Any, v: Any) -> Any:
        if name == "layer_norm":
            return F.layer_norm(u, (STEP_COLUMNS,), gamma, beta)
        if name == "gelu":
            return F.gelu(u)
        p = torch.sigmoid(u)
        hit = v * p + (1 - v) * (1 - p)
        cross = F.binary_cross_entropy_with_logits(u, v, reduction="none")
        return ((1 - hit) ** 2 * cross).mean()

    def run(function: Callable[..., Any]) -> Callable[[], object]:
        def step() -> None:
            u.grad = gamma.grad = beta.grad = None
            y = function(u, v)
            y.backward(v if y.ndim else None)

        return step

    calls = {"torch": run(value)}
    try:
        compiled = run(torch.compile(value))
        compiled()
        calls["torch compiled"] = compiled
    except Exception as error:  # no compiler for it here
        print(f"torch.compile: {type(error).__name__}")
    return calls


class Map:
    """A plan with one map."""

    def __init__(self, lines: list[str], inputs: list[Array]) -> None:
        graph = _core.Graph()
        shape = (None, inputs[0].size // ROWS)
        values = [graph.input(f"x{i}", shape) for i in range(len(inputs))]
        graph.mark_output(graph.map(values, lines))
        for value in values:  # kept: the map may not write over them, as the loop by hand does not
            graph.mark_output(value)
        self.inputs = [x.reshape(ROWS, -1) for x in inputs]
        self.plan = _core.Plan(graph, _core.Parameters(graph), ROWS)

    def seconds(self) -> float:
        """Of the step alone."""
        steps = self.plan.profile(self.inputs, repeats=max(3, (1 << 22) // self.inputs[0].size))
        return sum(time for op, _, time in steps if op == "map")


def torch_call(name: str, x: Array, b: Array) -> Callable[[], object] | None:
    """The same by PyTorch, one call a function of it."""
    if importlib.util.find_spec("torch") is None:
        return None
    import torch
    import torch.nn.functional as F

    u, v = torch.from_numpy(x), torch.from_numpy(b)
    calls: dict[str, Callable[[], object]] = {
        "scale_shift_relu": lambda: F.relu(u * 1.5 + 0.25),
        "silu": lambda: F.silu(u),
        "silu_gradient": lambda: torch.ops.aten.silu_backward(v, u),
        "gelu_tanh": lambda: F.gelu(u, approximate="tanh"),
        "second_moment": lambda: u * 0.999 + v * v * 0.001,
    }
    return calls[name]


def measure(threads: int, rounds: int) -> dict[str, Any]:
    """Best seconds by case and side, and the copy roof in bytes a second."""
    _core.set_num_threads(threads)
    if importlib.util.find_spec("torch") is not None:
        import torch

        torch.set_num_threads(threads)
    library = by_hand()
    cases: dict[str, dict[str, Callable[[], float]]] = {}
    for size_name, size in SIZES.items():
        x, b = (np.random.default_rng(i).standard_normal(size, np.float32) for i in (0, 1))
        y = np.empty_like(x)
        for name, (lines, count) in FORMULAS.items():
            hand = getattr(library, name)
            ends = [pointer(x), pointer(b), pointer(y), ctypes.c_long(size)]
            sides: dict[str, Callable[[], float]] = {"pycnn": Map(lines, [x, b][:count]).seconds}
            if threads == 1:
                sides["by hand"] = lambda hand=hand, ends=ends: seconds(lambda: hand(*ends))
            peer = torch_call(name, x, b)
            if peer is not None:
                sides["torch"] = lambda peer=peer: seconds(peer)
            cases[f"{name}, {size_name}"] = sides
    x, t = (np.random.default_rng(i).random((STEP_ROWS, STEP_COLUMNS), np.float32) for i in (2, 3))
    for name in STEPS:
        step = {"pycnn": Step(name, x, t).seconds}
        for side, call in torch_step(name, x, t).items():
            step[side] = lambda call=call: seconds(call)
        cases[f"{name}, step"] = step
    best: dict[str, dict[str, float]] = {case: {} for case in cases}
    roof = 0.0
    for _ in range(rounds):
        roof = max(roof, 1e9 * _core.probe_copy(threads))
        for case, sides in cases.items():
            for side, call in sides.items():
                best[case][side] = min(best[case].get(side, 1e9), call())
    return {"threads": threads, "rounds": rounds, "copy_bytes_per_second": roof, "seconds": best}


def show(result: dict[str, Any]) -> None:
    """A line a case: times, ratios, and the share of the roof."""
    roof = result["copy_bytes_per_second"]
    print(f"threads {result['threads']}, copy {roof / 1e9:.1f} GB/s")
    for case, sides in result["seconds"].items():
        name, _, size = case.partition(", ")
        mine = sides["pycnn"]
        moved = 4 * SIZES[size] * (1 + FORMULAS[name][1]) if size in SIZES else 0
        others = [
            f"{side} {1e6 * t:9.1f} us, pycnn / it {mine / t:5.2f}"
            for side, t in sides.items()
            if side != "pycnn"
        ]
        share = f", {moved / mine / roof:5.2f} of the roof" if moved else ""
        print(f"{case:26} pycnn {1e6 * mine:9.1f} us{share}; {'; '.join(others)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    result = measure(options.threads, options.rounds)
    show(result)
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
