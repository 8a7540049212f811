# SPDX-License-Identifier: Apache-2.0
"""Functions that take, cut and move parts of tensors, under the names of keras.ops.

Where a tensor has a batch axis, it stays the first one, and whole: samples do not mix.
"""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from ..engine.traced import GraphTensor, as_tensor
from .core import INTEGERS, checked_axis, expression, tensor
from .dispatch import op
from .shapes import as_before, as_floats, cast, concatenate, reshape, squeeze

__all__ = [
    "cumsum", "flip", "get_item", "pad", "roll", "slice", "split", "take", "unstack",
]  # fmt: skip


def _box(x: GraphTensor, ranges: Sequence[tuple[int, int, int]]) -> GraphTensor:
    """first, count and step of each axis; of the batch they are ignored."""
    batch = x.shape[:1] == (None,)
    start = [0 if batch and i == 0 else r[0] for i, r in enumerate(ranges)]
    count = [None if batch and i == 0 else r[1] for i, r in enumerate(ranges)]
    steps = [1 if batch and i == 0 else r[2] for i, r in enumerate(ranges)]
    if count == list(x.shape) and builtins.all(s == 1 for s in steps):
        return x
    floats = as_floats(x) if x.dtype == "uint8" else x
    made = x.graph.core.slice(floats.value, start, count=count, steps=steps, name=x.graph.name)
    return as_before(GraphTensor(x.graph, made), x)


def _whole(x: GraphTensor) -> list[tuple[int, int, int]]:
    return [(0, e or 0, 1) for e in x.shape]


@op
def get_item(x: Any, key: Any) -> Any:
    """x[key]: integers, slices with steps, None and ..., as NumPy has them."""
    x = tensor(x)
    keys = list(key) if isinstance(key, tuple) else [key]
    named = len([k for k in keys if k is not None and k is not Ellipsis])
    if named > x.ndim or keys.count(Ellipsis) > 1:
        raise IndexError(f"get_item: {len(keys)} indices for {x.shape}")
    at = keys.index(Ellipsis) if Ellipsis in keys else len(keys)
    keys[at : at + 1] = [builtins.slice(None)] * (x.ndim - named)
    ranges: list[tuple[int, int, int]] = []
    sizes: list[int | None] = []
    axis = 0
    for k in keys:
        if k is None:
            sizes.append(1)
            continue
        extent = x.shape[axis]
        first, count, step = _range_of(k, extent, axis)
        ranges.append((first, count, step))
        if isinstance(k, builtins.slice):
            sizes.append(None if extent is None else count)
        axis += 1
    y = _box(x, ranges)
    if x.shape[:1] == (None,) and sizes[:1] != [None]:
        raise IndexError("get_item: the batch must stay the first axis")
    return reshape(y, sizes)


def _range_of(key: Any, extent: int | None, axis: int) -> tuple[int, int, int]:
    if extent is None:
        if key == builtins.slice(None):
            return 0, 0, 1
        raise IndexError(f"get_item: axis {axis} is the batch: take all of it, x[:, ...]")
    if isinstance(key, builtins.slice):
        places = range(*key.indices(extent))
        if not places:
            raise IndexError(f"get_item: {key} takes nothing of {extent} elements")
        return places.start, len(places), places.step
    if isinstance(key, bool) or not isinstance(key, (int, np.integer)):
        raise IndexError(f"get_item: expected integers, slices, None or ..., got {key!r}")
    if not -extent <= key < extent:
        raise IndexError(f"get_item: index {key} is beyond the {extent} elements of axis {axis}")
    return int(key) % extent, 1, 1


@op
def slice(inputs: Any, start_indices: Sequence[int], shape: Sequence[int]) -> Any:
    """A box of this shape from these places on; of the batch all."""
    x = tensor(inputs)
    if not len(start_indices) == len(shape) == x.ndim:
        raise ValueError(f"slice: expected {x.ndim} starts and extents")
    return _box(x, [(int(s), int(n), 1) for s, n in zip(start_indices, shape, strict=True)])


