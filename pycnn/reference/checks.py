# SPDX-License-Identifier: Apache-2.0
"""Array types and argument checks shared by the reference ops."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[Any]
Pair = tuple[int, int]
Shape = tuple[int, ...]


def bad_argument(op: str, argument: str, expected: str, got: object) -> ValueError:
    """The one error of this package: names op, argument, expected and got."""
    return ValueError(f"{op}: {argument} must be {expected}, got {got!r}")


def float64(x: ArrayLike) -> Array:
    """Everything is computed in float64, whatever the caller stores."""
    return np.asarray(x, dtype=np.float64)


def integer(op: str, argument: str, value: object, minimum: int, maximum: int | None = None) -> int:
    """`value` as a Python int in [minimum, maximum]."""
    limit = f">= {minimum}" if maximum is None else f"in [{minimum}, {maximum}]"
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool):
        raise bad_argument(op, argument, f"an integer {limit}", value)
    if value < minimum or (maximum is not None and value > maximum):
        raise bad_argument(op, argument, limit, int(value))
    return int(value)


def integers(op: str, argument: str, value: object, count: int, minimum: int) -> Shape:
    """`value` as a tuple of `count` ints, each at least `minimum`."""
    if not isinstance(value, (tuple, list)) or len(value) != count:
        raise bad_argument(op, argument, f"{count} integers >= {minimum}", value)
    return tuple(integer(op, argument, v, minimum) for v in value)


def pair(op: str, argument: str, value: object, minimum: int = 1) -> Pair:
    """`value` as (rows, columns)."""
    rows, columns = integers(op, argument, value, 2, minimum)
    return rows, columns


def rank(op: str, argument: str, x: Array, letters: str) -> None:
    """Refuse `x` unless it has one axis per letter, e.g. "NHWC"."""
    if x.ndim != len(letters):
        raise bad_argument(op, argument, f"of rank {len(letters)} ({','.join(letters)})", x.shape)


def shape(op: str, argument: str, got: Shape, expected: Shape) -> None:
    """Refuse an array whose shape is not `expected`."""
    if tuple(got) != tuple(expected):
        raise bad_argument(op, argument, f"of shape {tuple(expected)}", tuple(got))
