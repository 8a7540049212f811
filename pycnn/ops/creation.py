# SPDX-License-Identifier: Apache-2.0
"""Functions that make tensors, under the names and with the arguments of keras.ops."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .core import checked_axis, checked_dtype, expression, tensor
from .dispatch import op
from .shapes import cast, expand_dims

__all__ = [
    "arange", "eye", "full", "full_like", "identity", "one_hot", "ones", "ones_like", "zeros",
    "zeros_like",
]  # fmt: skip


@op
def full(shape: Sequence[int], fill_value: float, dtype: Any = None) -> Any:
    """All the same number."""
    sizes = [int(shape)] if isinstance(shape, (int, np.integer)) else list(shape)
    kind = checked_dtype("full", dtype or "float32")
    return cast(expression(["x0"], (fill_value,), shape=sizes), kind)


def zeros(shape: Sequence[int], dtype: Any = None) -> Any:
    """All 0."""
    return full(shape, 0.0, dtype)


def ones(shape: Sequence[int], dtype: Any = None) -> Any:
    """All 1."""
    return full(shape, 1.0, dtype)


@op
def full_like(x: Any, fill_value: float, dtype: Any = None) -> Any:
    """Of the shape of x, all the same number."""
    x = tensor(x)
    kind = checked_dtype("full_like", dtype or x.dtype)
    return cast(expression(["x0"], (fill_value,), shape=x.shape), kind)


def zeros_like(x: Any, dtype: Any = None) -> Any:
    """Of the shape of x, all 0."""
    return full_like(x, 0.0, dtype)


def ones_like(x: Any, dtype: Any = None) -> Any:
    """Of the shape of x, all 1."""
    return full_like(x, 1.0, dtype)


@op
def arange(start: float, stop: float | None = None, step: float = 1, dtype: Any = None) -> Any:
    """start, start + step, ... below stop; from 0 on where stop is not given."""
    first, last = (0, start) if stop is None else (start, stop)
    count = max(0, math.ceil((last - first) / step))
    if count == 0:
        raise ValueError(f"arange: no numbers from {first} to {last}")
    whole = all(isinstance(n, (int, np.integer)) for n in (first, last, step))
    kind = checked_dtype("arange", dtype or ("int32" if whole else "float32"))
    lines = ["multiply iota0 x0", "add t0 x1", "t1"]
    return cast(expression(lines, (step, first), shape=[count]), kind)


@op
def eye(N: int, M: int | None = None, k: int = 0, dtype: Any = None) -> Any:
    """1 on a diagonal, else 0."""
    lines = ["add iota0 x0", "equal t0 iota1", "t1"]
    made = expression(lines, (k,), shape=[int(N), int(M or N)])
    return cast(made, dtype or "float32")


def identity(n: int, dtype: Any = None) -> Any:
    """1 on the diagonal of a square, else 0."""
    return eye(n, dtype=dtype)


@op
def one_hot(x: Any, num_classes: int, axis: int = -1, dtype: Any = "float32") -> Any:
    """1 at the place that x names along a new axis, else 0; all 0 where it names none."""
    x = tensor(x)
    place = checked_axis("one_hot", axis, x.ndim + 1)
    if place == 0 and x.shape[:1] == (None,):
        raise ValueError("one_hot: the batch must stay the first axis")
    wide = list(x.shape)
    wide.insert(place, int(num_classes))
    lines = [f"equal x0 iota{place}", "t0"]
    made = expression(lines, (expand_dims(x, place),), shape=wide)
    return cast(made, dtype)
