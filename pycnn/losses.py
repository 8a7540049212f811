# SPDX-License-Identifier: Apache-2.0
"""Losses: the mean over the rows of a batch; formulas and clipping as in Keras 3.

A cross-entropy right behind the softmax or sigmoid that made its probabilities is computed from
their logits, as in Keras on TensorFlow: it is not clipped, and saturated outputs still learn.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from .ground.checks import checked_flag
from .ground.registry import name_of_function
from .ground.specs import Spec, from_table


class Loss(Spec):
    """Says which loss of the core is meant and how its labels are stored.

    A user's loss is a function of (y_true, y_pred), or a subclass with call(y_true, y_pred): the
    mean of what it gives is minimised. It is written with pycnn.ops and runs in the core.
    """

    kind: ClassVar[str] = "custom"  # or that of the core
    sparse: ClassVar[bool] = False  # labels are class numbers
    probability: ClassVar[bool] = False  # labels lie in [0, 1]
    from_logits: bool = False

    def __init__(self, from_logits: bool = False) -> None:
        if from_logits or self.kind != "custom":
            self.from_logits = checked_flag(self.kind, "from_logits", from_logits)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """The loss of each sample or element, or one number. For losses of users."""
        raise NotImplementedError(f"{type(self).__name__}: a loss needs call(self, y_true, y_pred)")


class FunctionLoss(Loss):
    """A function of (y_true, y_pred) as a loss."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return self.function(y_true, y_pred)

    def serialized(self) -> str:
        """The registered name of the function; ValueError where it has none."""
        return name_of_function(self.function)


class MeanSquaredError(Loss):
    """mean((y_true - y_pred)^2). Shape: both (N, ...)"""

    kind = "mean_squared_error"

    def __init__(self) -> None: ...


class BinaryCrossentropy(Loss):
    """-mean(t*log(p) + (1-t)*log(1-p)). Shape: both (N, ...), labels in [0, 1]"""

    kind = "binary_crossentropy"
    probability = True


class CategoricalCrossentropy(Loss):
    """-mean over rows of sum(t*log(p)). Shape: both (N, ..., K), labels one-hot or soft"""

    kind = "categorical_crossentropy"
    probability = True


class SparseCategoricalCrossentropy(Loss):
    """The same for class numbers. Shape: labels (N, ...) integers in 0..K-1, y_pred (N, ..., K)"""

    kind = "sparse_categorical_crossentropy"
    probability = True
    sparse = True


LOSSES: dict[str, Callable[..., Loss]] = {
    "mean_squared_error": MeanSquaredError,
    "mse": MeanSquaredError,
    "binary_crossentropy": BinaryCrossentropy,
    "bce": BinaryCrossentropy,
    "categorical_crossentropy": CategoricalCrossentropy,
    "sparse_categorical_crossentropy": SparseCategoricalCrossentropy,
}


def get(identifier: object) -> Loss:
    """A loss from its name, its config, its class, a function, or itself."""
    return from_table("loss", identifier, LOSSES, Loss, FunctionLoss)
