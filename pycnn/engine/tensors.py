# SPDX-License-Identifier: Apache-2.0
"""Symbolic tensors: what a layer returns when it is called; models are walks over them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import _core
from .builder import Body, GraphBuilder, KnownBody, Node
from .operators import Operators

Extents = tuple[int | None, ...]


def as_list(value: Any) -> list[Any]:
    """The inputs or outputs of a layer or model, given as a list or as the only one."""
    return list(value) if isinstance(value, (list, tuple)) else [value]


class Call:
    """One use of a layer, or of a model as a layer.

    Args:
        body: what it runs; a model may change later, its body does not.
        dtypes: of the outputs, where these are not all float32.
    """

    __slots__ = ("body", "inputs", "layer", "outputs")

    def __init__(
        self,
        layer: Node,
        body: Body,
        inputs: tuple[Tensor, ...],
        shapes: Sequence[Extents],
        dtypes: Sequence[str] = (),
    ) -> None:
        self.layer = layer
        self.body = body
        self.inputs = inputs
        kinds = dtypes or ["float32"] * len(shapes)
        pairs = zip(shapes, kinds, strict=True)
        self.outputs = tuple(Tensor(self, i, *pair) for i, pair in enumerate(pairs))


class Tensor(Operators):
    """An output of a call. Compared by identity."""

    __slots__ = ("__weakref__", "call", "dtype", "index", "shape")

    def __init__(self, call: Call, index: int, shape: Extents, dtype: str = "float32") -> None:
        self.call = call
        self.index = index
        self.shape = shape  # leads with None, the batch
        self.dtype = dtype

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def layer(self) -> Node:
        return self.call.layer

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        return self.call.inputs

    def __repr__(self) -> str:
        return f"<Tensor {self.layer.name} {self.shape}>"


def call_layer(layer: Node, inputs: Sequence[Tensor], bound: Body | None = None) -> Call:
    """The symbolic results of layer(inputs); bad shapes are refused here.

    The first call makes the layer's weights, which are fixed in number and shape from then on.

    Args:
        bound: what the call runs, where it has other arguments than its inputs.
    """
    for x in inputs:
        if not isinstance(x, Tensor):
            raise TypeError(
                f"{layer.name}: expected the output of a layer or Input(), got {type(x).__name__}; "
                "arrays go to model.predict()"
            )
    body = bound or layer.body_for([x.shape for x in inputs])
    if isinstance(body, KnownBody):
        shapes = body.output_shapes(layer.name, [x.shape for x in inputs])
        return Call(layer, body, tuple(inputs), shapes)
    graph = GraphBuilder()
    values = [
        graph.core.input(f"input_{i}", x.shape, core_dtype(x.dtype)) for i, x in enumerate(inputs)
    ]
    outputs = graph.apply(body, layer.name, values)
    groups = _core.groups_of(graph.core)
    for path, weight in graph.weights.items():
        weight.layer.adopt(weight.spec, groups[path])
    shapes = [graph.core.shape(value) for value in outputs]
    dtypes = getattr(body, "dtypes", None) or [graph.core.dtype(value) for value in outputs]
    return Call(layer, body, tuple(inputs), shapes, dtypes)


def core_dtype(dtype: str) -> str:
    """Of the values of a tensor: true and false are 1 and 0."""
    return "float32" if dtype == "bool" else dtype


def ancestors(outputs: Sequence[Tensor], inputs: Sequence[Tensor] = ()) -> list[Tensor]:
    """All the outputs depend on down to the inputs, these first, each once. Depth is free."""
    order: list[Tensor] = []
    ends = {id(tensor) for tensor in inputs}
    seen: set[int] = set()
    stack = [(tensor, False) for tensor in reversed(outputs)]
    while stack:
        tensor, expanded = stack.pop()
        if expanded:
            order.append(tensor)
        elif id(tensor) not in seen:
            seen.add(id(tensor))
            stack.append((tensor, True))
            if id(tensor) not in ends:
                stack.extend((x, False) for x in reversed(tensor.inputs) if id(x) not in seen)
    return order
