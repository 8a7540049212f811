# SPDX-License-Identifier: Apache-2.0
"""Some of every axis, with steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .checks import Array, Shape, bad_argument, float64, integer, integers, shape

__all__ = [
    "slice",
    "slice_backward",
]


def _places(op: str, x_shape: Shape, start: Any, count: Any, steps: Any) -> tuple[Array, ...]:
    """The indices that are taken along each axis. A count of None is the whole axis."""
    rank = len(x_shape)
    start = integers(op, "start", start, rank, 0)
    if len(count) != rank or len(steps) not in {0, rank}:
        raise bad_argument(op, "count and steps", f"{rank} integers", (count, steps))
    places = []
    for axis, n in enumerate(x_shape):
        step = integer(op, "steps", steps[axis], -(2**31)) if len(steps) else 1
        taken = integer(op, "count", n if count[axis] is None else count[axis], 1, n)
        place = start[axis] + step * np.arange(taken)
        if step == 0 or place.min() < 0 or place.max() >= n:
            raise bad_argument(op, "start, count and step", f"in the {n} elements", place.tolist())
        places.append(place)
    return np.ix_(*places)


def slice(
    x: ArrayLike, start: Sequence[int], count: Sequence[int | None], steps: Sequence[int] = ()
) -> Array:
    """y[i, ...] = x[start[0] + i * steps[0], ...]; steps may be negative, () is all 1."""
    x = float64(x)
    return np.asarray(x[_places("slice", x.shape, start, count, steps)])


def slice_backward(
    dy: ArrayLike,
    x_shape: Shape,
    start: Sequence[int],
    count: Sequence[int | None],
    steps: Sequence[int] = (),
) -> Array:
    """dy in the places it was taken from, 0 in the others. Shape: count -> x_shape"""
    op = "slice_backward"
    dy, dx = float64(dy), np.zeros(x_shape)
    places = _places(op, x_shape, start, count, steps)
    shape(op, "dy", dy.shape, dx[places].shape)
    dx[places] = dy
    return dx
