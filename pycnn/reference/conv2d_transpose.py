# SPDX-License-Identifier: Apache-2.0
"""Transposed convolution: every pixel of x[N,P,Q,C] adds its multiple of w[R,S,K,C] to the image.

full[n, p*u + r*e, q*v + s*f, k] += sum over c of x[n,p,q,c] * w[r,s,k,c]
and y[N,H,W,K] is a window of `full`, zero where no pixel reaches. Sizes are those of Keras 3.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .checks import Array, Pair, Shape, bad_argument, float64, integers, pair, rank, shape
from .window import Padding

__all__ = [
    "conv2d_transpose",
    "conv2d_transpose_backward_data",
    "conv2d_transpose_backward_weights",
]


class _Axis(NamedTuple):
    size: int  # of the output
    begin: int  # of the output in `full`, which has `reach` rows
    reach: int


class _Image(NamedTuple):
    """Where the taps of all pixels lie."""

    x_size: Pair
    kernel: Pair
    strides: Pair
    dilation: Pair
    axes: tuple[_Axis, _Axis]

    @property
    def full(self) -> Pair:
        """Large enough for the windows and for the output."""
        h, w = (max(a.reach, a.begin + a.size) for a in self.axes)
        return h, w

    @property
    def crop(self) -> tuple[slice, ...]:
        """The output in `full`."""
        return (slice(None), *(slice(a.begin, a.begin + a.size) for a in self.axes))

    def taps(self) -> Iterator[tuple[int, int, tuple[slice, ...]]]:
        """(r, s, the pixels of `full` that tap (r, s) of x's pixels adds to)"""
        for r in range(self.kernel[0]):
            for s in range(self.kernel[1]):
                yield r, s, (slice(None), self._pixels(0, r), self._pixels(1, s))

    def _pixels(self, axis: int, tap: int) -> slice:
        start, stride = tap * self.dilation[axis], self.strides[axis]
        return slice(start, start + (self.x_size[axis] - 1) * stride + 1, stride)


def _axis(
    mode: object, pads: Pair, size: int, extent: int, stride: int, extra: int | None
) -> _Axis:
    reach = (size - 1) * stride + extent
    if mode == "valid":
        return _Axis(max(reach, size * stride) if extra is None else reach + extra, 0, reach)
    if mode == "same" and extra is None:
        return _Axis(size * stride, max(extent - stride, 0) // 2, reach)
    if mode == "same":
        last = extent % 2 + (extra or 0)  # Keras: pixels from the last window's first one on
        before = min(-(-(extent + last - 2) // 2), extent - 1)
        return _Axis((size - 1) * stride + last, extent - 1 - before, reach)
    return _Axis(reach - sum(pads) + (extra or 0), pads[0], reach)


def _image(
    op: str,
    x_size: Pair,
    kernel: Pair,
    strides: object,
    padding: Padding,
    output_padding: object,
    dilation: object,
) -> _Image:
    strides, dilation = pair(op, "strides", strides), pair(op, "dilation", dilation)
    extra: tuple[int | None, int | None] = (None, None)
    if output_padding is not None:
        given = pair(op, "output_padding", output_padding, 0)
        if given[0] >= strides[0] or given[1] >= strides[1]:
            raise bad_argument(op, "output_padding", f"less than strides {strides}", given)
        extra = given
    pads = (0, 0, 0, 0)
    if not isinstance(padding, str):
        top, bottom, left, right = integers(op, "padding", padding, 4, 0)
        pads = (top, bottom, left, right)
    elif padding not in ("valid", "same"):
        raise bad_argument(op, "padding", '"valid", "same" or four integers', padding)
    extent = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    h, w = (
        _axis(padding, (pads[2 * i], pads[2 * i + 1]), x_size[i], extent[i], strides[i], extra[i])
        for i in (0, 1)
    )
    if min(h.size, w.size) < 1:
        raise bad_argument(op, "padding", "smaller than the output", padding)
    return _Image(x_size, kernel, strides, dilation, (h, w))


def conv2d_transpose(
    x: ArrayLike,
    w: ArrayLike,
    b: ArrayLike | None = None,
    strides: Pair = (1, 1),
    padding: Padding = "valid",
    output_padding: Pair | None = None,
    dilation: Pair = (1, 1),
) -> Array:
    """Shape: x (N,P,Q,C), w (R,S,K,C), b (K) -> (N,H,W,K)."""
    op = "conv2d_transpose"
    x, w = float64(x), float64(w)
    rank(op, "x", x, "NPQC")
    rank(op, "w", w, "RSKC")
    shape(op, "w", w.shape[3:], x.shape[3:])
    size, kernel = (x.shape[1], x.shape[2]), (w.shape[0], w.shape[1])
    image = _image(op, size, kernel, strides, padding, output_padding, dilation)
    full = np.zeros((x.shape[0], *image.full, w.shape[2]))
    for r, s, pixels in image.taps():
        full[pixels] += np.einsum("npqc,kc->npqk", x, w[r, s])
    if b is None:
        return full[image.crop]
    b = float64(b)
    shape(op, "b", b.shape, (w.shape[2],))
    return np.asarray(full[image.crop] + b)


def conv2d_transpose_backward_data(
    dy: ArrayLike,
    w: ArrayLike,
    x_shape: Shape,
    strides: Pair = (1, 1),
    padding: Padding = "valid",
    output_padding: Pair | None = None,
    dilation: Pair = (1, 1),
) -> Array:
    """Each pixel gathers what it gave. Shape: dy (N,H,W,K), w (R,S,K,C) -> x_shape (N,P,Q,C)."""
    op = "conv2d_transpose_backward_data"
    dy, w = float64(dy), float64(w)
    rank(op, "w", w, "RSKC")
    N, P, Q, C = integers(op, "x_shape", x_shape, 4, 1)
    kernel = (w.shape[0], w.shape[1])
    image = _image(op, (P, Q), kernel, strides, padding, output_padding, dilation)
    full = _uncropped(op, dy, image)
    dx = np.zeros((N, P, Q, C))
    for r, s, pixels in image.taps():
        dx += np.einsum("npqk,kc->npqc", full[pixels], w[r, s])
    return dx


def conv2d_transpose_backward_weights(
    x: ArrayLike,
    dy: ArrayLike,
    w_shape: Shape,
    strides: Pair = (1, 1),
    padding: Padding = "valid",
    output_padding: Pair | None = None,
    dilation: Pair = (1, 1),
) -> Array:
    """dw[r,s] pairs x with dy at tap (r, s). Shape: x (N,P,Q,C), dy (N,H,W,K) -> w_shape."""
    op = "conv2d_transpose_backward_weights"
    x, dy = float64(x), float64(dy)
    rank(op, "x", x, "NPQC")
    R, S, K, C = integers(op, "w_shape", w_shape, 4, 1)
    size = (x.shape[1], x.shape[2])
    image = _image(op, size, (R, S), strides, padding, output_padding, dilation)
    full = _uncropped(op, dy, image)
    dw = np.zeros((R, S, K, C))
    for r, s, pixels in image.taps():
        dw[r, s] = np.einsum("npqk,npqc->kc", full[pixels], x)
    return dw


def _uncropped(op: str, dy: Array, image: _Image) -> Array:
    """dy at its place in `full`, zero around it."""
    rank(op, "dy", dy, "NHWK")
    shape(op, "dy", dy.shape[1:3], tuple(axis.size for axis in image.axes))
    full = np.zeros((dy.shape[0], *image.full, dy.shape[3]))
    full[image.crop] = dy
    return full
