# SPDX-License-Identifier: Apache-2.0
"""Dense (fully connected) layers over the last axis.

y[..., k] = b[k] + sum over c of x[..., c] * w[c, k]
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from .checks import Array, bad_argument, float64, rank, shape

__all__ = [
    "bias_backward",
    "dense",
    "dense_backward_data",
    "dense_backward_weights",
]


def _last_axis(op: str, argument: str, x: Array) -> None:
    if x.ndim < 1:
        raise bad_argument(op, argument, "of rank >= 1", x.shape)


def _rows(x: Array) -> Array:
    """(..., C) -> (rows, C), also when there are no rows."""
    return x.reshape(math.prod(x.shape[:-1]), x.shape[-1])


def dense(x: ArrayLike, w: ArrayLike, b: ArrayLike | None = None) -> Array:
    """Shape: x (..., C), w (C, K), b (K) -> (..., K)."""
    x, w = float64(x), float64(w)
    _last_axis("dense", "x", x)
    rank("dense", "w", w, "CK")
    shape("dense", "w", w.shape, (x.shape[-1], w.shape[1]))
    y = x @ w
    if b is None:
        return y
    b = float64(b)
    shape("dense", "b", b.shape, (w.shape[1],))
    return y + b


def dense_backward_data(dy: ArrayLike, w: ArrayLike) -> Array:
    """dx = dy w^T. Shape: dy (..., K), w (C, K) -> (..., C)."""
    dy, w = float64(dy), float64(w)
    _last_axis("dense_backward_data", "dy", dy)
    rank("dense_backward_data", "w", w, "CK")
    shape("dense_backward_data", "w", w.shape, (w.shape[0], dy.shape[-1]))
    return dy @ w.T


def dense_backward_weights(x: ArrayLike, dy: ArrayLike) -> Array:
    """dw = x^T dy, summed over all rows. Shape: x (..., C), dy (..., K) -> (C, K)."""
    x, dy = float64(x), float64(dy)
    _last_axis("dense_backward_weights", "x", x)
    _last_axis("dense_backward_weights", "dy", dy)
    shape("dense_backward_weights", "dy", dy.shape, (*x.shape[:-1], dy.shape[-1]))
    return _rows(x).T @ _rows(dy)


def bias_backward(dy: ArrayLike) -> Array:
    """db[k], the sum of dy[..., k]. Shape: (..., K) -> (K,)."""
    dy = float64(dy)
    _last_axis("bias_backward", "dy", dy)
    return np.asarray(_rows(dy).sum(axis=0))