@op
def flip(x: Any, axis: int | Sequence[int] | None = None) -> Any:
    """Backwards along axes; along all but the batch by default."""
    x = tensor(x)
    if axis is None:
        places = [i for i, e in enumerate(x.shape) if e is not None]
    else:
        given = axis if isinstance(axis, (list, tuple)) else [axis]
        places = [checked_axis("flip", a, x.ndim) for a in given]
    if builtins.any(x.shape[place] is None for place in places):
        raise ValueError("flip: not along the batch")
    ranges = _whole(x)
    for place in places:
        extent = ranges[place][1]
        ranges[place] = (extent - 1, extent, -1)
    return _box(x, ranges)


@op
def split(x: Any, indices_or_sections: int | Sequence[int], axis: int = 0) -> Any:
    """Equal parts, or parts that begin at these indices."""
    x = tensor(x)
    place = checked_axis("split", axis, x.ndim)
    extent = x.shape[place]
    if extent is None:
        raise ValueError("split: not along the batch")
    if isinstance(indices_or_sections, (int, np.integer)):
        parts = int(indices_or_sections)
        if parts < 1 or extent % parts:
            raise ValueError(f"split: {extent} elements do not make {parts} equal parts")
        cuts = [extent // parts * i for i in range(parts + 1)]
    else:
        cuts = [0, *(int(i) for i in indices_or_sections), extent]
    results = []
    for first, last in pairwise(cuts):
        ranges = _whole(x)
        ranges[place] = (first, last - first, 1)
        results.append(_box(x, ranges))
    return results


@op
def unstack(x: Any, num: int | None = None, axis: int = 0) -> Any:
    """The parts along an axis, without it."""
    x = tensor(x)
    place = checked_axis("unstack", axis, x.ndim)
    extent = x.shape[place]
    if extent is None or num not in (None, extent):
        raise ValueError(f"unstack: axis {axis} of {x.shape} has not {num} parts")
    return [squeeze(part, place) for part in split(x, extent, place)]


@op
def pad(
    x: Any, pad_width: Any, mode: str = "constant", constant_values: float | None = None
) -> Any:
    """More elements around: pad_width is n, (before, after), or that for each axis.

    Args:
        mode: "constant", "reflect" or "symmetric", as np.pad.
    """
    x = tensor(x)
    pairs = np.broadcast_to(np.asarray(pad_width), (x.ndim, 2))
    widths = [int(w) for pair in pairs for w in pair]
    value = float(constant_values or 0)
    made = x.graph.core.pad(as_floats(x).value, widths, mode=mode, value=value, name=x.graph.name)
    return as_before(GraphTensor(x.graph, made), x)


@op
def take(x: Any, indices: Any, axis: int | None = None) -> Any:
    """What lies at the indices along an axis; negative ones count from the end. NaN where there
    is nothing.
    """
    x = tensor(x)
    if axis is None:
        x, axis = reshape(x, (-1,)), 0
    place = checked_axis("take", axis, x.ndim)
    lines = ["less x0 0", "add x0 x1", "where t0 t1 x0", "t2"]
    at = expression(lines, (as_tensor(x.graph, indices), x.shape[place] or 0), dtype="int32")
    floats = as_floats(x) if x.dtype == "uint8" else x
    made = x.graph.core.gather(floats.value, at.value, axis=place, name=x.graph.name)
    return as_before(GraphTensor(x.graph, made), x)


@op
def roll(x: Any, shift: int, axis: int) -> Any:
    """Moved along an axis; what leaves at one end comes in at the other."""
    x = tensor(x)
    place = checked_axis("roll", axis, x.ndim)
    extent = x.shape[place]
    if extent is None:
        raise ValueError("roll: not along the batch")
    cut = -int(shift) % extent
    return x if cut == 0 else concatenate(split(x, [cut], place)[::-1], place)


@op
def cumsum(x: Any, axis: int | None = None) -> Any:
    """The sums of the first elements along an axis."""
    x = tensor(x)
    if axis is None:
        x, axis = reshape(x, (-1,)), 0
    place = checked_axis("cumsum", axis, x.ndim)
    extent = x.shape[place]
    if extent is None:
        raise ValueError("cumsum: not along the batch")
    step, total = 1, x
    while step < extent:  # doubles what is summed up (Hillis and Steele 1986)
        widths = [(0, 0)] * x.ndim
        widths[place] = (step, 0)
        ranges = _whole(x)
        ranges[place] = (0, extent, 1)
        before = _box(pad(total, widths), ranges)
        total = expression(["add x0 x1", "t0"], (total, before))
        step *= 2
    return cast(total, "int32") if x.dtype in INTEGERS else total
