# SPDX-License-Identifier: Apache-2.0
"""Losses: the mean over the rows of a batch; formulas and clipping as in Keras 3.

A cross-entropy right behind the softmax or sigmoid that made its probabilities is computed from
their logits, as in Keras on TensorFlow: it is not clipped, and saturated outputs still learn.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from .ground.checks import checked_flag
from .ground.specs import Spec, from_table


class Loss(Spec):
    """Says which loss of the core is meant and how its labels are stored."""

    kind: ClassVar[str]
    sparse: ClassVar[bool] = False  # labels are class numbers
    probability: ClassVar[bool] = True  # labels lie in [0, 1]
    from_logits: bool = False

    def __init__(self, from_logits: bool = False) -> None:
        self.from_logits = checked_flag(self.kind, "from_logits", from_logits)


class MeanSquaredError(Loss):
    """mean((y_true - y_pred)^2). Shape: both (N, ...)"""

    kind = "mean_squared_error"
    probability = False

    def __init__(self) -> None: ...


class BinaryCrossentropy(Loss):
    """-mean(t*log(p) + (1-t)*log(1-p)). Shape: both (N, ...), labels in [0, 1]"""

    kind = "binary_crossentropy"


class CategoricalCrossentropy(Loss):
    """-mean over rows of sum(t*log(p)). Shape: both (N, ..., K), labels one-hot or soft"""

    kind = "categorical_crossentropy"


class SparseCategoricalCrossentropy(Loss):
    """The same for class numbers. Shape: labels (N, ...) integers in 0..K-1, y_pred (N, ..., K)"""

    kind = "sparse_categorical_crossentropy"
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
    """A loss from its name, its config, its class, or itself."""
    return from_table("loss", identifier, LOSSES, Loss)
