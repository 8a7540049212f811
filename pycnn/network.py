# SPDX-License-Identifier: Apache-2.0
"""A model's layers in the order they run, their names, and the graphs made of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from . import _core
from .builder import GraphBuilder, Node
from .tensors import Tensor, ancestors
from .weights import Variable

if TYPE_CHECKING:
    from .layers.base import Layer


class Network:
    """What lies between the input and the output tensors of a model. It owns no weights.

    Args:
        seed: of the initial weights, where no other model has given the layers theirs.
        names: what the layers are called, where that is settled.
    """

    def __init__(
        self,
        inputs: Sequence[Tensor],
        outputs: Sequence[Tensor],
        seed: int,
        names: Names | None = None,
    ) -> None:
        self.inputs, self.outputs = list(inputs), list(outputs)
        self.tensors = ancestors(self.outputs)
        self._check_ends()
        self.layers: list[Node] = list({id(t.layer): t.layer for t in self.tensors}.values())
        self.names = names or Names()
        if names is None:  # layers that other models know first: they keep their names
            for layer in sorted(self.layers, key=lambda layer: not layer.holders):
                self.names.claim(layer)
        begin_at(seed, 0, self.layers)

    def _check_ends(self) -> None:
        if not self.inputs or not self.outputs:
            raise ValueError("Model: expected at least one input and one output")
        known = {id(t) for t in self.tensors}
        given = {id(t) for t in self.inputs}
        if len(given) != len(self.inputs):
            raise ValueError("Model: an input is listed twice")
        for tensor in self.inputs:
            if not is_input(tensor):
                raise ValueError(f"Model: inputs must come from Input(), got {tensor!r}")
            if id(tensor) not in known:
                raise ValueError(f"Model: input {tensor!r} is not used by any output")
        for tensor in self.tensors:
            if not tensor.inputs and id(tensor) not in given:
                raise ValueError(f"Model: disconnected: {tensor!r} is not among the inputs")

    def add_to(self, graph: GraphBuilder, inputs: Sequence[int]) -> dict[int, int]:
        """Adds all layers to a graph, under the path it is at; the value of each tensor, by id."""
        scope = f"{graph.name}/" if graph.name else ""
        values = {id(tensor): value for tensor, value in zip(self.inputs, inputs, strict=True)}
        for tensor in self.tensors:
            if id(tensor) in values:
                continue
            call = tensor.call
            path = scope + self.names.of(call.layer)
            results = graph.apply(call.layer, path, [values[id(x)] for x in call.inputs])
            for output, value in zip(call.outputs, results, strict=True):
                values[id(output)] = value
        return values

    def build(
        self, training: bool, trainable: Callable[[Layer], bool] | None = None
    ) -> tuple[GraphBuilder, dict[int, int]]:
        """A fresh graph of all layers, and the value of every tensor (by its id)."""
        graph = GraphBuilder(training, trainable)
        inputs = [graph.core.input(self.names.of(t.layer), t.shape) for t in self.inputs]
        return graph, self.add_to(graph, inputs)

    def leaves(self) -> Iterator[tuple[str, Layer]]:
        """All layers, those inside of models too, with their paths."""
        for node in self.layers:
            inner = getattr(node, "network", None)
            if inner is None:
                yield from ((self.names.of(node), leaf) for leaf in node.leaves())
            else:
                for path, leaf in inner.leaves():
                    yield f"{self.names.of(node)}/{path}", leaf

    def inner_paths(self) -> Iterator[tuple[str, str]]:
        """The path of each layer, and what of it lies inside a model ("" or "/dense")."""
        for node in self.layers:
            inner = getattr(node, "network", None)
            name = self.names.of(node)
            paths = [""] if inner is None else [f"/{path}" for path, _ in inner.leaves()]
            yield from ((name + path, path) for path in paths)

    @cached_property
    def variables(self) -> dict[str, Variable]:
        """All weights by path, layer by layer, the fixed ones too."""
        found: dict[int, tuple[str, Variable]] = {}
        for path, leaf in self.leaves():
            for variable in leaf.variables.values():
                found.setdefault(id(variable), (f"{path}/{variable.name}", variable))
        return dict(found.values())

    @cached_property
    def parameters(self) -> _core.Parameters:
        """The weights as the plans of this network find them."""
        return _core.Parameters.of({path: v.core for path, v in self.variables.items()})


def is_input(tensor: Tensor) -> bool:
    return not tensor.inputs


def begin_at(seed: int, stream: int, layers: Sequence[Node]) -> int:
    """Gives weights that have no initial values yet theirs, and returns the next free stream."""
    for layer in layers:
        for leaf in layer.leaves():
            for variable in leaf.variables.values():
                variable.begin_at(seed, stream)
                stream += 1
    return stream


class Names:
    """Hands out names that are unique in a model."""

    def __init__(self) -> None:
        self._names: dict[int, str] = {}  # by id of the layer
        self._taken: set[str] = set()
        self._last: dict[str, int] = {}

    def of(self, layer: Node) -> str:
        return self._names[id(layer)]

    def holds(self, layer: Node) -> bool:
        return id(layer) in self._names

    def claim(self, layer: Node) -> None:
        """Takes the layer's name, or name_1, name_2, ... where the user chose none.

        Layers take that name over, unless another model knows them by the one they have.
        """
        name, base = layer.name, layer.name
        if name in self._taken and layer.named:
            raise ValueError(f"Model: layer names must be unique, got {name!r} twice")
        while name in self._taken:
            self._last[base] = self._last.get(base, 0) + 1
            name = f"{base}_{self._last[base]}"
        if name != base and not layer.holders:
            layer.rename(name)
        layer.holders += 1
        self._taken.add(name)
        self._names[id(layer)] = name

    def release(self, layer: Node) -> None:
        """Gives the name of a claimed layer back."""
        self._taken.discard(self._names.pop(id(layer)))
        layer.holders -= 1
        self._last.clear()  # start again from the lowest free number
