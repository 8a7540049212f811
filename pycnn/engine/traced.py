# SPDX-License-Identifier: Apache-2.0
"""Tensors while a graph is built: what call() of layers, losses and functions of ops work on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .builder import GraphBuilder
from .operators import Operators
from .weights import Variable

Extents = tuple[int | None, ...]


class GraphTensor(Operators):
    """A value of a graph.

    Args:
        boolean: it is 1 or 0, for true or false.
    """

    __slots__ = ("__weakref__", "boolean", "graph", "value")

    def __init__(self, graph: GraphBuilder, value: int, boolean: bool = False) -> None:
        self.graph = graph
        self.value = value
        self.boolean = boolean

    @property
    def shape(self) -> Extents:
        """Leads with None where it has the batch axis."""
        return tuple(self.graph.core.shape(self.value))

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def dtype(self) -> str:
        return "bool" if self.boolean else self.graph.core.dtype(self.value)

    def __repr__(self) -> str:
        return f"<GraphTensor {self.shape} {self.dtype}>"


class Array(np.ndarray):
    """What functions, layers and models give for arrays: an array of NumPy with Keras' numpy()."""

    def numpy(self) -> NDArray[Any]:
        return np.asarray(self)


def as_array(values: NDArray[Any]) -> Array:
    return values.view(Array)


_tracing: ContextVar[GraphBuilder | None] = ContextVar("tracing", default=None)


@contextmanager
def tracing(graph: GraphBuilder) -> Iterator[None]:
    """Inside, functions of weights and numbers add to this graph."""
    token = _tracing.set(graph)
    try:
        yield
    finally:
        _tracing.reset(token)


def traced_graph() -> GraphBuilder | None:
    """The graph that is being built."""
    return _tracing.get()


def flatten(structure: Any, is_leaf: Callable[[Any], bool]) -> list[Any]:
    """The leaves in lists, tuples and dicts, in order."""
    if is_leaf(structure):
        return [structure]
    if isinstance(structure, (list, tuple)):
        return [leaf for item in structure for leaf in flatten(item, is_leaf)]
    if isinstance(structure, dict):
        return [leaf for item in structure.values() for leaf in flatten(item, is_leaf)]
    return []


def replace(structure: Any, is_leaf: Callable[[Any], bool], by: Callable[[Any], Any]) -> Any:
    """The same structure with other leaves."""
    if is_leaf(structure):
        return by(structure)
    if isinstance(structure, (list, tuple)):
        return type(structure)(replace(item, is_leaf, by) for item in structure)
    if isinstance(structure, dict):
        return {key: replace(item, is_leaf, by) for key, item in structure.items()}
    return structure


def as_tensor(graph: GraphBuilder, x: Any) -> GraphTensor:
    """x in this graph: a tensor of it, a weight, a number or an array of numbers."""
    if isinstance(x, GraphTensor):
        if x.graph is not graph:
            raise ValueError(
                f"{graph.name or 'graph'}: a tensor of another call is used here; a layer may keep "
                "weights between calls, but no tensors"
            )
        return x
    if isinstance(x, Variable):
        return GraphTensor(graph, graph.use(x))
    values = np.asarray(x)
    if values.dtype.kind not in "fiub":
        raise TypeError(f"expected a tensor, an array or a number, got {type(x).__name__}")
    shape: Sequence[int] = values.shape
    flat = [float(v) for v in values.astype(np.float32).ravel()]
    return GraphTensor(graph, graph.core.constant(shape, values=flat), values.dtype == np.bool_)
