# SPDX-License-Identifier: Apache-2.0
"""Metrics: a score a row, averaged over the samples of an epoch; never differentiated."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar

from .ground.checks import checked_number
from .ground.registry import name_of_function
from .ground.specs import Spec, from_table
from .ground.text import checked_name, quoted, snake_case
from .losses import Loss


class Metric(Spec):
    """Says which metric of the core is meant and what its column in the logs is called.

    A user's metric is a function of (y_true, y_pred), or a subclass with call(y_true, y_pred): the
    mean of what it gives over the samples is shown.
    """

    kind: ClassVar[str] = "custom"  # or that of the core
    sparse: ClassVar[bool] = False  # labels are class numbers
    is_loss: ClassVar[bool] = False  # computed by the loss of the same kind
    direction: ClassVar[str] = "max"  # of better values
    threshold: float = 0.5

    def __init__(self, name: str | None = None) -> None:
        if not isinstance(name, (str, type(None))):
            raise TypeError(f"{self.kind}: name must be a string, got {quoted(name)}")
        default = snake_case(type(self).__name__) if self.kind == "custom" else self.kind
        self.name = checked_name(name, self.kind) if name else default

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """The score of each sample or element, or one number. For metrics of users."""
        kind = type(self).__name__
        raise NotImplementedError(f"{kind}: a metric needs call(self, y_true, y_pred)")


class FunctionMetric(Metric):
    """A function of (y_true, y_pred) as a metric."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.name = checked_name(str(getattr(function, "__name__", "metric")), "metric")

    def __setattr__(self, key: str, value: Any) -> None:
        object.__setattr__(self, key, value)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return self.function(y_true, y_pred)

    def serialized(self) -> str:
        """The registered name of the function; ValueError where it has none."""
        return name_of_function(self.function)


class BinaryAccuracy(Metric):
    """Share of outputs on the right side of the threshold; y_pred > threshold is class 1."""

    kind = "binary_accuracy"

    def __init__(self, name: str | None = None, *, threshold: float = 0.5) -> None:
        super().__init__(name)
        self.threshold = checked_number(self.kind, "threshold", threshold)


class CategoricalAccuracy(Metric):
    """Share of rows whose largest output is that of the one-hot label."""

    kind = "categorical_accuracy"


class SparseCategoricalAccuracy(Metric):
    """Share of rows whose largest output is the labelled class."""

    kind = "sparse_categorical_accuracy"
    sparse = True


class Accuracy(Metric):
    """Share of outputs equal to their labels."""

    kind = "accuracy"


class MeanSquaredErrorMetric(Metric):
    """mean((y_true - y_pred)^2)"""

    kind = "mean_squared_error"
    is_loss = True
    direction = "min"


METRICS: dict[str, type[Metric]] = {
    "binary_accuracy": BinaryAccuracy,
    "categorical_accuracy": CategoricalAccuracy,
    "sparse_categorical_accuracy": SparseCategoricalAccuracy,
    "accuracy": Accuracy,
    "mean_squared_error": MeanSquaredErrorMetric,
    "mse": MeanSquaredErrorMetric,
}


DIRECTIONS = {  # of the names that metrics have where the user chose none
    "loss": "min",
    "acc": "max",
    **{name: make.direction for name, make in METRICS.items()},
}


ACCURACY = ("accuracy", "acc")  # of the kind that suits the loss


def get(identifier: object) -> Metric:
    """A metric from its name, its config, its class, a function, or itself."""
    return from_table("metric", identifier, METRICS, Metric, FunctionMetric)


def check_metric(identifier: object) -> None:
    """ValueError or TypeError for what resolve() could never take."""
    if not (isinstance(identifier, str) and identifier.lower() in ACCURACY):
        get(identifier)


def resolve(identifier: object, loss: Loss, output_shape: Sequence[int | None]) -> Metric:
    """As get; "accuracy" becomes the kind that suits the loss and the output."""
    if not isinstance(identifier, str):
        metric = get(identifier)
    elif ">" in identifier:
        metric = get(identifier)
    elif identifier.lower() not in ACCURACY:
        metric = type(get(identifier))(identifier)
    elif loss.sparse:
        metric = SparseCategoricalAccuracy(identifier)
    elif output_shape[-1] == 1 or loss.kind == "binary_crossentropy":  # one label, or several
        metric = BinaryAccuracy(identifier)
    else:
        metric = CategoricalAccuracy(identifier)
    if metric.kind != "custom" and metric.sparse != loss.sparse:
        labels = ("one value an output", "class numbers")
        raise ValueError(
            f"metric {metric.name}: expected labels as {labels[metric.sparse]}, "
            f"got a loss ({loss.kind}) whose labels are {labels[loss.sparse]}"
        )
    return metric


def column_names(metrics: Iterable[Metric]) -> list[str]:
    """Of the loss and the metrics in the logs; equal names become name, name_1, ... as in Keras."""
    names: list[str] = ["loss"]
    for metric in metrics:
        number, name = 0, metric.name
        while name in names[1:]:
            number += 1
            name = f"{metric.name}_{number}"
        names.append(name)
    for name in names[1:]:
        if name == "loss" or (name.removeprefix("val_") in names and name.startswith("val_")):
            raise ValueError(f"metric {name}: the logs have another value of this name")
    return names
