# SPDX-License-Identifier: Apache-2.0
"""What lies at indices along one axis: rows of a table, as embeddings are."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .checks import Array, Shape, float64, integer, shape

__all__ = [
    "gather",
    "gather_backward",
]


def gather(x: ArrayLike, indices: ArrayLike, axis: int = 0) -> Array:
    """np.take, with NaN where an index is outside of the axis; -1 is not the last element.

    Shape: x.shape[:axis] + indices.shape + x.shape[axis+1:]
    """
    x, indices = float64(x), np.asarray(indices)
    axis = integer("gather", "axis", axis, -x.ndim, x.ndim - 1) % x.ndim
    inside = (indices >= 0) & (indices < x.shape[axis])
    y = np.take(x, np.where(inside, indices, 0), axis=axis)
    y[(slice(None),) * axis + (~inside,)] = np.nan
    return y


def gather_backward(dy: ArrayLike, indices: ArrayLike, x_shape: Shape, axis: int = 0) -> Array:
    """dy summed over the places that each element went to. Shape: that of y -> x_shape"""
    op = "gather_backward"
    dy, indices, dx = float64(dy), np.asarray(indices), np.zeros(x_shape)
    axis = integer(op, "axis", axis, -dx.ndim, dx.ndim - 1) % dx.ndim
    shape(op, "dy", dy.shape, (*x_shape[:axis], *indices.shape, *x_shape[axis + 1 :]))
    inside = (indices >= 0) & (indices < x_shape[axis])
    before: tuple[Any, ...] = (slice(None),) * axis
    np.add.at(dx, (*before, indices[inside]), dy[(*before, inside)])
    return dx
