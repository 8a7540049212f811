# SPDX-License-Identifier: Apache-2.0
"""Regularizers: what a weight adds to the loss. Names and formulas are Keras'.

Layers take a name, an object, or a function of the weight, written with pycnn.ops.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import ops
from .ground.checks import checked_number
from .ground.registry import name_of_function
from .ground.specs import Spec, from_table


class Regularizer(Spec):
    """Base: regularizer(weight) is the number that is added. A user's subclass has __call__."""

    def __call__(self, x: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__}: a regularizer needs __call__(self, x)")


class FunctionRegularizer(Regularizer):
    """A function of a weight as a regularizer."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def __call__(self, x: Any) -> Any:
        return self.function(x)

    def serialized(self) -> str:
        """The registered name of the function; ValueError where it has none."""
        return name_of_function(self.function)


class L1L2(Regularizer):
    """l1 * sum(|w|) + l2 * sum(w**2)."""

    def __init__(self, l1: float = 0.0, l2: float = 0.0) -> None:
        self.l1 = checked_number("L1L2", "l1", l1, low=0)
        self.l2 = checked_number("L1L2", "l2", l2, low=0)

    def __call__(self, x: Any) -> Any:
        return self.l1 * ops.sum(ops.absolute(x)) + self.l2 * ops.sum(ops.square(x))


class L1(Regularizer):
    """l1 * sum(|w|)."""

    def __init__(self, l1: float = 0.01) -> None:
        self.l1 = checked_number("L1", "l1", l1, low=0)

    def __call__(self, x: Any) -> Any:
        return self.l1 * ops.sum(ops.absolute(x))


class L2(Regularizer):
    """l2 * sum(w**2)."""

    def __init__(self, l2: float = 0.01) -> None:
        self.l2 = checked_number("L2", "l2", l2, low=0)

    def __call__(self, x: Any) -> Any:
        return self.l2 * ops.sum(ops.square(x))


class OrthogonalRegularizer(Regularizer):
    """factor * how far the rows (or columns) of a matrix are from being orthogonal to each other:
    half the sum of |cosines| of all pairs, over their number, as in Keras.

    Args:
        mode: "rows" or "columns".
    """

    def __init__(self, factor: float = 0.01, mode: str = "rows") -> None:
        self.factor = checked_number("OrthogonalRegularizer", "factor", factor, low=0)
        if mode not in ("rows", "columns"):
            raise ValueError(
                f"OrthogonalRegularizer: mode must be 'rows' or 'columns', got {mode!r}"
            )
        self.mode = mode

    def __call__(self, x: Any) -> Any:
        if len(x.shape) != 2:
            raise ValueError(f"OrthogonalRegularizer: expected a matrix, got shape {x.shape}")
        rows = x if self.mode == "rows" else ops.transpose(x)
        unit = ops.normalize(rows, axis=1)
        size = rows.shape[0]
        cosines = ops.matmul(unit, ops.transpose(unit)) * (1.0 - ops.eye(size))
        pairs = max(size * (size - 1) / 2.0, 1.0)
        return self.factor * 0.5 * ops.sum(ops.absolute(cosines)) / pairs


l1_l2, l1, l2, orthogonal_regularizer = L1L2, L1, L2, OrthogonalRegularizer

REGULARIZERS: dict[str, Callable[..., Regularizer]] = {
    "l1": L1,
    "l2": L2,
    "l1_l2": L1L2,
    "orthogonal_regularizer": OrthogonalRegularizer,
}


def get(identifier: object) -> Regularizer | None:
    """A regularizer from its name, its config, its class, a function, or itself; None for None."""
    if identifier is None:
        return None
    return from_table("regularizer", identifier, REGULARIZERS, Regularizer, FunctionRegularizer)
