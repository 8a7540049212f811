# SPDX-License-Identifier: Apache-2.0
"""Softmax over the last axis, and its gradient, which reads the OUTPUT y."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from .checks import Array, bad_argument, float64, shape

__all__ = [
    "softmax",
    "softmax_backward",
]


def _last_axis(op: str, argument: str, x: Array) -> None:
    if x.ndim < 1 or x.shape[-1] < 1:
        raise bad_argument(op, argument, "of rank >= 1 with a last axis >= 1", x.shape)


def softmax(x: ArrayLike) -> Array:
    """exp(x) / sum(exp(x)) over the last axis, shifted by its maximum so that nothing overflows."""
    x = float64(x)
    _last_axis("softmax", "x", x)
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return np.asarray(e / e.sum(axis=-1, keepdims=True))


def softmax_backward(y: ArrayLike, dy: ArrayLike) -> Array:
    """dx = y * (dy - sum(y * dy)) over the last axis, from the output y."""
    y, dy = float64(y), float64(dy)
    _last_axis("softmax_backward", "y", y)
    shape("softmax_backward", "dy", dy.shape, y.shape)
    return np.asarray(y * (dy - (y * dy).sum(axis=-1, keepdims=True)))
