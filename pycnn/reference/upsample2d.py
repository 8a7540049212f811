# SPDX-License-Identifier: Apache-2.0
"""Nearest-neighbour enlargement: whole blocks of equal pixels."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from .checks import Array, Pair, bad_argument, float64, pair, rank

__all__ = [
    "upsample2d",
    "upsample2d_backward",
]


def upsample2d(x: ArrayLike, size: Pair) -> Array:
    """Every pixel as a block of `size` equal ones. Shape: (N,H,W,C) -> (N,H*size[0],W*size[1],C)"""
    x = float64(x)
    rank("upsample2d", "x", x, "NHWC")
    rows, columns = pair("upsample2d", "size", size)
    return x.repeat(rows, axis=1).repeat(columns, axis=2)


def upsample2d_backward(dy: ArrayLike, size: Pair) -> Array:
    """The sum over each block. Shape: (N,H*size[0],W*size[1],C) -> (N,H,W,C)"""
    op = "upsample2d_backward"
    dy = float64(dy)
    rank(op, "dy", dy, "NHWC")
    rows, columns = pair(op, "size", size)
    N, P, Q, C = dy.shape
    if P % rows or Q % columns:
        raise bad_argument(op, "dy", f"of whole blocks {size}", dy.shape)
    return np.asarray(dy.reshape(N, P // rows, rows, Q // columns, columns, C).sum(axis=(2, 4)))
