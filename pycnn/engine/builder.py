# SPDX-License-Identifier: Apache-2.0
"""What a layer's build() talks to: a core graph plus the weights the layers ask for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, cast, runtime_checkable

from .. import _core
from ..errors import ShapeError
from ..initializers import Initializer
from .weights import Leaf, Variable, WeightSpec


class Body(Protocol):
    """What a call runs: a layer, or the network that a model was when it was called."""

    def apply(self, graph: GraphBuilder, inputs: Sequence[int]) -> int | list[int]: ...


@runtime_checkable
class KnownBody(Body, Protocol):
    """One whose shapes and weights are known: to call it, nothing has to be built."""

    def output_shapes(
        self, name: str, shapes: Sequence[tuple[int | None, ...]]
    ) -> list[tuple[int | None, ...]]: ...


class Node(Protocol):
    """What a model is made of: layers, and models used as layers."""

    @property
    def name(self) -> str: ...

    named: bool  # the user chose the name
    holders: int  # models that know it by its name

    @property
    def trainable(self) -> bool: ...
    def rename(self, name: str) -> None: ...
    def body_for(self, shapes: Sequence[tuple[int | None, ...]]) -> Body: ...  # of a call now
    def undo_calls(self) -> Callable[[], None]: ...  # brings the present state back after calls


def leaf_of(body: Body) -> Leaf:
    """The layer that a call runs."""
    return cast(Leaf, getattr(body, "leaf", body))


@dataclass(frozen=True)
class GraphWeight:
    """A weight in a graph: whose it is, and whether a training step of the graph changes it."""

    layer: Leaf
    spec: WeightSpec
    updated: bool


class GraphBuilder:
    """Collects the nodes and weights of layers, one layer after the other.

    `core` is the graph of the compiled core; its ops take and return value numbers.

    Args:
        trainable: which layers a step trains, where that is not what they say now.
    """

    def __init__(
        self, training: bool = False, trainable: Callable[[Leaf], bool] | None = None
    ) -> None:
        self.core = _core.Graph()
        self.training = training
        self.weights: dict[str, GraphWeight] = {}  # by path, in order of declaration
        self.values: dict[str, int] = {}  # of the weights
        self.averages: list[tuple[int, int, float]] = []  # (weight, sample, momentum)
        self.losses: list[int] = []  # numbers that layers add to the loss
        # weights that are trained, and what makes such numbers of them, by path
        self.penalties: dict[str, tuple[int, Callable[..., object]]] = {}
        self.least_batch = 1, ""  # and the layer that asks for it
        self.name = ""  # path of the layer being built: "dense", inside a model "encoder/dense"
        self._layer: Leaf | None = None
        self._paths: dict[tuple[int, str], str] = {}  # of a weight, by (id of the layer, name)
        self._trainable = trainable or (lambda layer: layer.trainable)
        self._streams = 0

    def apply(self, body: Body, path: str, inputs: Sequence[int]) -> list[int]:
        """Adds a layer or network under this path; returns its outputs."""
        outer, layer = self.name, self._layer
        self.name = path
        self._layer = leaf_of(body)  # a network has no weights but those of its layers
        try:
            outputs = body.apply(self, inputs)
        finally:
            self.name, self._layer = outer, layer
        return outputs if isinstance(outputs, list) else [outputs]

    @property
    def trainable(self) -> bool:
        """Whether a step trains the layer being built."""
        return self._layer is None or self._trainable(self._layer)

    def shape(self, value: int, rank: int | None = None, letters: str = "") -> tuple[int, ...]:
        """The extents of a value without the batch; with its rank (batch included) checked."""
        shape = self.core.shape(value)
        if rank is not None and len(shape) != rank:
            raise ShapeError(f"{self.name}: input must have shape ({letters}), got {shape}")
        return tuple(-1 if extent is None else extent for extent in shape[1:])

    def parameter(
        self,
        name: str,
        shape: tuple[int, ...],
        initializer: Initializer,
        *,
        trainable: bool = True,
        graph_shape: tuple[int, ...] | None = None,
        regularizer: Callable[..., object] | None = None,
    ) -> int:
        """The weight "layer/name"; a layer used twice gets the same one twice.

        Args:
            regularizer: what the weight adds to the loss.
            graph_shape: of the value that is returned, where it is not the weight's own; as many
                elements in the same order.
        """
        assert self._layer is not None
        spec = WeightSpec(name, shape, initializer, trainable, graph_shape)
        key = id(self._layer), name
        path = self._paths.get(key)
        if path is not None:
            spec.check_same_shape(self.name, self.weights[path].spec)
            return self.values[path]
        path = f"{self.name}/{name}"
        if path in self.weights:
            raise ValueError(f"{path}: two layers have a weight of this name; rename one of them")
        weight = GraphWeight(self._layer, spec, trainable and self.trainable)
        self.values[path] = self.core.parameter(path, graph_shape or shape, weight.updated)
        self.weights[path], self._paths[key] = weight, path
        if regularizer is not None and weight.updated:
            self.penalties[path] = self.values[path], regularizer
        return self.values[path]

    def use(self, variable: Variable) -> int:
        """A weight that a layer has already, as add_weight() makes them."""
        path = self._paths.get((id(variable.layer), variable.name))
        if path is not None:
            return self.values[path]
        if variable.layer is not self._layer:
            raise ValueError(
                f"{self.name}: uses {variable.path}, a weight of a layer that has not been called "
                "before in this model"
            )
        spec = variable.spec
        return self.parameter(
            spec.name,
            spec.shape,
            spec.initializer,
            trainable=spec.trainable,
            graph_shape=spec.graph_shape,
            regularizer=variable.regularizer,
        )

    def moving_average(self, parameter: int, sample: int, momentum: float) -> None:
        """Asks for parameter = momentum*parameter + (1-momentum)*sample after the step."""
        self.averages.append((parameter, sample, momentum))

    def require_batch(self, samples: int) -> None:
        """Refuses to train on batches that all have fewer samples; the last of an epoch may."""
        self.least_batch = max(self.least_batch, (samples, self.name))

    def next_stream(self) -> int:
        """A stream of random numbers no other node of the graph uses."""
        self._streams += 1
        return self._streams - 1
