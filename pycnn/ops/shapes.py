# SPDX-License-Identifier: Apache-2.0
"""Functions that move elements, under the names and with the arguments of keras.ops.

Where a tensor has a batch axis, it stays the first one, and whole: samples do not mix.
"""

from __future__ import annotations

import builtins
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..engine.traced import GraphTensor
from .core import (
    checked_axis,
    checked_dtype,
    dtype_of,
    expression,
    tensor,
    tensors,
)
from .dispatch import op

__all__ = [
    "broadcast_to", "cast", "concatenate", "convert_to_numpy", "convert_to_tensor",
    "expand_dims",
    "moveaxis", "ravel", "repeat", "reshape",
    "shape", "squeeze", "stack", "stop_gradient", "swapaxes", "tile",
    "transpose",
]  # fmt: skip


def _made(x: GraphTensor, value: int) -> GraphTensor:
    """The same kind of elements as x, elsewhere."""
    return GraphTensor(x.graph, value, x.boolean)


@op
def cast(x: Any, dtype: Any) -> Any:
    """To "float32", "int32" (cut off towards 0, saturated), "uint8" or "bool"."""
    wanted, x = checked_dtype("cast", dtype), tensor(x)
    if wanted == x.dtype:
        return x
    if wanted == "bool":
        return expression(["not_equal x0 0", "t0"], (x,), dtype="bool")
    if wanted == "float32" and x.boolean:
        return GraphTensor(x.graph, x.value)
    return expression(["x0"], (x,), dtype=wanted)


@op
def stop_gradient(variable: Any) -> Any:
    """The same values, as if they were constants: no gradient flows back."""
    x = tensor(variable)
    return _made(x, x.graph.core.stop_gradient(x.value, name=x.graph.name))


def as_floats(x: GraphTensor) -> GraphTensor:
    """For ops that move float32 only; as_before() undoes it."""
    return x if x.dtype in ("float32", "bool") else cast(x, "float32")


def as_before(y: GraphTensor, x: GraphTensor) -> GraphTensor:
    if x.boolean:
        return GraphTensor(y.graph, y.value, boolean=True)
    return y if x.dtype == y.dtype else cast(y, x.dtype)


@op
def reshape(x: Any, newshape: Sequence[int | None]) -> Any:
    """The same elements in the same order; -1 is what is left. The batch is -1 or None."""
    x = tensor(x)
    sizes = [newshape] if isinstance(newshape, (int, np.integer)) else list(newshape)
    wanted = [-1 if e is None else int(e) for e in sizes]
    kept: list[int | None] = [None] if x.shape[:1] == (None,) else []
    count = math.prod(e or 1 for e in x.shape[len(kept) :])
    rest = wanted[len(kept) :]
    if kept and (not wanted or wanted[0] != -1):
        raise ValueError(
            f"reshape: of {x.shape} the batch must stay first: (-1, ...), got {tuple(sizes)}"
        )
    if rest.count(-1) > 1 or builtins.any(e < -1 for e in rest):
        raise ValueError(f"reshape: at most one extent may be -1, got {tuple(sizes)}")
    known = math.prod(e for e in rest if e != -1)
    if -1 in rest and known and count % known == 0:
        rest[rest.index(-1)] = count // known
    if math.prod(rest) != count:
        raise ValueError(f"reshape: {x.shape} has not the elements of {tuple(sizes)}")
    made = [*kept, *rest]
    if tuple(made) == x.shape:
        return x
    if not made:  # which the core takes for "not given"
        return as_before(_scalar(x), x)
    return _made(x, x.graph.core.reshape(x.value, shape=made, name=x.graph.name))


def _scalar(x: GraphTensor) -> GraphTensor:
    value = x.graph.core.reduce([x.value], "max", name=x.graph.name)
    return GraphTensor(x.graph, value)


@op
def ravel(x: Any) -> Any:
    """All elements in one axis; those of each sample where there is a batch."""
    x = tensor(x)
    return reshape(x, (-1, -1)[: 1 + (x.shape[:1] == (None,))])


@op
def expand_dims(x: Any, axis: int | Sequence[int]) -> Any:
    """With an axis of 1 more, or several, at these places of the result."""
    x = tensor(x)
    places = axis if isinstance(axis, (list, tuple)) else [axis]
    rank = x.ndim + len(places)
    at = sorted(checked_axis("expand_dims", a, rank) for a in places)
    sizes = list(x.shape)
    for place in at:
        sizes.insert(place, 1)
    if x.shape[:1] == (None,) and sizes[0] is not None:
        raise ValueError("expand_dims: the batch must stay the first axis")
    return reshape(x, sizes)


