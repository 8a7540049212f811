# SPDX-License-Identifier: Apache-2.0
"""Metrics as counts of correct rows; divided by the number of rows they are the Keras value.

A row is everything but the last axis; an array of rank 1 is N rows of one value. A row of several
values scores the share it got right, so a count is a float.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from .checks import Array, float64
from .loss import class_labels, same_shape

__all__ = [
    "accuracy",
    "binary_accuracy",
    "categorical_accuracy",
    "sparse_categorical_accuracy",
]


def _count(correct: Array) -> float:
    rows = correct if correct.ndim == 1 else correct.mean(axis=-1)
    return float(rows.sum())


def accuracy(y_true: ArrayLike, y_pred: ArrayLike) -> float:
    """Rows where y_pred == y_true."""
    y_true, y_pred = same_shape("accuracy", y_true, y_pred)
    return _count(y_true == y_pred)


def binary_accuracy(y_true: ArrayLike, y_pred: ArrayLike, threshold: float = 0.5) -> float:
    """Rows where (y_pred > threshold) == y_true; exactly the threshold counts as class 0."""
    y_true, y_pred = same_shape("binary_accuracy", y_true, y_pred)
    return _count(y_true == (y_pred > threshold))


def categorical_accuracy(y_true: ArrayLike, y_pred: ArrayLike) -> float:
    """Rows where y_true and y_pred peak at the same class; of equal peaks the first counts."""
    y_true, y_pred = same_shape("categorical_accuracy", y_true, y_pred)
    return float(np.sum(y_true.argmax(axis=-1) == y_pred.argmax(axis=-1)))


def sparse_categorical_accuracy(labels: ArrayLike, y_pred: ArrayLike) -> float:
    """Rows where y_pred peaks at the label. Shape: labels (...) or (..., 1), y_pred (..., K)."""
    y_pred = float64(y_pred)
    labels = class_labels("sparse_categorical_accuracy", labels, y_pred)
    return float(np.sum(labels == y_pred.argmax(axis=-1)))
