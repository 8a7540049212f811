# SPDX-License-Identifier: Apache-2.0
"""Symbolic tensors: what a layer returns when it is called; models are walks over them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .builder import GraphBuilder

if TYPE_CHECKING:
    from .layers.base import Layer

Extents = tuple[int | None, ...]


class Tensor:
    """The output of one call of a layer. Compared by identity."""

    __slots__ = ("inputs", "layer", "shape")

    def __init__(self, layer: Layer, inputs: tuple[Tensor, ...], shape: Extents) -> None:
        self.layer = layer
        self.inputs = inputs
        self.shape = shape  # leads with None, the batch

    def __repr__(self) -> str:
        return f"<Tensor {self.layer.name} {self.shape}>"


def call_layer(layer: Layer, inputs: Sequence[Tensor]) -> Tensor:
    """The symbolic result of layer(inputs); bad shapes are refused here."""
    for x in inputs:
        if not isinstance(x, Tensor):
            raise TypeError(
                f"{layer.name}: expected the output of a layer or Input(), got {type(x).__name__}; "
                "arrays go to model.predict()"
            )
    graph = GraphBuilder()
    values = [graph.core.input(f"input_{i}", x.shape) for i, x in enumerate(inputs)]
    graph.enter(layer)
    shape = graph.core.shape(layer.apply(graph, values))
    if layer.store is not None:  # it has its weights: their shapes stay
        for spec in graph.weights.values():
            spec.check_same_shape(layer.store.specs.get(spec.name))
    return Tensor(layer, tuple(inputs), shape)


def ancestors(outputs: Sequence[Tensor]) -> list[Tensor]:
    """Everything the outputs depend on, inputs first, each once. No recursion: depth is free."""
    order: list[Tensor] = []
    seen: set[int] = set()
    stack = [(tensor, False) for tensor in reversed(outputs)]
    while stack:
        tensor, expanded = stack.pop()
        if expanded:
            order.append(tensor)
        elif id(tensor) not in seen:
            seen.add(id(tensor))
            stack.append((tensor, True))
            stack.extend((x, False) for x in reversed(tensor.inputs) if id(x) not in seen)
    return order
