# SPDX-License-Identifier: Apache-2.0
"""2D convolution (cross-correlation, as in every CNN framework): x[N,H,W,C], w[R,S,C/G,K].

y[n,p,q,k] = b[k] + sum over r,s,c of x[n, p*u + r*e - top, q*v + s*f - left, c] * w[r,s,c,k]
where k of group g sees only the C/G channels of group g. groups = C is a depthwise convolution.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from .checks import Array, Pair, Shape, bad_argument, float64, integer, integers, rank, shape
from .window import Padding, Window, make_window

__all__ = [
    "conv2d",
    "conv2d_backward_data",
    "conv2d_backward_weights",
]


def _window(
    op: str,
    x_shape: Shape,
    w_shape: Shape,
    strides: Pair,
    padding: Padding,
    dilation: Pair,
    groups: int,
) -> Window:
    G = integer(op, "groups", groups, 1)
    if x_shape[3] != w_shape[2] * G:
        raise bad_argument(
            op, "w", f"for {x_shape[3]} input channels", f"{w_shape[2]} x {G} groups"
        )
    if w_shape[3] % G:
        raise bad_argument(op, "w", f"of K divisible by {G} groups", f"K = {w_shape[3]}")
    size, kernel = (x_shape[1], x_shape[2]), (w_shape[0], w_shape[1])
    return make_window(op, size, kernel, strides, padding, dilation)


def _by_group(x: Array, groups: int) -> Array:
    return x.reshape(*x.shape[:-1], groups, x.shape[-1] // groups)


def conv2d(
    x: ArrayLike,
    w: ArrayLike,
    b: ArrayLike | None = None,
    strides: Pair = (1, 1),
    padding: Padding = "valid",
    dilation: Pair = (1, 1),
    groups: int = 1,
) -> Array:
    """Shape: x (N,H,W,C), w (R,S,C/G,K), b (K) -> (N,P,Q,K)."""
    x, w = float64(x), float64(w)
    rank("conv2d", "x", x, "NHWC")
    rank("conv2d", "w", w, "RSCK")
    window = _window("conv2d", x.shape, w.shape, strides, padding, dilation, groups)
    N, K = x.shape[0], w.shape[3]
    x, w = _by_group(x, groups), _by_group(w, groups)
    y = np.zeros((N, *window.output, groups, K // groups))
    for r, s, inputs, outputs in window.taps():
        y[outputs] += np.einsum("npqgc,cgk->npqgk", x[inputs], w[r, s])
    y = y.reshape(N, *window.output, K)
    if b is None:
        return y
    b = float64(b)
    shape("conv2d", "b", b.shape, (K,))
    return y + b


def conv2d_backward_data(
    dy: ArrayLike,
    w: ArrayLike,
    x_shape: Shape,
    strides: Pair = (1, 1),
    padding: Padding = "valid",
    dilation: Pair = (1, 1),
    groups: int = 1,
) -> Array:
    """dx: each tap sends dy back through w. Shape: dy (N,P,Q,K), w (R,S,C/G,K) -> x_shape."""
    op = "conv2d_backward_data"
    dy, w = float64(dy), float64(w)
    rank(op, "w", w, "RSCK")
    N, H, W, C = integers(op, "x_shape", x_shape, 4, 0)
    window = _window(op, (N, H, W, C), w.shape, strides, padding, dilation, groups)
    shape(op, "dy", dy.shape, (N, *window.output, w.shape[3]))
    dy, w = _by_group(dy, groups), _by_group(w, groups)
    dx = np.zeros((N, H, W, groups, C // groups))
    for r, s, inputs, outputs in window.taps():
        dx[inputs] += np.einsum("npqgk,cgk->npqgc", dy[outputs], w[r, s])
    return dx.reshape(N, H, W, C)


def conv2d_backward_weights(
    x: ArrayLike,
    dy: ArrayLike,
    w_shape: Shape,
    strides: Pair = (1, 1),
    padding: Padding = "valid",
    dilation: Pair = (1, 1),
    groups: int = 1,
) -> Array:
    """dw[r,s] correlates x at tap (r, s) with dy. Shape: x (N,H,W,C), dy (N,P,Q,K) -> w_shape."""
    op = "conv2d_backward_weights"
    x, dy = float64(x), float64(dy)
    rank(op, "x", x, "NHWC")
    R, S, C, K = integers(op, "w_shape", w_shape, 4, 1)
    window = _window(op, x.shape, (R, S, C, K), strides, padding, dilation, groups)
    shape(op, "dy", dy.shape, (x.shape[0], *window.output, K))
    x, dy = _by_group(x, groups), _by_group(dy, groups)
    dw = np.zeros((R, S, C, groups, K // groups))
    for r, s, inputs, outputs in window.taps():
        dw[r, s] = np.einsum("npqgc,npqgk->cgk", x[inputs], dy[outputs])
    return dw.reshape(R, S, C, K)
