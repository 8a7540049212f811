# SPDX-License-Identifier: Apache-2.0
"""A small CNN in training, with every kind of state: for tests of plans and threads."""

from __future__ import annotations

import hashlib

import numpy as np
from engine import Array, threads

import pycnn
from pycnn import _core
from pycnn.engine.programs import make_plan, predict_graph, train_graph

SLOTS = {"sgd": ("velocity",), "adam": ("m", "v")}
EPSILON = 1e-3


class SmallCnn:
    """conv, batch norm, pool, dropout, dense; moving averages; one step or one epoch at a time."""

    def __init__(
        self,
        isa: str | None,
        *,
        batch: int = 16,
        size: int = 10,
        filters: int = 9,
        samples: int = 96,
        optimizer: str = "adam",
        threads: int = 1,
    ) -> None:
        self.graph, self.batch, self.threads = _core.Graph(), batch, threads
        self.seed, self.optimizer = 11, optimizer
        rng = np.random.default_rng(5)
        x = rng.standard_normal((samples, size, size, 3)).astype(np.float32)
        labels = rng.integers(0, 4, samples).astype(np.int32)
        x[..., 0] += labels[:, None, None] * 0.5
        self.arrays: list[Array] = [x, labels]
        self.shapes: dict[str, tuple[int, ...]] = {}
        images = self.graph.input("images", (None, size, size, 3))
        truth = self.graph.input("labels", (None,), "int32")
        self.logits, statistics = self._forward(images, size, filters)
        self._train(truth, statistics)
        self.parameters = _core.Parameters(self.graph, isa)
        for name, shape in self.shapes.items():
            start = rng.standard_normal(shape) / np.sqrt(max(1, np.prod(shape[:-1])))
            ones = name.endswith((".gamma", ".var"))
            array = np.ones(shape) if ones else start
            self.parameters.set(name, np.ascontiguousarray(array, np.float32))
        self.plan = _core.Plan(self.graph, self.parameters, batch, operations_per_thread=1.0)

    def _parameter(self, name: str, *shape: int) -> int:
        self.shapes[name] = shape
        trainable = not name.endswith((".mean", ".var"))
        return self.graph.parameter(name, shape, trainable)

    def _forward(self, x: int, size: int, K: int) -> tuple[int, tuple[int, int]]:
        g, p = self.graph, self._parameter
        h = g.conv2d(x, p("conv1.w", 3, 3, 3, K), p("conv1.b", K), padding="same", name="conv1")
        scale = p("norm1.gamma", K), p("norm1.beta", K)
        h, mean, var = g.batch_norm_training(h, *scale, epsilon=EPSILON, name="norm1")
        h = g.max_pool2d(g.activation(h, "relu"), pool_size=(2, 2), strides=(2, 2), name="pool1")
        h = g.conv2d(h, p("conv2.w", 3, 3, K, 17), p("conv2.b", 17), name="conv2")
        h = g.dropout(g.activation(h, "relu"), rate=0.25, stream=0, name="drop1")
        h = g.flatten(h)
        features = g.shape(h)[1]
        assert features is not None
        h = g.dense(h, p("dense1.w", features, 4), p("dense1.b", 4), name="dense1")
        return h, (mean, var)

    def _train(self, truth: int, statistics: tuple[int, int]) -> None:
        g, names = self.graph, list(self.shapes)
        loss = g.loss(
            "sparse_categorical_crossentropy", truth, self.logits, from_logits=True, name="loss"
        )
        accuracy = g.metric("sparse_categorical_accuracy", truth, self.logits)
        ids = [self._id(name) for name in names]
        for name, value, gradient in zip(names, ids, g.gradients(loss, ids), strict=True):
            assert gradient is not None
            if self.optimizer == "sgd":
                g.sgd(value, gradient, momentum=0.9, weight_decay=1e-4, name=name)
            else:
                g.adam(value, gradient, name=name)
        for name, sample in zip(("norm1.mean", "norm1.var"), statistics, strict=True):
            extent = g.shape(sample)[0]
            assert extent is not None
            g.moving_average(self._parameter(name, extent), sample, momentum=0.9)
        g.mark_output(loss)
        g.mark_output(accuracy)
        g.mark_output(self.logits)

    def _id(self, name: str) -> int:
        (node,) = (n for n in self.graph.nodes() if n["name"] == name and n["op"] == "parameter")
        return int(node["outputs"][0])

    def step(self, number: int, rows: Array | None = None) -> tuple[float, ...]:
        """One training step, counted from 1; the first samples unless rows are given."""
        rows = np.arange(self.batch) if rows is None else rows
        with threads(self.threads):
            return self.plan.run(
                self.arrays, rows=rows, learning_rate=0.01, seed=self.seed, step=number
            )

    def train(self, steps: int) -> list[tuple[float, ...]]:
        """Steps 1 .. steps over shuffled samples."""
        rng = np.random.default_rng(1)
        samples = len(self.arrays[0])
        return [
            self.step(i + 1, rng.choice(samples, self.batch, replace=False)) for i in range(steps)
        ]


def state_of(net: SmallCnn) -> str:
    """A digest of every bit that training changes: parameters and slots."""
    arrays = [net.parameters.get(name) for name in net.parameters.names()]
    for slot in SLOTS[net.optimizer]:
        arrays += [net.parameters.get(name, slot) for name in net.parameters.names()]
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()


def plan_of(model: pycnn.Model, mode: str, batch: int) -> _core.Plan:
    """A plan as the model makes it itself, to "predict" or to "train"."""
    network = model.network
    if mode == "predict":
        return make_plan(predict_graph(network).core, network.parameters, batch)
    graph = train_graph(network, model.objective, model.is_trained)
    return make_plan(graph.core, network.parameters, batch, model.optimizer.state)
