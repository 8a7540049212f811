# SPDX-License-Identifier: Apache-2.0
"""Checks of single arguments. Each returns the value as what is stored, or names the argument.

What is refused for its type is a TypeError, what is out of range a ValueError.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from numbers import Real
from typing import Any

import numpy as np

from .text import quoted

FLOAT32_MAX = float(np.finfo(np.float32).max)
FLOAT32_TINY = float(np.finfo(np.float32).tiny)  # less is 0 to the engine
MAX_EXTENT = 2**31 - 1


def checked_int(where: str, argument: str, value: Any, low: int = 1, high: int = MAX_EXTENT) -> int:
    """value as an int in low .. high; bool and float are refused."""
    try:
        if isinstance(value, (bool, np.bool_)):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{where}: {argument} must be an integer, got {quoted(value)}") from None
    if not low <= number <= high:
        most = f"< 2**{high.bit_length()}" if high + 1 == 1 << high.bit_length() else f"<= {high}"
        raise ValueError(f"{where}: {argument} must be >= {low} and {most}, got {quoted(value)}")
    return number


def checked_flag(where: str, argument: str, value: Any) -> bool:
    """value as a bool; of other types only the integers 0 and 1, as scripts write them."""
    if isinstance(value, (bool, np.bool_)) or (type(value) is int and value in (0, 1)):
        return bool(value)
    raise TypeError(f"{where}: {argument} must be a bool, got {quoted(value)}")


def checked_number(
    where: str, argument: str, value: Any, low: float = -FLOAT32_MAX, high: float = FLOAT32_MAX
) -> float:
    """value as a float in low .. high that float32 can hold; bool, text and NaN are refused."""
    number = _number(where, argument, value)
    if not low <= number <= high:
        limits = f"in [{low:.3g}, {high:.3g}]"
        if high == FLOAT32_MAX:
            limits = "finite in float32" + ("" if low == -high else f" and >= {low:.3g}")
        raise ValueError(f"{where}: {argument} must be {limits}, got {quoted(value)}")
    return float(number)


def checked_share(where: str, argument: str, value: Any) -> float:
    """value as a float in [0, 1)."""
    number = _number(where, argument, value)
    if not 0 <= number < 1:
        raise ValueError(f"{where}: {argument} must be in [0, 1), got {quoted(value)}")
    return float(number)


def checked_epsilon(where: str, argument: str, value: Any) -> float:
    """value as a float that keeps a denominator from being 0 in float32."""
    number = _number(where, argument, value)
    if not FLOAT32_TINY <= number <= FLOAT32_MAX:
        raise ValueError(
            f"{where}: {argument} must be > 0 and a normal float32 "
            f"(>= {FLOAT32_TINY:.3g}), got {quoted(value)}"
        )
    return float(number)


def optional(check: Callable[[str, str, Any], Any]) -> Callable[[str, str, Any], Any]:
    """The check, for arguments that may be None."""
    return lambda where, argument, value: None if value is None else check(where, argument, value)


def _number(where: str, argument: str, value: Any) -> Any:
    number = value[()] if isinstance(value, np.ndarray) and value.ndim == 0 else value
    if isinstance(number, (bool, np.bool_)) or not isinstance(number, Real):
        raise TypeError(f"{where}: {argument} must be a number, got {quoted(value)}")
    return number


def checked_text(where: str, argument: str, value: Any) -> str:
    """value, where it is a string."""
    if not isinstance(value, str):
        raise TypeError(f"{where}: {argument} must be a string, got {quoted(value)}")
    return value
