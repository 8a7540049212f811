# SPDX-License-Identifier: Apache-2.0
"""The program as pycnn.reference defines it, in NumPy. Predicts only; for tests, not for timing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from pycnn import reference

from .program import Op, Program
from .worker import Adapter, Step, Task, serve


def evaluate(program: Program, weights: Mapping[str, Any], x: Any) -> Any:
    """The output for x in float64."""

    def apply(op: Op, *inputs: Any) -> Any:
        if op.kind == "activation":
            return reference.activation(op["kind"], *inputs, alpha=op["alpha"])
        arrays = [weights[name] if name else None for name in op.weights]
        return getattr(reference, op.kind)(*inputs, *arrays, **op.attributes)

    return program.run(apply, x)


class Reference(Adapter):
    modes = ("predict",)

    def __init__(self, threads: int) -> None:
        pass

    def versions(self) -> dict[str, str]:
        return {"numpy": np.__version__}

    def predict(self, task: Task, variant: str) -> Step:
        return lambda: evaluate(task.program, task.weights, task.x)


if __name__ == "__main__":
    serve(Reference)
