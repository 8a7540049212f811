# SPDX-License-Identifier: Apache-2.0
"""The side of a worker process: one JSON line in, one JSON line out, until "quit".

An adapter turns a Task into steps; this module picks its fastest variant, runs the steps that prove
the numbers equal, and times the others.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .program import Program

Step = Callable[[], Any]  # a training step returns its loss, a prediction its probabilities

ADAM = {"learning_rate": 1e-3, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7}
SGD_RATE = 0.01
CHECK_STEPS = 5


@dataclass(frozen=True)
class Task:
    """One network at one batch size, to be trained or to predict."""

    folder: Path
    mode: str  # "train" or "predict"
    threads: int
    program: Program  # in training without the softmax at its end
    weights: dict[str, NDArray[np.float32]]
    x: NDArray[np.float32]
    y: NDArray[np.int32]

    @classmethod
    def load(cls, folder: Path, mode: str, threads: int) -> Task:
        program = Program.from_json((folder / f"{mode}.json").read_text())
        with np.load(folder / "arrays.npz") as arrays:
            weights = {k[2:]: arrays[k] for k in arrays.files if k.startswith("w:")}
            x, y = arrays["x"], arrays["y"]
        program = program.logits() if mode == "train" else program
        return cls(folder, mode, threads, program, weights, x, y)


class Adapter:
    """What a framework provides. A step is made complete: the first call may compile."""

    modes: tuple[str, ...] = ("train", "predict")

    def versions(self) -> dict[str, str]:
        raise NotImplementedError

    def variants(self, task: Task) -> list[str]:
        """Names of the configurations worth trying; the fastest that works is timed."""
        return ["default"]

    def train(self, task: Task, variant: str, optimizer: str) -> Step:
        """A step of "adam" or plain "sgd" on (x, y) that returns the loss before the update."""
        raise NotImplementedError

    def predict(self, task: Task, variant: str) -> Step:
        """The outputs for x, as an array in host memory."""
        raise NotImplementedError

    def step(self, task: Task, variant: str) -> Step:
        """What is timed."""
        if task.mode == "train":
            return self.train(task, variant, "adam")
        return self.predict(task, variant)


def timed(step: Step, seconds: float, least: int = 3) -> list[float]:
    """Seconds of each call, for at least that long and that often, after two that do not count."""
    step(), step()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < least or time.perf_counter() < end:
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return times


class Worker:
    """Answers messages; holds the step that was prepared last."""

    def __init__(self, adapter: Adapter, threads: int) -> None:
        self.adapter, self.threads = adapter, threads

    def hello(self) -> dict[str, Any]:
        return {"versions": self.adapter.versions(), "modes": self.adapter.modes}

    def prepare(self, folder: str, mode: str) -> dict[str, Any]:
        """Makes every variant, up to the end of its first call; the errors of those that fail."""
        self.task = Task.load(Path(folder), mode, self.threads)
        self.steps: dict[str, Step] = {}
        failed = {}
        for variant in self.adapter.variants(self.task):
            try:
                step = self.adapter.step(self.task, variant)
                step()
                self.steps[variant] = step
            except Exception as error:  # such as no compiler: another variant may do
                failed[variant] = first_line(error)
        if not self.steps:
            raise RuntimeError(f"no variant works: {failed}")
        return {"failed": failed}

    def choose(self, seconds: float) -> dict[str, Any]:
        """Keeps the fastest variant, by the best call of two turns; best milliseconds of each."""
        tried = dict.fromkeys(self.steps, float("inf"))
        if len(tried) > 1:
            for _ in range(2):
                for variant, step in self.steps.items():
                    tried[variant] = min(tried[variant], *timed(step, seconds))
        self.variant = min(tried, key=lambda variant: tried[variant])
        self.steps = {self.variant: self.steps[self.variant]}
        known = {name: value * 1e3 for name, value in tried.items() if len(tried) > 1}
        return {"variant": self.variant, "tried_ms": known}

    def check(self) -> dict[str, Any]:
        """Outputs, or the loss and how CHECK_STEPS steps of plain SGD without dropout change it."""
        if self.task.mode == "predict":
            outputs = self.steps[self.variant]()
            return {"outputs": np.asarray(outputs, np.float64).ravel().tolist()}
        task = replace(self.task, program=self.task.program.without_dropout())
        step = self.adapter.train(task, self.variant, "sgd")
        loss, *later = [float(step()) for _ in range(CHECK_STEPS + 1)]
        return {"loss": [loss], "changes": [value - loss for value in later]}

    def time(self, seconds: float) -> dict[str, Any]:
        return {"seconds": timed(self.steps[self.variant], seconds)}


def first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:300]


def serve(make: Callable[[int], Adapter], kind: type[Worker] = Worker) -> None:
    """The main of an adapter: `python -m peers.NAME THREADS`, messages on stdin."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what the framework prints is no answer
    threads = int(sys.argv[1])
    worker = kind(make(threads), threads)
    for line in sys.stdin:
        message = json.loads(line)
        do = message.pop("do")
        if do == "quit":
            break
        try:
            answer = getattr(worker, do)(**message)
        except Exception as error:
            answer = {"error": first_line(error)}
        print(json.dumps(answer), file=answers)
