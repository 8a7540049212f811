# SPDX-License-Identifier: Apache-2.0
"""Hypothesis strategies for shapes: the extents where loops over tiles and windows break.

Every strategy draws a small frozen dataclass; `random_array` and `small_integers` fill it.
"""

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

from pycnn.reference.window import conv_padding, make_window

# 1, primes, and one below, at and above the vector and tile widths 8 and 16
EXTENTS = (1, 2, 3, 5, 7, 8, 9, 11, 13, 15, 16, 17)
WINDOWS = (1, 2, 3, 5, 7)
STRIDES = (1, 2, 3, 4)
DILATIONS = (1, 1, 2, 3)  # mostly dense

seeds = st.integers(0, 2**32 - 1)


@dataclass(frozen=True)
class ConvShape:
    """One conv2d call: x (N,H,W,C), w (R,S,C/G,K)."""

    x_shape: tuple[int, int, int, int]
    w_shape: tuple[int, int, int, int]
    strides: tuple[int, int] = (1, 1)
    padding: str | tuple[int, int, int, int] = "valid"
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1

    @property
    def arguments(self):
        """Keyword arguments of conv2d and its backward passes."""
        return {
            "strides": self.strides,
            "padding": self.padding,
            "dilation": self.dilation,
            "groups": self.groups,
        }

    @property
    def pads(self):
        """((top, bottom), (left, right))"""
        size, kernel = self.x_shape[1:3], self.w_shape[:2]
        return conv_padding(self.padding, size, kernel, self.strides, self.dilation)

    @property
    def y_shape(self):
        """(N,P,Q,K)"""
        size, kernel = self.x_shape[1:3], self.w_shape[:2]
        window = make_window("conv2d", size, kernel, self.strides, self.padding, self.dilation)
        return (self.x_shape[0], *window.output, self.w_shape[3])


@dataclass(frozen=True)
class TransposedShape:
    """One conv2d_transpose call: x (N,P,Q,C), w (R,S,K,C)."""

    x_shape: tuple[int, int, int, int]
    w_shape: tuple[int, int, int, int]
    strides: tuple[int, int] = (1, 1)
    padding: str | tuple[int, int, int, int] = "valid"
    output_padding: tuple[int, int] | None = None
    dilation: tuple[int, int] = (1, 1)

    @property
    def arguments(self):
        """Keyword arguments of conv2d_transpose and its backward passes."""
        return {
            "strides": self.strides,
            "padding": self.padding,
            "output_padding": self.output_padding,
            "dilation": self.dilation,
        }


@dataclass(frozen=True)
class PoolShape:
    """One pool call: x (N,H,W,C)."""

    x_shape: tuple[int, int, int, int]
    pool_size: tuple[int, int]
    strides: tuple[int, int]
    padding: str | tuple[int, int, int, int] = "valid"

    @property
    def arguments(self):
        """Keyword arguments of the pools and their backward passes."""
        return {"pool_size": self.pool_size, "strides": self.strides, "padding": self.padding}

    @property
    def pads(self):
        """((top, bottom), (left, right))"""
        return conv_padding(self.padding, self.x_shape[1:3], self.pool_size, self.strides, (1, 1))

    @property
    def y_shape(self):
        """(N,P,Q,C)"""
        size = self.x_shape[1:3]
        window = make_window("max_pool2d", size, self.pool_size, self.strides, self.padding)
        return (self.x_shape[0], *window.output, self.x_shape[3])


@dataclass(frozen=True)
class DenseShape:
    """One dense call: x (..., C), w (C, K)."""

    x_shape: tuple[int, ...]
    w_shape: tuple[int, int]

    @property
    def y_shape(self):
        """(..., K)"""
        return (*self.x_shape[:-1], self.w_shape[1])


def extents(maximum, minimum=1):
    """One of EXTENTS within the bounds."""
    return st.sampled_from([e for e in EXTENTS if minimum <= e <= maximum] or [minimum])


def _pairs(values):
    return st.tuples(st.sampled_from(values), st.sampled_from(values))


