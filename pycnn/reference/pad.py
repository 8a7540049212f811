# SPDX-License-Identifier: Apache-2.0
"""Borders of a constant or of mirrored elements, as np.pad makes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .checks import Array, Shape, bad_argument, float64, integers, shape

__all__ = [
    "pad",
    "pad_backward",
]


def _padded(op: str, x: Array, pads: Any, mode: str, value: float) -> Array:
    pads = integers(op, "pads", pads, 2 * x.ndim, 0)
    if mode not in {"constant", "reflect", "symmetric"}:
        raise bad_argument(op, "mode", "constant, reflect or symmetric", mode)
    if mode == "reflect" and any(p >= x.shape[i // 2] for i, p in enumerate(pads)):
        raise bad_argument(op, "pads", f"less than the extents {x.shape} to reflect", pads)
    borders = list(zip(pads[::2], pads[1::2], strict=True))
    options: Any = {"mode": mode, **({"constant_values": value} if mode == "constant" else {})}
    return np.asarray(np.pad(x, borders, **options))


def pad(x: ArrayLike, pads: Sequence[int], mode: str = "constant", value: float = 0.0) -> Array:
    """Elements before and after each axis: pads[0] and pads[1] for the first one, and so on.

    reflect: without the edge itself, symmetric: the edge twice. value: of a constant border.
    """
    return _padded("pad", float64(x), pads, mode, value)


def pad_backward(
    dy: ArrayLike, x_shape: Shape, pads: Sequence[int], mode: str, value: float = 0.0
) -> Array:
    """For each element of x the sum over its copies. Shape: that of y -> x_shape"""
    op = "pad_backward"
    dy, dx = float64(dy), np.zeros(x_shape)
    places = _padded(op, np.arange(dx.size).reshape(x_shape), pads, mode, -1)
    shape(op, "dy", dy.shape, places.shape)
    inside = places >= 0
    np.add.at(dx.reshape(-1), places[inside], dy[inside])
    return dx
