# SPDX-License-Identifier: Apache-2.0
"""Images of another height and width, by nearest pixels or by bilinear interpolation."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from math import ceil, floor

import numpy as np
from numpy.typing import ArrayLike

from .checks import Array, Pair, Shape, bad_argument, float64, pair, rank, shape

__all__ = [
    "resize",
    "resize_backward",
]

_HALF = Fraction(1, 2)
_COORDINATES: dict[str, Callable[[int, int, int], Fraction]] = {
    "half_pixel": lambda i, n, m: (i + _HALF) * n / m - _HALF,
    "align_corners": lambda i, n, m: Fraction(i * (n - 1), m - 1) if m > 1 else Fraction(0),
    "asymmetric": lambda i, n, m: Fraction(i * n, m),
    "pytorch_half_pixel": lambda i, n, m: (i + _HALF) * n / m - _HALF if m > 1 else Fraction(0),
}
_ROUNDING: dict[str, Callable[[Fraction], int]] = {
    "floor": floor,
    "ceil": ceil,
    "round_prefer_floor": lambda x: ceil(x - _HALF),
    "round_prefer_ceil": lambda x: floor(x + _HALF),
}


def _matrix(op: str, n: int, m: int, interpolation: str, coordinates: str, rounding: str) -> Array:
    """(m, n): row i holds the weights of the n pixels that make pixel i of m."""
    if coordinates not in _COORDINATES:
        raise bad_argument(op, "coordinates", f"one of {', '.join(_COORDINATES)}", coordinates)
    if rounding not in _ROUNDING:
        raise bad_argument(op, "rounding", f"one of {', '.join(_ROUNDING)}", rounding)
    if interpolation not in {"nearest", "bilinear"}:
        raise bad_argument(op, "interpolation", "nearest or bilinear", interpolation)
    weights = np.zeros((m, n))
    for i in range(m):
        x = _COORDINATES[coordinates](i, n, m)
        if interpolation == "nearest":
            weights[i, min(max(_ROUNDING[rounding](x), 0), n - 1)] = 1
        else:
            for at, weight in ((floor(x), 1 - (x - floor(x))), (floor(x) + 1, x - floor(x))):
                weights[i, min(max(at, 0), n - 1)] += float(weight)
    return weights


def resize(
    x: ArrayLike,
    size: Pair,
    interpolation: str = "bilinear",
    coordinates: str = "half_pixel",
    rounding: str = "round_prefer_ceil",
) -> Array:
    """Pixel i of an axis is that at `coordinates` of x; edges clamp. Shape: (N,H,W,C) -> size.

    Names and formulas are those of ONNX. The defaults are Keras' bilinear resize without
    antialiasing, and with "nearest" its nearest one: half_pixel, rounded half up. PyTorch's
    "nearest" is asymmetric and floor.
    """
    x = float64(x)
    rank("resize", "x", x, "NHWC")
    rows, columns = pair("resize", "size", size)
    a = _matrix("resize", x.shape[1], rows, interpolation, coordinates, rounding)
    b = _matrix("resize", x.shape[2], columns, interpolation, coordinates, rounding)
    return np.asarray(np.einsum("ph,qw,nhwc->npqc", a, b, x))


def resize_backward(
    dy: ArrayLike,
    x_shape: Shape,
    size: Pair,
    interpolation: str = "bilinear",
    coordinates: str = "half_pixel",
    rounding: str = "round_prefer_ceil",
) -> Array:
    """Every dy shared out as its pixel was mixed. Shape: (N,size[0],size[1],C) -> x_shape"""
    op = "resize_backward"
    dy = float64(dy)
    rank(op, "dy", dy, "NHWC")
    rows, columns = pair(op, "size", size)
    shape(op, "dy", dy.shape, (x_shape[0], rows, columns, x_shape[3]))
    a = _matrix(op, x_shape[1], rows, interpolation, coordinates, rounding)
    b = _matrix(op, x_shape[2], columns, interpolation, coordinates, rounding)
    return np.asarray(np.einsum("ph,qw,npqc->nhwc", a, b, dy))
