# SPDX-License-Identifier: Apache-2.0
"""Functions over axes, under the names and with the arguments of keras.ops.

Sums take a fixed order given by the shape alone: the same bits for any number of threads.
"""

from __future__ import annotations

import math
from typing import Any

from ..engine.traced import GraphTensor
from .core import INTEGERS, checked_axes, checked_axis, expression, tensor
from .dispatch import op
from .elementwise import sqrt, subtract
from .shapes import cast, reshape

__all__ = [
    "all", "amax", "amin", "any", "argmax", "argmin", "average", "count_nonzero", "logsumexp",
    "max", "mean", "min", "norm", "std", "sum", "var",
]  # fmt: skip

Axis = int | tuple[int, ...] | list[int] | None


def _fold(kind: str, x: Any, axis: Axis, keepdims: bool, *lines: str) -> GraphTensor:
    x = tensor(x)
    axes = checked_axes(kind, axis, x.ndim)
    made = x.graph.core.reduce(
        [x.value],
        kind,
        axes=axes,
        keepdims=bool(keepdims),
        expression=[*lines, f"t{len(lines) - 1}"] if lines else ["x0"],
        name=x.graph.name,
    )
    return GraphTensor(x.graph, made)


def _whole(x: Any, y: GraphTensor) -> GraphTensor:
    """Sums and extremes of whole numbers are whole."""
    return cast(y, "int32") if tensor(x).dtype in INTEGERS else y


@op
def sum(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """The sum over axes; over all by default."""
    return _whole(x, _fold("sum", x, axis, keepdims))


@op
def mean(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """The mean over axes."""
    return _fold("mean", x, axis, keepdims)


@op
def max(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """The largest one over axes; NaN where there is one. Equal ones share the gradient."""
    return _whole(x, _fold("max", x, axis, keepdims))


@op
def min(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """The smallest one over axes; NaN where there is one."""
    return _whole(x, _fold("min", x, axis, keepdims))


amax, amin = max, min


@op
def any(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """Whether one of them is true: anything but 0 is."""
    y = _fold("max", x, axis, keepdims, "not_equal x0 0")
    return GraphTensor(y.graph, y.value, boolean=True)


@op
def all(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """Whether all of them are true."""
    y = _fold("min", x, axis, keepdims, "not_equal x0 0")
    return GraphTensor(y.graph, y.value, boolean=True)


@op
def count_nonzero(x: Any, axis: Axis = None) -> Any:
    """How many are not 0."""
    return cast(_fold("sum", x, axis, False, "not_equal x0 0"), "int32")


@op
def var(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """The mean square of the distance from the mean."""
    away = subtract(x, _fold("mean", x, axis, True))
    return _fold("mean", away, axis, keepdims, "square x0")


@op
def std(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """The square root of var."""
    return sqrt(var(x, axis, keepdims))


@op
def average(x: Any, axis: Axis = None, weights: Any = None) -> Any:
    """sum(x * weights) / sum(weights), the mean without weights."""
    if weights is None:
        return _fold("mean", x, axis, False)
    lines = ["multiply x0 x1", "t0"]
    weighted = expression(lines, (x, weights))
    shares = expression(["x1"], (x, weights), shape=weighted.shape)
    total = _fold("sum", shares, axis, False)
    return expression(["divide x0 x1", "t0"], (_fold("sum", weighted, axis, False), total))


@op
def logsumexp(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """log(sum(exp(x))) without overflow."""
    top = _fold("max", x, axis, True)
    top = expression(["isfinite x0", "where t0 x0 0", "t1"], (top,))
    top = GraphTensor(top.graph, top.graph.core.stop_gradient(top.value))
    total = _fold("sum", subtract(x, top), axis, True, "exp x0")
    y = expression(["log x0", "add t0 x1", "t1"], (total, top))
    if keepdims:
        return y
    axes = checked_axes("logsumexp", axis, y.ndim)
    return reshape(y, _without(y.shape, axes))


def _without(shape: tuple[int | None, ...], axes: list[int]) -> tuple[int, ...]:
    """For reshape: the batch is -1."""
    kept = [e for i, e in enumerate(shape) if i not in axes]
    return tuple(-1 if e is None else e for e in kept)


@op
def norm(x: Any, ord: Any = None, axis: Axis = None, keepdims: bool = False) -> Any:
    """The norm of vectors: ord None or 2, 1, math.inf, or "fro" of all elements."""
    if ord in (None, 2, "fro", "euclidean"):
        return sqrt(_fold("sum", x, axis, keepdims, "square x0"))
    if ord == 1:
        return _fold("sum", x, axis, keepdims, "absolute x0")
    if ord == math.inf:
        return _fold("max", x, axis, keepdims, "absolute x0")
    raise ValueError(f"norm: ord must be None, 1, 2, inf or 'fro', got {ord!r}")


def _find(kind: str, x: Any, axis: int | None, keepdims: bool) -> Any:
    x = tensor(x)
    if axis is None:
        if None in x.shape:
            raise ValueError(f"{kind}: over all axes of {x.shape} would mix samples; give an axis")
        x = reshape(x, (math.prod(e or 1 for e in x.shape),))
        axis, keepdims = 0, False
    place = checked_axis(kind, axis, x.ndim)
    made = x.graph.core.reduce(
        [x.value], kind, axes=[place], keepdims=bool(keepdims), name=x.graph.name
    )
    return GraphTensor(x.graph, made)


@op
def argmax(x: Any, axis: int | None = None, keepdims: bool = False) -> Any:
    """The first place of the largest one, int32; over all elements by default."""
    return _find("arg_max", x, axis, keepdims)


@op
def argmin(x: Any, axis: int | None = None, keepdims: bool = False) -> Any:
    """The first place of the smallest one, int32."""
    return _find("arg_min", x, axis, keepdims)
