# SPDX-License-Identifier: Apache-2.0
"""The layers of a Sequential, one on the other, and what the calls of them gave."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .builder import Node
from .layers.base import Layer
from .layers.core import InputLayer
from .network import Names, Network, Tree, add_paths, all_or_nothing
from .tensors import Tensor
from .weights import Variable


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
        """Calls the layer on what is on top and puts it there; nothing changes if it is refused."""
        self.names.claim(layer)
        try:
            with all_or_nothing(with_inner(layer)):
                if self.outputs or isinstance(layer, InputLayer):
                    self._call(layer)
        except BaseException:
            self.names.release(layer)
            raise
        self.layers.append(layer)
        self.changes += 1

    def _call(self, layer: Any) -> None:
        output = layer.tensor() if isinstance(layer, InputLayer) else layer(self.outputs[-1])
        if not isinstance(output, Tensor):
            raise ValueError(f"Sequential: {layer.name} has {len(output)} outputs, not 1")
        self._paths.append(add_paths(self._weights, self.names.of(layer), output.call.body))
        self.outputs.append(output)

    def pop(self) -> Node:
        """Takes the top layer off, and its call back."""
        layer = self.layers.pop()
        if self.outputs:
            output = self.outputs.pop()
            for path in self._paths.pop():
                del self._weights[path]
            if isinstance(layer, Layer) and output.inputs:
                layer.take_back(output)
        self.names.release(layer)
        self.changes += 1
        return layer

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


def with_inner(node: Node) -> Iterator[Node]:
    """The node and, of a model, all that it is made of."""
    yield node
    tree = getattr(node, "layer_tree", None)
    if tree is not None:
        yield from tree.nodes()
