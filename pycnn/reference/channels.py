# SPDX-License-Identifier: Apache-2.0
"""concatenate, and ops that move channels, the last axis."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from .checks import Array, Shape, bad_argument, float64, integer, shape

__all__ = [
    "concatenate",
    "slice_channels",
    "slice_channels_backward",
]


def concatenate(inputs: Sequence[ArrayLike], axis: int = -1) -> Array:
    """One input behind the other along the axis. Shape: (..., sum of C_i) for the last one"""
    op = "concatenate"
    arrays = [float64(x) for x in inputs]
    if len(arrays) < 2 or min(x.ndim for x in arrays) < 2:
        raise bad_argument(op, "inputs", "2 or more arrays of rank >= 2", [a.shape for a in arrays])
    rank = arrays[0].ndim
    if axis % rank == 0:
        raise bad_argument(op, "axis", "another one than that of the batch", axis)
    axis = integer(op, "axis", axis, -rank, rank - 1) % rank
    for i, x in enumerate(arrays):
        like = (*arrays[0].shape[:axis], *x.shape[axis : axis + 1], *arrays[0].shape[axis + 1 :])
        shape(op, f"inputs[{i}]", x.shape, like)
    return np.concatenate(arrays, axis=axis)


def _slice(op: str, channels: int, first: int, count: int) -> slice:
    first = integer(op, "first", first, 0, channels - 1)
    return slice(first, first + integer(op, "count", count, 1, channels - first))


def slice_channels(x: ArrayLike, first: int, count: int) -> Array:
    """y[..., c] = x[..., first + c]. Shape: (..., C) -> (..., count)"""
    x = float64(x)
    return x[..., _slice("slice_channels", x.shape[-1], first, count)].copy()


def slice_channels_backward(dy: ArrayLike, x_shape: Shape, first: int, count: int) -> Array:
    """dy in the channels it was taken from, 0 in the others. Shape: (..., count) -> x_shape"""
    op = "slice_channels_backward"
    dy, dx = float64(dy), np.zeros(x_shape)
    channels = _slice(op, x_shape[-1], first, count)
    shape(op, "dy", dy.shape, (*x_shape[:-1], count))
    dx[..., channels] = dy
    return dx
