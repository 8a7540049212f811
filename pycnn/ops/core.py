# SPDX-License-Identifier: Apache-2.0
"""What functions of ops are made of: expressions over tensors of a graph that is being built."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ..engine.builder import GraphBuilder
from ..engine.traced import GraphTensor, as_tensor, traced_graph
from ..engine.weights import Variable
from ..errors import DTypeError

INTEGERS = ("int32", "uint8", "bool")
DTYPES = ("float32", "int32", "uint8", "bool")


def is_number(x: object) -> bool:
    return isinstance(x, (bool, int, float, np.generic)) or (
        isinstance(x, np.ndarray) and x.ndim == 0
    )


def graph_of(*given: Any) -> GraphBuilder:
    """The graph that a function adds to."""
    for x in given:
        if isinstance(x, GraphTensor):
            return x.graph
        if isinstance(x, (list, tuple)):
            for item in x:
                if isinstance(item, GraphTensor):
                    return item.graph
    graph = traced_graph()
    assert graph is not None, "the dispatcher lets nobody else in"
    return graph


def tensor(x: Any) -> GraphTensor:
    """x as a tensor of the graph that is being built."""
    return as_tensor(graph_of(x), x)


def tensors(xs: Iterable[Any]) -> list[GraphTensor]:
    items = list(xs)
    graph = graph_of(items)
    return [as_tensor(graph, x) for x in items]


def dtype_of(x: Any) -> str:
    if isinstance(x, (GraphTensor, Variable)):
        return x.dtype
    kind = np.asarray(x).dtype.kind
    return {"b": "bool", "i": "int32", "u": "int32"}.get(kind, "float32")


def common_dtype(given: Sequence[Any]) -> str:
    """Of arithmetic: whole numbers stay whole."""
    return "int32" if all(dtype_of(x) in INTEGERS for x in given) else "float32"


def expression(
    lines: Sequence[str],
    given: Sequence[Any],
    *,
    dtype: str = "float32",
    shape: Sequence[int | None] = (),
) -> GraphTensor:
    """A map of tensors and numbers, which are x0, x1, ... of the lines.

    Args:
        lines: instructions of csrc/base/expression.h; the last one names the result.
        dtype: "bool" is 1 or 0.
        shape: that tensors are repeated to; () for no other than theirs.
    """
    graph = graph_of(*given)
    values: list[int] = []
    words: dict[str, str] = {}
    for i, x in enumerate(given):
        if is_number(x):
            words[f"x{i}"] = repr(float(x))
            continue
        value = as_tensor(graph, x).value
        if value not in values:
            values.append(value)
        words[f"x{i}"] = f"x{values.index(value)}"
    code = [" ".join(words.get(word, word) for word in line.split(" ")) for line in lines]
    kind = "float32" if dtype == "bool" else dtype
    made = graph.core.map(values, code, shape=shape, dtype=kind, name=graph.name)
    return GraphTensor(graph, made, dtype == "bool")


def apply(function: str, *given: Any, dtype: str = "float32") -> GraphTensor:
    """One elementary function."""
    operands = " ".join(f"x{i}" for i in range(len(given)))
    return expression([f"{function} {operands}", "t0"], given, dtype=dtype)


def checked_dtype(where: str, dtype: Any) -> str:
    name = np.dtype(dtype).name if isinstance(dtype, (type, np.dtype)) else str(dtype)
    name = {"float": "float32", "int": "int32", "int64": "int32"}.get(name, name)
    if name not in DTYPES:
        raise DTypeError(f"{where}: dtype must be one of {', '.join(DTYPES)}, got {dtype!r}")
    return name


def checked_axis(where: str, axis: Any, rank: int) -> int:
    """Non-negative."""
    if isinstance(axis, bool) or not isinstance(axis, (int, np.integer)):
        raise TypeError(f"{where}: axis must be an integer, got {axis!r}")
    if not -rank <= axis < rank:
        raise ValueError(f"{where}: axis must be in {-rank}..{rank - 1}, got {axis}")
    return int(axis) % rank


def checked_axes(where: str, axis: Any, rank: int) -> list[int]:
    """Of None (all), one or several; ascending."""
    if axis is None:
        return list(range(rank))
    axes = axis if isinstance(axis, (list, tuple)) else (axis,)
    found = sorted(checked_axis(where, a, rank) for a in axes)
    if len(set(found)) != len(found):
        raise ValueError(f"{where}: an axis is given twice: {axis!r}")
    return found
