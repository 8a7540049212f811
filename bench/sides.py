# SPDX-License-Identifier: Apache-2.0
"""The two processes of a comparison, and what is done with them: check, alternate, summarise."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

BENCH = Path(__file__).resolve().parent
# Of the largest number: f32 sums in another order; steps of SGD amplify that in deep networks.
TOLERANCE = {"outputs": 1e-4, "loss": 1e-4, "changes": 1e-2}
DISTURBED = 0.10  # a round is calm while no probe is this far below the best one
ENOUGH = 3  # calm rounds, to leave the others out
PROBE_SECONDS = 0.01


class SideError(RuntimeError):
    """A side reported an error or died."""


class Mismatch(RuntimeError):
    """The sides do not compute the same; their times would not be comparable."""


class Side:
    """A worker process that lives for many cases.

    Args:
        command: its program and arguments; one JSON line in, one out (peers/worker.py).
        threads: it may use this many processors, and its libraries are told so.
    """

    def __init__(self, name: str, command: Sequence[str], threads: int) -> None:
        self.name = name
        self._errors = tempfile.TemporaryFile("w+")
        counts = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
        self._process = subprocess.Popen(
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            cwd=BENCH,
            env={**os.environ, **dict.fromkeys(counts, str(threads))},
        )
        if hasattr(os, "sched_setaffinity"):
            allowed = sorted(os.sched_getaffinity(0))
            os.sched_setaffinity(self._process.pid, allowed[:threads])

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """The answer to one message; SideError where there is none."""
        assert self._process.stdin and self._process.stdout
        try:
            self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise SideError(f"{self.name}: process ended: {self._last_words()}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise SideError(f"{self.name}: {answer['error']}")
        return answer

    def _last_words(self) -> str:
        self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read().strip().splitlines()
        return lines[-1] if lines else f"exit code {self._process.returncode}"

    def close(self) -> None:
        assert self._process.stdin and self._process.stdout
        self._process.kill()
        self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()
        self._errors.close()

    def __enter__(self) -> Side:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def check_equal(own: dict[str, Any], peer: dict[str, Any]) -> dict[str, float]:
    """For each entry the largest difference over the largest number; Mismatch over TOLERANCE."""
    if own.keys() != peer.keys():
        raise Mismatch(f"{sorted(own)} against {sorted(peer)}")
    differences = {}
    for name in own:
        a, b = np.asarray(own[name], np.float64), np.asarray(peer[name], np.float64)
        if a.shape != b.shape or a.size == 0:
            raise Mismatch(f"{name}: {a.size} numbers against {b.size}")
        scale = max(np.abs(a).max(), np.abs(b).max(), 1e-30)
        difference = differences[name] = float(np.abs(a - b).max() / scale)
        if not difference <= (most := TOLERANCE[name]):  # NaN is a mismatch, too
            raise Mismatch(f"{name}: relative difference {difference:.2g}, at most {most:g}")
    return differences


def alternate(own: Any, peer: Any, rounds: int, seconds: float) -> list[dict[str, Any]]:
    """A B A B ...; each round is framed by probes of the roof and taken again if those are low.

    At most three times as many rounds are taken; the calm ones are kept, in the order they ran, or
    the calmest where there are too few.
    """
    taken: list[dict[str, Any]] = []
    for _ in range(3 * rounds):
        before = own.ask("probe", seconds=PROBE_SECONDS)["gflops"]
        a = own.ask("time", seconds=seconds)["seconds"]
        b = peer.ask("time", seconds=seconds)["seconds"]
        after = own.ask("probe", seconds=PROBE_SECONDS)["gflops"]
        taken.append({"own": a, "peer": b, "roof": [before, after]})
        if len(calm_rounds(taken)) >= rounds:
            break
    calm = calm_rounds(taken)
    if len(calm) >= ENOUGH:
        return [taken[i] for i in calm[:rounds]]
    others = sorted(set(range(len(taken))) - set(calm), key=lambda i: -min(taken[i]["roof"]))
    return [taken[i] for i in sorted((calm + others)[:rounds])]


def calm_rounds(taken: Sequence[dict[str, Any]]) -> list[int]:
    """Indices of the rounds around which nothing else kept the processors busy."""
    best = max(max(r["roof"]) for r in taken)
    return [i for i, r in enumerate(taken) if min(r["roof"]) >= (1 - DISTURBED) * best]


@dataclass(frozen=True)
class Interval:
    """Of a median, with 95 % of the bootstrap inside."""

    median: float
    low: float
    high: float


def bootstrap(ratios: Sequence[float], seed: int = 0, resamples: int = 10_000) -> Interval:
    """The median and the middle 95 % of the medians of resampled rounds; a function of the seed."""
    values = np.asarray(ratios, np.float64)
    rows = np.random.default_rng(seed).integers(0, values.size, (resamples, values.size))
    low, high = np.quantile(np.median(values[rows], axis=1), [0.025, 0.975])
    return Interval(float(np.median(values)), float(low), float(high))


def summarise(rounds: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Ratios are peer / pycnn: above 1, pycnn is faster."""
    best = [min(r["peer"]) / min(r["own"]) for r in rounds]
    middle = [statistics.median(r["peer"]) / statistics.median(r["own"]) for r in rounds]
    summary: dict[str, Any] = {
        "ratio": vars(bootstrap(best)),
        "ratio_of_medians": vars(bootstrap(middle)),
        "calm_rounds": len(calm_rounds(rounds)),
        "roof": [round(g, 1) for r in rounds for g in r["roof"]],
    }
    for side in ("own", "peer"):
        times = [t for r in rounds for t in r[side]]
        summary[f"{side}_ms"] = min(times) * 1e3
        summary[f"{side}_median_ms"] = statistics.median(times) * 1e3
        summary[f"{side}_round_best_ms"] = [round(min(r[side]) * 1e3, 5) for r in rounds]
    return summary
