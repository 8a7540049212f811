# SPDX-License-Identifier: Apache-2.0
"""Max, average and global average pooling. Padded pixels take no part: neither max nor count."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from .checks import Array, Pair, Shape, bad_argument, float64, integers, pair, rank, shape
from .window import Padding, Window, make_window

__all__ = [
    "avg_pool2d",
    "avg_pool2d_backward",
    "global_avg_pool2d",
    "global_avg_pool2d_backward",
    "max_pool2d",
    "max_pool2d_backward",
]


def _window(
    op: str, x_shape: Shape, pool_size: Pair, strides: Pair | None, padding: Padding
) -> Window:
    pool_size = pair(op, "pool_size", pool_size)
    size = (x_shape[1], x_shape[2])
    strides = pool_size if strides is None else strides
    window = make_window(op, size, pool_size, strides, padding, kernel_name="pool_size")
    for extent, pads in zip(pool_size, window.pads, strict=True):
        if max(pads) >= extent:  # some window would see padding only
            raise bad_argument(op, "padding", f"less than pool_size {pool_size}", padding)
    return window


def max_pool2d(
    x: ArrayLike, pool_size: Pair, strides: Pair | None = None, padding: Padding = "valid"
) -> Array:
    """Largest value of each window; NaN if it holds one. Shape: (N,H,W,C) -> (N,P,Q,C).

    strides default to pool_size, as in Keras, here and below.
    """
    x = float64(x)
    rank("max_pool2d", "x", x, "NHWC")
    window = _window("max_pool2d", x.shape, pool_size, strides, padding)
    y = np.full((x.shape[0], *window.output, x.shape[3]), -np.inf)
    for _, _, inputs, outputs in window.taps():
        y[outputs] = np.maximum(y[outputs], x[inputs])
    return y


def max_pool2d_backward(
    x: ArrayLike,
    dy: ArrayLike,
    pool_size: Pair,
    strides: Pair | None = None,
    padding: Padding = "valid",
) -> Array:
    """dy goes to the FIRST maximum in row-major window order, or to the first NaN if any.

    Shape: x (N,H,W,C), dy (N,P,Q,C) -> (N,H,W,C).
    """
    op = "max_pool2d_backward"
    x, dy = float64(x), float64(dy)
    rank(op, "x", x, "NHWC")
    window = _window(op, x.shape, pool_size, strides, padding)
    shape(op, "dy", dy.shape, (x.shape[0], *window.output, x.shape[3]))
    best = np.full(dy.shape, -np.inf)
    winner = np.full(dy.shape, -1)  # tap number r * S + s; -1 so that even -inf can win first
    S = window.kernel[1]
    for r, s, inputs, outputs in window.taps():
        here, so_far = x[inputs], best[outputs]
        wins = (winner[outputs] < 0) | (here > so_far) | (np.isnan(here) & ~np.isnan(so_far))
        best[outputs] = np.where(wins, here, so_far)
        winner[outputs] = np.where(wins, r * S + s, winner[outputs])
    dx = np.zeros(x.shape)
    for r, s, inputs, outputs in window.taps():
        dx[inputs] += np.where(winner[outputs] == r * S + s, dy[outputs], 0.0)
    return dx


def _counts(window: Window) -> Array:
    """Pixels inside the input under each window, shape (1, P, Q, 1)."""
    counts = np.zeros((1, *window.output, 1))
    for _, _, _, outputs in window.taps():
        counts[outputs] += 1
    return counts


def avg_pool2d(
    x: ArrayLike, pool_size: Pair, strides: Pair | None = None, padding: Padding = "valid"
) -> Array:
    """Mean over the pixels that are inside the input (Keras). Shape: (N,H,W,C) -> (N,P,Q,C)."""
    x = float64(x)
    rank("avg_pool2d", "x", x, "NHWC")
    window = _window("avg_pool2d", x.shape, pool_size, strides, padding)
    y = np.zeros((x.shape[0], *window.output, x.shape[3]))
    for _, _, inputs, outputs in window.taps():
        y[outputs] += x[inputs]
    return y / _counts(window)


def avg_pool2d_backward(
    dy: ArrayLike,
    x_shape: Shape,
    pool_size: Pair,
    strides: Pair | None = None,
    padding: Padding = "valid",
) -> Array:
    """Each window spreads dy evenly over its pixels. Shape: (N,P,Q,C) -> x_shape."""
    op = "avg_pool2d_backward"
    dy = float64(dy)
    x_shape = integers(op, "x_shape", x_shape, 4, 0)
    window = _window(op, x_shape, pool_size, strides, padding)
    shape(op, "dy", dy.shape, (x_shape[0], *window.output, x_shape[3]))
    share = dy / _counts(window)
    dx = np.zeros(x_shape)
    for _, _, inputs, outputs in window.taps():
        dx[inputs] += share[outputs]
    return dx


def global_avg_pool2d(x: ArrayLike) -> Array:
    """Mean over all pixels. Shape: (N,H,W,C) -> (N,C)."""
    x = float64(x)
    rank("global_avg_pool2d", "x", x, "NHWC")
    return np.asarray(x.mean(axis=(1, 2)))


def global_avg_pool2d_backward(dy: ArrayLike, x_shape: Shape) -> Array:
    """dx[n,h,w,c] = dy[n,c] / (H*W). Shape: (N,C) -> x_shape."""
    op = "global_avg_pool2d_backward"
    dy = float64(dy)
    N, H, W, C = integers(op, "x_shape", x_shape, 4, 0)
    shape(op, "dy", dy.shape, (N, C))
    return np.broadcast_to(dy[:, None, None, :] / (H * W), (N, H, W, C)).copy()
