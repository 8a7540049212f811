# SPDX-License-Identifier: Apache-2.0
"""Sliding windows: the geometry that convolutions and pools share.

Output (p, q) reads input (p*u + r*e - top, q*v + s*f - left) at tap (r, s), with strides (u, v)
and dilation (e, f). A tap outside the input is dropped here; the engine may multiply it by zero
instead, which differs only for weights that are infinite or NaN.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from .checks import Pair, bad_argument, integers, pair

__all__ = [
    "conv_padding",
]

Pads = tuple[Pair, Pair]
Padding = str | tuple[int, int, int, int]
Tap = tuple[int, int, tuple[slice, ...], tuple[slice, ...]]


def conv_padding(padding: Padding, size: Pair, kernel: Pair, stride: Pair, dilation: Pair) -> Pads:
    """((top, bottom), (left, right)) for "valid", "same" or (top, bottom, left, right).

    "same" is the TensorFlow and ONNX SAME_UPPER rule: out = ceil(in / stride), and of an odd
    total the extra pixel goes to the end.
    """
    return _padding("conv_padding", padding, size, kernel, stride, dilation)


def _padding(op: str, padding: Any, size: Pair, kernel: Pair, stride: Pair, dilation: Pair) -> Pads:
    if isinstance(padding, str):
        if padding == "valid":
            return (0, 0), (0, 0)
        if padding == "same":
            return (
                _same(size[0], kernel[0], stride[0], dilation[0]),
                _same(size[1], kernel[1], stride[1], dilation[1]),
            )
        raise bad_argument(op, "padding", '"valid", "same" or four integers', padding)
    top, bottom, left, right = integers(op, "padding", padding, 4, 0)
    return (top, bottom), (left, right)


def _same(size: int, kernel: int, stride: int, dilation: int) -> Pair:
    out = -(-size // stride)
    total = max((out - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
    return total // 2, total - total // 2


class Window(NamedTuple):
    """One window over an image of `size` = (H, W); `output` is (P, Q)."""

    size: Pair
    kernel: Pair
    strides: Pair
    pads: Pads
    dilation: Pair

    @property
    def output(self) -> Pair:
        """P = (H + top + bottom - ((R-1)*e + 1)) // u + 1, and Q likewise."""
        return self._output(0), self._output(1)

    def _output(self, axis: int) -> int:
        extent = (self.kernel[axis] - 1) * self.dilation[axis] + 1
        return (self.size[axis] + sum(self.pads[axis]) - extent) // self.strides[axis] + 1

    def taps(self) -> Iterator[Tap]:
        """Yield (r, s, inputs, outputs): x[inputs] is what y[outputs] reads at tap (r, s).

        Both index (N, rows, columns) and select the same number of pixels. Row-major in (r, s);
        taps that only ever fall on padding are left out.
        """
        for r in range(self.kernel[0]):
            rows = self._tap(0, r)
            for s in range(self.kernel[1]):
                columns = self._tap(1, s)
                if rows and columns:
                    yield (
                        r,
                        s,
                        (slice(None), rows[0], columns[0]),
                        (slice(None), rows[1], columns[1]),
                    )

    def _tap(self, axis: int, r: int) -> tuple[slice, slice] | None:
        stride = self.strides[axis]
        offset = r * self.dilation[axis] - self.pads[axis][0]
        # p is inside while 0 <= p * stride + offset < size
        begin = max(0, -(offset // stride))
        end = min(self._output(axis), -((offset - self.size[axis]) // stride))
        if begin >= end:
            return None
        first, last = begin * stride + offset, (end - 1) * stride + offset
        return slice(first, last + 1, stride), slice(begin, end)


def make_window(
    op: str,
    size: Pair,
    kernel: Pair,
    strides: object,
    padding: Padding,
    dilation: object = (1, 1),
    kernel_name: str = "w",
) -> Window:
    """A checked window; refuses one that fits nowhere in the padded input."""
    strides, dilation = pair(op, "strides", strides), pair(op, "dilation", dilation)
    if min(kernel) < 1:
        raise bad_argument(op, kernel_name, "at least 1x1", kernel)
    pads = _padding(op, padding, size, kernel, strides, dilation)
    window = Window(size, kernel, strides, pads, dilation)
    if min(window.output) < 1:
        raise bad_argument(
            op,
            kernel_name,
            f"no larger than the padded input {size} + {pads}",
            f"{kernel} with dilation {dilation}",
        )
    return window
