# SPDX-License-Identifier: Apache-2.0
"""The graphs a model runs (predict, evaluate, train) and their plans, one for each batch size."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from .. import _core, limits
from ..losses import Loss
from ..metrics import Metric
from ..optimizers import Optimizer
from .builder import GraphBuilder
from .network import Network
from .traced import GraphTensor, tracing
from .weights import Leaf

MAX_PLANS = 8  # a mode and its batch sizes: the usual one, the last of an epoch, a few of the user


@dataclass(frozen=True)
class Objective:
    """What compile() asked for, once the output shape is known."""

    optimizer: Optimizer
    loss: Loss
    metrics: tuple[Metric, ...]
    names: list[str]  # of the scalars a step returns
    label_shape: tuple[int, ...] | None = None  # where it is not that of the output


def predict_graph(network: Network) -> GraphBuilder:
    """Inputs -> outputs."""
    graph, values = network.build(training=False)
    for output in network.outputs:
        graph.core.mark_output(values[id(output)])
    return graph


def evaluate_graph(network: Network, objective: Objective) -> GraphBuilder:
    """Inputs, labels -> loss, metrics."""
    graph, values = network.build(training=False)
    _add_objective(graph, values[id(network.outputs[0])], objective)
    return graph


def train_graph(
    network: Network, objective: Objective, trainable_layer: Callable[[Leaf], bool]
) -> GraphBuilder:
    """Inputs, labels -> loss, metrics; updates the weights and the moving averages."""
    graph, values = network.build(training=True, trainable=trainable_layer)
    loss = _add_objective(graph, values[id(network.outputs[0])], objective)
    trainable = [path for path, weight in graph.weights.items() if weight.updated]
    gradients = graph.core.gradients(loss, [graph.values[name] for name in trainable])
    for name, gradient in zip(trainable, gradients, strict=True):
        if gradient is None:
            continue
        if objective.optimizer.has_update:
            _trace_update(graph, objective.optimizer, graph.values[name], gradient, name)
        else:
            objective.optimizer.add_update(graph.core, graph.values[name], gradient, name)
    for weight, sample, momentum in graph.averages:
        graph.core.moving_average(weight, sample, momentum=momentum)
    return graph


def _trace_update(
    graph: GraphBuilder, optimizer: Optimizer, parameter: int, gradient: int, name: str
) -> None:
    """Assigns what a user's update() makes of one weight."""
    core, kind = graph.core, type(optimizer).__name__
    slots = {slot: GraphTensor(graph, core.slot(parameter, name=slot)) for slot in optimizer.slots}
    numbers = [GraphTensor(graph, core.map([], [word])) for word in ("learning_rate", "step")]
    outer, graph.name = graph.name, name
    try:
        with tracing(graph):
            given = GraphTensor(graph, gradient), GraphTensor(graph, parameter)
            made = optimizer.update(*given, slots, *numbers)
    finally:
        graph.name = outer
    weight, state = made if isinstance(made, tuple) else (made, {})
    if not isinstance(state, dict) or state.keys() != slots.keys():
        raise ValueError(f"{kind}: update() must return new arrays for the slots {tuple(slots)}")
    for target, value in ((parameter, weight), *((slots[s].value, state[s]) for s in slots)):
        if not isinstance(value, GraphTensor) or value.graph is not graph:
            raise TypeError(
                f"{kind}: update() must return tensors, got {type(value).__name__}; compute with "
                "pycnn.ops"
            )
        core.assign(target, value.value, name=name)


def _add_objective(graph: GraphBuilder, y_pred: int, objective: Objective) -> int:
    """The loss, and what layers add to it; then the metrics."""
    core, loss = graph.core, objective.loss
    shape = core.shape(y_pred)
    if loss.sparse:
        y_true = core.input("y_true", shape[:-1], "int32")
    elif objective.label_shape is not None:
        y_true = core.input("y_true", (None, *objective.label_shape))
    else:
        y_true = core.input("y_true", shape)
    ends = GraphTensor(graph, y_true), GraphTensor(graph, y_pred)
    if loss.kind == "custom":
        value = _mean(graph, "loss", loss.call, *ends)
    else:
        value = core.loss(loss.kind, y_true, y_pred, from_logits=loss.from_logits, name="loss")
    for path, (weight, regularizer) in graph.penalties.items():
        made = _mean(graph, f"regularizer of {path}", regularizer, GraphTensor(graph, weight))
        graph.losses.append(made)
    for more in graph.losses:
        value = core.map([value, more], ["add x0 x1", "t0"], name="loss")
    core.mark_output(value)
    for metric, name in zip(objective.metrics, objective.names[1:], strict=True):
        if metric.kind == "custom":
            score = _mean(graph, name, metric.call, *ends)
        elif metric.is_loss:
            score = core.loss(metric.kind, y_true, y_pred, name=name)
        else:
            score = core.metric(metric.kind, y_true, y_pred, threshold=metric.threshold, name=name)
        core.mark_output(score)
    return value


def _mean(graph: GraphBuilder, name: str, call: Callable[..., object], *ends: GraphTensor) -> int:
    """Of what a user's loss or metric gives for labels and outputs."""
    outer, graph.name = graph.name, name
    try:
        with tracing(graph):
            result = call(*ends)
    finally:
        graph.name = outer
    if not isinstance(result, GraphTensor) or result.graph is not graph:
        raise TypeError(
            f"{name}: expected a tensor, got {type(result).__name__}; losses and metrics are "
            "computed with pycnn.ops"
        )
    if result.shape == () and result.dtype == "float32":
        return result.value
    return graph.core.reduce([result.value], "mean", name=name)


def make_plan(
    graph: _core.Graph,
    parameters: _core.Parameters,
    batch: int,
    optimizer: _core.OptimizerState | None = None,
) -> _core.Plan:
    """A plan within the limits of pycnn.limits; MemoryError beyond them."""
    return _core.Plan(
        graph,
        parameters,
        batch,
        optimizer=optimizer,
        **limits.current(),
    )


class Plans:
    """A graph and the plans made from it; the least recently used plans are dropped.

    Args:
        optimizer: of a training graph: owns the slots and counts the steps.
        changes: of the optimizer's settings, when the graph was made.
    """

    def __init__(
        self,
        graph: GraphBuilder,
        parameters: _core.Parameters,
        optimizer: _core.OptimizerState | None = None,
        changes: int = 0,
    ) -> None:
        self.graph = graph.core
        self.changes = changes
        self._least_batch = graph.least_batch
        self._parameters = parameters
        self._optimizer = optimizer
        self._plans: OrderedDict[int, _core.Plan] = OrderedDict()

    def check_batch(self, batch: int) -> None:
        """Refuses to train on batches with fewer samples than a layer needs to learn anything."""
        least, layer = self._least_batch
        if batch < least:
            raise ValueError(f"{layer}: needs batches of >= {least} samples, got {batch}")

    def plan(self, batch: int) -> _core.Plan:
        """The plan for this many samples."""
        plan = self._plans.get(batch)
        if plan is None:
            made = make_plan(self.graph, self._parameters, batch, self._optimizer)
            plan = self._plans.setdefault(batch, made)
        with suppress(KeyError):  # another thread may have dropped it
            self._plans.move_to_end(batch)
        while len(self._plans) > MAX_PLANS:
            with suppress(KeyError):
                self._plans.popitem(last=False)
        return plan