@op
def squeeze(x: Any, axis: int | Sequence[int] | None = None) -> Any:
    """Without axes of 1: all of them, or these."""
    x = tensor(x)
    if axis is None:
        places = [i for i, e in enumerate(x.shape) if e == 1]
    else:
        given = axis if isinstance(axis, (list, tuple)) else [axis]
        places = [checked_axis("squeeze", a, x.ndim) for a in given]
    for place in places:
        if x.shape[place] != 1:
            raise ValueError(f"squeeze: axis {place} of {x.shape} is not 1")
    return reshape(x, [e for i, e in enumerate(x.shape) if i not in places])


@op
def transpose(x: Any, axes: Sequence[int] | None = None) -> Any:
    """With axis axes[i] of x as axis i; reversed by default."""
    x = tensor(x)
    order = list(range(x.ndim))[::-1] if axes is None else list(axes)
    order = [checked_axis("transpose", a, x.ndim) for a in order]
    if order == list(range(x.ndim)):
        return x
    return _made(x, x.graph.core.transpose(x.value, order, name=x.graph.name))


@op
def swapaxes(x: Any, axis1: int, axis2: int) -> Any:
    """With two axes in each other's place."""
    x = tensor(x)
    order = list(range(x.ndim))
    a, b = (checked_axis("swapaxes", axis, x.ndim) for axis in (axis1, axis2))
    order[a], order[b] = b, a
    return transpose(x, order)


@op
def moveaxis(x: Any, source: int, destination: int) -> Any:
    """With one axis at another place."""
    x = tensor(x)
    order = list(range(x.ndim))
    axis = order.pop(checked_axis("moveaxis", source, x.ndim))
    order.insert(checked_axis("moveaxis", destination, x.ndim), axis)
    return transpose(x, order)


@op
def broadcast_to(x: Any, shape: Sequence[int | None]) -> Any:
    """Repeated to this shape, by NumPy's rules."""
    x = tensor(x)
    return as_before(expression(["x0"], (x,), shape=shape), x)


@op
def concatenate(xs: Sequence[Any], axis: int = 0) -> Any:
    """One behind the other along an axis."""
    parts = tensors(xs)
    if len(parts) == 1:
        return parts[0]
    place = checked_axis("concatenate", axis, parts[0].ndim)
    mixed = len({x.dtype for x in parts}) > 1 or parts[0].dtype == "uint8"
    ready = [cast(x, "float32") if mixed else x for x in parts]
    graph = ready[0].graph
    value = graph.core.concatenate([x.value for x in ready], axis=place, name=graph.name)
    y = GraphTensor(graph, value)
    return y if mixed else as_before(y, parts[0])


@op
def stack(x: Sequence[Any], axis: int = 0) -> Any:
    """One behind the other along a new axis."""
    parts = tensors(x)
    place = checked_axis("stack", axis, parts[0].ndim + 1)
    return concatenate([expand_dims(part, place) for part in parts], place)


@op
def repeat(x: Any, repeats: int, axis: int | None = None) -> Any:
    """Each element several times in a row."""
    x = tensor(x)
    if axis is None:
        x, axis = reshape(x, (-1,)), 0
    place = checked_axis("repeat", axis, x.ndim)
    if x.shape[place] is None:
        raise ValueError("repeat: not along the batch")
    wide = list(x.shape)
    wide.insert(place + 1, int(repeats))
    y = broadcast_to(expand_dims(x, place + 1), wide)
    sizes = list(x.shape)
    sizes[place] = (x.shape[place] or 0) * int(repeats)
    return reshape(y, sizes)


@op
def tile(x: Any, repeats: int | Sequence[int]) -> Any:
    """The whole several times, one behind the other along each axis."""
    x = tensor(x)
    times = [repeats] if isinstance(repeats, (int, np.integer)) else list(repeats)
    times = [1] * (x.ndim - len(times)) + [int(t) for t in times]
    if len(times) > x.ndim:
        x = expand_dims(x, list(range(len(times) - x.ndim)))
    for axis, count in enumerate(times):
        if count > 1:
            x = concatenate([x] * count, axis)
    return x


# --- what is known without computing --------------------------------------------------------------


def shape(x: Any) -> tuple[int | None, ...]:
    """The extents; None is the batch of a tensor."""
    return tuple(x.shape)


@op
def convert_to_tensor(x: Any, dtype: Any = None) -> Any:
    """x as a tensor or, of arrays, as an array of the core."""
    return cast(tensor(x), dtype or dtype_of(x))


def convert_to_numpy(x: Any) -> Any:
    """An array or a weight as an array of NumPy."""
    return np.asarray(x)
