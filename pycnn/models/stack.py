# SPDX-License-Identifier: Apache-2.0
"""The layers of a Sequential, one on the other, and what the calls of them gave."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..engine.builder import Node
from ..engine.network import Names, Network, Tree, add_paths, children_of
from ..engine.tensors import Tensor
from ..engine.weights import Variable
from ..layers.base import Layer
from ..layers.core import InputLayer


class Stack:
    """Layers that are called on each other as soon as the input is known."""

    def __init__(self) -> None:
        self.layers: list[Node] = []
        self.outputs: list[Tensor] = []  # of each layer; empty while the input is unknown
        self.names = Names()
        self.changes = 0  # so far
        self._weights: dict[str, Variable] = {}  # by path
        self._paths: list[list[str]] = []  # of the weights that came with each layer

    def push(self, layer: Node) -> None:
        """Calls the layer on what is on top and puts it there; whoever refuses it has to cut()."""
        self.names.claim(layer)
        if self.outputs or isinstance(layer, InputLayer):
            self._call(layer)
        self.layers.append(layer)
        self.changes += 1

    def _call(self, layer: Any) -> None:
        output = layer.tensor() if isinstance(layer, InputLayer) else layer(self.outputs[-1])
        if not isinstance(output, Tensor):
            raise ValueError(f"Sequential: {layer.name} has {len(output)} outputs, not 1")
        self._paths.append(add_paths(self._weights, self.names.of(layer), output.call.body))
        self.outputs.append(output)

    def cut(self, most: int, *others: Node) -> None:
        """Takes off what is above `most` layers, whole or half there, and its calls back.

        Args:
            others: that may have a name here and no place.
        """
        kept = min(most, len(self.layers))
        if self.outputs:
            kept = min(kept, len(self.outputs), len(self._paths))
        gone = [*self.layers[kept:], *others]
        calls = self.outputs[kept:]
        lost = {path for paths in self._paths[kept:] for path in paths}
        self.changes += 1
        del self.layers[kept:], self.outputs[kept:], self._paths[kept:]
        for path in lost:
            self._weights.pop(path, None)
        for output in calls:
            if isinstance(output.layer, Layer) and output.inputs:
                output.layer.take_back(output)
        for layer in gone:
            if self.names.holds(layer) and all(layer is not other for other in self.layers):
                self.names.release(layer)
        self.changes += 1

    def on(self, door: InputLayer) -> Stack:
        """Another stack of the same layers on this input; the calls are made now."""
        made = Stack()
        made.names = self.names.copy()
        made.names.claim(door)
        made.layers = [door, *self.layers]
        for layer in made.layers:
            made._call(layer)
        return made

    def network(self) -> Network:
        return Network(self.outputs[:1], self.outputs[-1:], self.names.copy())

    def tree(self) -> Tree:
        """The layers, and those of models as they were when they were called, or are."""
        bodies: list[Any] = [tensor.call.body for tensor in self.outputs]
        if not bodies:
            bodies = [getattr(layer, "layer_tree", layer) for layer in self.layers]
        found = zip(self.layers, bodies, strict=True)
        inner = {id(layer): body for layer, body in found if isinstance(body, Tree)}
        return Tree(self.layers, inner)


def with_inner(node: Any) -> Iterator[Any]:
    """The node and, of a model, all that it is made of."""
    yield node
    tree = getattr(node, "layer_tree", None)
    if tree is not None:
        yield from tree.nodes()
        return
    for child in children_of(node):
        yield from with_inner(child)
