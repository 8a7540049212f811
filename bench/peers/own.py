# SPDX-License-Identifier: Apache-2.0
"""pycnn's own side: the saved model itself, not its translation."""

from __future__ import annotations

import numpy as np

import pycnn
from pycnn import _core, layers, losses, optimizers

from .worker import ADAM, SGD_RATE, Adapter, Step, Task, Worker, serve


class Own(Adapter):
    def __init__(self, threads: int) -> None:
        pycnn.set_num_threads(threads)

    def versions(self) -> dict[str, str]:
        versions = {"pycnn": pycnn.__version__, "isa": _core.default_isa()}
        return {**versions, "numpy": np.__version__}

    def train(self, task: Task, variant: str, optimizer: str) -> Step:
        model = pycnn.load_model(task.folder / "model.pycnn")
        if optimizer == "sgd":  # the check: as Program.without_dropout
            for layer in model.layers:
                if isinstance(layer, layers.Dropout):
                    object.__setattr__(layer, "rate", 0.0)
        rule = optimizers.Adam(**ADAM) if optimizer == "adam" else optimizers.SGD(SGD_RATE)
        softmax = (task.folder / "softmax").exists()
        model.compile(rule, losses.SparseCategoricalCrossentropy(from_logits=not softmax))
        return lambda: model.train_on_batch(task.x, task.y)

    def predict(self, task: Task, variant: str) -> Step:
        model = pycnn.load_model(task.folder / "model.pycnn")
        predictor = pycnn.Predictor(model, len(task.x))
        return lambda: predictor(task.x)


class OwnWorker(Worker):
    """Also measures what the machine can do."""

    def probe(self, seconds: float) -> dict[str, float]:
        return {"gflops": _core.probe_fma(_core.default_isa(), self.threads, seconds)}


if __name__ == "__main__":
    serve(Own, OwnWorker)