@st.composite
def _windows(draw, dilations, max_size, max_window):
    """(size, window, strides, padding, dilation): stride > window and pad = extent - 1 occur."""
    window = draw(_pairs([v for v in WINDOWS if v <= max_window]))
    dilation = draw(_pairs(dilations))
    reach = [(w - 1) * d for w, d in zip(window, dilation, strict=True)]
    pads = st.tuples(*(st.integers(0, r) for r in (reach[0], reach[0], reach[1], reach[1])))
    padding = draw(st.one_of(st.just("same"), st.just("valid"), pads))
    if padding == "same":
        needed = (1, 1)
    else:
        top, bottom, left, right = (0, 0, 0, 0) if padding == "valid" else padding
        needed = (max(1, reach[0] + 1 - top - bottom), max(1, reach[1] + 1 - left - right))
    size = tuple(draw(extents(max_size, minimum)) for minimum in needed)
    return size, window, draw(_pairs(STRIDES)), padding, dilation


@st.composite
def conv_shapes(draw, max_batch=3, max_size=17, max_channels=17, max_window=7, grouped=True):
    """conv2d shapes; groups run from 1 to C (depthwise), also with K a multiple of C."""
    drawn = draw(_windows(DILATIONS, max_size, max_window))
    size, window, strides, padding, dilation = drawn
    C = draw(extents(max_channels))
    divisors = [g for g in range(1, C + 1) if C % g == 0]
    G = draw(st.sampled_from(divisors)) if grouped else 1
    outputs = [k for k in range(1, max_channels + 1) if k % G == 0 and (G > 1 or k in EXTENTS)]
    K = draw(st.sampled_from(outputs))
    x_shape = (draw(st.integers(1, max_batch)), *size, C)
    return ConvShape(x_shape, (*window, C // G, K), strides, padding, dilation, G)


@st.composite
def transposed_shapes(draw, max_batch=3, max_size=9, max_channels=17, max_window=5):
    """conv2d_transpose shapes; kernels smaller than the stride and crops up to one pixel occur."""
    size, window = draw(_pairs(EXTENTS[: EXTENTS.index(max_size) + 1])), draw(_pairs((1, 2, 3, 5)))
    window = tuple(min(extent, max_window) for extent in window)
    strides, dilation = draw(_pairs((1, 2, 3))), draw(_pairs((1, 1, 1, 2)))
    extra = draw(st.one_of(st.none(), st.tuples(*(st.integers(0, u - 1) for u in strides))))
    pads = []
    for n, u, k, d in zip(size, strides, window, dilation, strict=True):
        full = (n - 1) * u + (k - 1) * d + 1
        before = draw(st.integers(0, min(3, full - 1)))
        pads += [before, draw(st.integers(0, min(3, full - 1 - before)))]
    padding = draw(st.sampled_from(["same", "valid", tuple(pads)]))
    if padding == "same" and extra is not None:  # an even kernel may leave no pixel of one
        size = tuple(max(n, 2) for n in size)
    C, K = draw(extents(max_channels)), draw(extents(max_channels))
    x_shape = (draw(st.integers(1, max_batch)), *size, C)
    return TransposedShape(x_shape, (*window, K, C), strides, padding, extra, dilation)


@st.composite
def pool_shapes(draw, max_batch=3, max_size=17, max_channels=17, max_window=7):
    """Pool shapes, overlapping and with gaps."""
    size, window, strides, padding, _ = draw(_windows((1,), max_size, max_window))
    x_shape = (draw(st.integers(1, max_batch)), *size, draw(extents(max_channels)))
    return PoolShape(x_shape, window, strides, padding)


@st.composite
def dense_shapes(draw, max_rows=17, max_channels=17, max_rank=2):
    """Dense shapes; with max_rank > 2 also x of higher rank."""
    rank = draw(st.integers(2, max_rank))
    rows = tuple(draw(extents(max_rows if axis == 0 else 3)) for axis in range(rank - 1))
    C, K = draw(extents(max_channels)), draw(extents(max_channels))
    return DenseShape((*rows, C), (C, K))


def random_array(shape, seed, stream=0):
    """Standard normal float64 values, a function of (shape, seed, stream)."""
    return np.random.default_rng((seed, stream)).standard_normal(shape)


def small_integers(shape, seed, stream=0, limit=4):
    """Integers in [-limit, limit] as float64: sums of their products are exact in float32."""
    return np.random.default_rng((seed, stream)).integers(-limit, limit + 1, shape).astype(float)
