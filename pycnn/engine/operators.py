# SPDX-License-Identifier: Apache-2.0
"""What `x + y`, `x[..., 0]` and the like mean for tensors: the functions of pycnn.ops.

These stand on a higher floor and enter themselves here when they are imported.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

functions: dict[str, Callable[..., Any]] = {}  # by name


class Operators:
    """Base of tensors. They are compared by identity: see ops.equal."""

    __slots__ = ()
    __array_priority__ = 1000  # array + tensor is the tensor's
    __array_ufunc__ = None

    def __add__(self, other: Any) -> Any:
        return functions["add"](self, other)

    def __radd__(self, other: Any) -> Any:
        return functions["add"](other, self)

    def __sub__(self, other: Any) -> Any:
        return functions["subtract"](self, other)

    def __rsub__(self, other: Any) -> Any:
        return functions["subtract"](other, self)

    def __mul__(self, other: Any) -> Any:
        return functions["multiply"](self, other)

    def __rmul__(self, other: Any) -> Any:
        return functions["multiply"](other, self)

    def __truediv__(self, other: Any) -> Any:
        return functions["divide"](self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return functions["divide"](other, self)

    def __floordiv__(self, other: Any) -> Any:
        return functions["floor_divide"](self, other)

    def __rfloordiv__(self, other: Any) -> Any:
        return functions["floor_divide"](other, self)

    def __mod__(self, other: Any) -> Any:
        return functions["mod"](self, other)

    def __rmod__(self, other: Any) -> Any:
        return functions["mod"](other, self)

    def __pow__(self, other: Any) -> Any:
        return functions["power"](self, other)

    def __rpow__(self, other: Any) -> Any:
        return functions["power"](other, self)

    def __matmul__(self, other: Any) -> Any:
        return functions["matmul"](self, other)

    def __rmatmul__(self, other: Any) -> Any:
        return functions["matmul"](other, self)

    def __neg__(self) -> Any:
        return functions["negative"](self)

    def __abs__(self) -> Any:
        return functions["absolute"](self)

    def __lt__(self, other: Any) -> Any:
        return functions["less"](self, other)

    def __le__(self, other: Any) -> Any:
        return functions["less_equal"](self, other)

    def __gt__(self, other: Any) -> Any:
        return functions["greater"](self, other)

    def __ge__(self, other: Any) -> Any:
        return functions["greater_equal"](self, other)

    def __and__(self, other: Any) -> Any:
        return functions["logical_and"](self, other)

    def __or__(self, other: Any) -> Any:
        return functions["logical_or"](self, other)

    def __invert__(self) -> Any:
        return functions["logical_not"](self)

    def __getitem__(self, key: Any) -> Any:
        return functions["get_item"](self, key)

    def __bool__(self) -> bool:
        raise TypeError(
            f"{self!r} has no value yet, so it is neither true nor false; use ops.where or "
            "ops.logical_and instead of if, and, or"
        )

    def __iter__(self) -> Any:
        raise TypeError(f"{self!r} cannot be iterated over; index it, or use ops.unstack")

    def __float__(self) -> float:
        raise TypeError(f"{self!r} has no value yet")

    __int__ = __index__ = __float__
    __len__ = __float__
