# SPDX-License-Identifier: Apache-2.0
"""Losses with Keras 3 semantics: the scalar mean over all rows, and its gradient dy_pred.

A row is one sample (or one pixel): everything but the last axis. Where Keras clips a probability
to [1e-7, 1 - 1e-7], the gradient is 0 outside that range. The bounds are those of
float32, and it shows: 1 - 1e-7 rounds to 1 - 2^-23, so p = 1 for t = 0 costs 15.94, not 16.12.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from .checks import Array, bad_argument, float64, shape
from .elementwise import sigmoid
from .softmax import softmax

__all__ = [
    "binary_crossentropy",
    "binary_crossentropy_backward",
    "binary_crossentropy_from_logits",
    "binary_crossentropy_from_logits_backward",
    "categorical_crossentropy",
    "categorical_crossentropy_backward",
    "categorical_crossentropy_from_logits",
    "categorical_crossentropy_from_logits_backward",
    "mean_squared_error",
    "mean_squared_error_backward",
    "sparse_categorical_crossentropy",
    "sparse_categorical_crossentropy_backward",
    "sparse_categorical_crossentropy_from_logits",
    "sparse_categorical_crossentropy_from_logits_backward",
]

EPSILON = np.float32(1e-7)  # keras.config.epsilon()
P_MIN, P_MAX = float(EPSILON), float(np.float32(1) - EPSILON)


def same_shape(op: str, y_true: ArrayLike, y_pred: ArrayLike) -> tuple[Array, Array]:
    """Both in float64; as in Keras, one trailing axis of 1 may be missing on either side."""
    y_true, y_pred = float64(y_true), float64(y_pred)
    if y_pred.ndim < 1 or y_pred.size < 1:
        raise bad_argument(op, "y_pred", "of rank >= 1 and not empty", y_pred.shape)
    if y_true.shape == (*y_pred.shape, 1) or (*y_true.shape, 1) == y_pred.shape:
        y_true = y_true.reshape(y_pred.shape)
    shape(op, "y_true", y_true.shape, y_pred.shape)
    return y_true, y_pred


def class_labels(op: str, labels: ArrayLike, y_pred: Array) -> Array:
    """Integer class numbers, one per row of y_pred: shape (...) or (..., 1) for (..., K)."""
    given = np.asarray(labels)
    if y_pred.ndim < 1 or y_pred.size < 1:
        raise bad_argument(op, "y_pred", "of rank >= 1 and not empty", y_pred.shape)
    if given.shape == (*y_pred.shape[:-1], 1):
        given = given[..., 0]
    shape(op, "labels", given.shape, y_pred.shape[:-1])
    classes, K = given.astype(np.int64), y_pred.shape[-1]
    if np.any(classes != given) or classes.min() < 0 or classes.max() >= K:
        raise bad_argument(op, "labels", f"integers in [0, {K - 1}]", labels)
    return classes


def _one_hot(op: str, labels: ArrayLike, y_pred: ArrayLike) -> Array:
    y_pred = float64(y_pred)
    return np.asarray(np.eye(y_pred.shape[-1])[class_labels(op, labels, y_pred)])


def _clip(p: Array) -> tuple[Array, Array]:
    """(p clipped, 1 where clipping left it alone)."""
    clipped = np.clip(p, P_MIN, P_MAX)
    return clipped, (clipped == p).astype(np.float64)


def _row_count(y_pred: Array) -> int:
    return math.prod(y_pred.shape[:-1])


def mean_squared_error(y_true: ArrayLike, y_pred: ArrayLike) -> float:
    """mean((y_true - y_pred)^2) over everything."""
    y_true, y_pred = same_shape("mean_squared_error", y_true, y_pred)
    return float(np.mean((y_true - y_pred) ** 2))


def mean_squared_error_backward(y_true: ArrayLike, y_pred: ArrayLike) -> Array:
    """2 * (y_pred - y_true) / count."""
    y_true, y_pred = same_shape("mean_squared_error_backward", y_true, y_pred)
    return np.asarray(2.0 * (y_pred - y_true) / y_pred.size)


def binary_crossentropy(y_true: ArrayLike, p: ArrayLike) -> float:
    """-mean(t * log(p) + (1 - t) * log(1 - p)) over everything, p clipped."""
    t, p = same_shape("binary_crossentropy", y_true, p)
    p, _ = _clip(p)
    return float(-np.mean(t * np.log(p) + (1.0 - t) * np.log(1.0 - p)))


def binary_crossentropy_backward(y_true: ArrayLike, p: ArrayLike) -> Array:
    """(p - t) / (p * (1 - p)) / count where p was not clipped, else 0."""
    t, p = same_shape("binary_crossentropy_backward", y_true, p)
    p, unclipped = _clip(p)
    return np.asarray(unclipped * (p - t) / (p * (1.0 - p)) / p.size)


def binary_crossentropy_from_logits(y_true: ArrayLike, logits: ArrayLike) -> float:
    """mean(max(x, 0) - x * t + log(1 + exp(-|x|))): the same loss of sigmoid(x), never clipped."""
    t, x = same_shape("binary_crossentropy_from_logits", y_true, logits)
    return float(np.mean(np.maximum(x, 0.0) - x * t + np.log1p(np.exp(-np.abs(x)))))


def binary_crossentropy_from_logits_backward(y_true: ArrayLike, logits: ArrayLike) -> Array:
    """(sigmoid(x) - t) / count."""
    t, x = same_shape("binary_crossentropy_from_logits_backward", y_true, logits)
    return np.asarray((sigmoid(x) - t) / x.size)


def categorical_crossentropy(y_true: ArrayLike, p: ArrayLike) -> float:
    """-sum(t * log(clip(p / sum(p)))) averaged over rows; t need not be one-hot."""
    t, p = same_shape("categorical_crossentropy", y_true, p)
    clipped, _ = _clip(p / p.sum(axis=-1, keepdims=True))
    return float(-np.sum(t * np.log(clipped)) / _row_count(p))


def categorical_crossentropy_backward(y_true: ArrayLike, p: ArrayLike) -> Array:
    """Back through log, clip and q = p / sum(p): dp = (dq - sum(dq * q)) / sum(p)."""
    t, p = same_shape("categorical_crossentropy_backward", y_true, p)
    total = p.sum(axis=-1, keepdims=True)
    q = p / total
    clipped, unclipped = _clip(q)
    dq = -unclipped * t / clipped / _row_count(p)
    return np.asarray((dq - (dq * q).sum(axis=-1, keepdims=True)) / total)


def categorical_crossentropy_from_logits(y_true: ArrayLike, logits: ArrayLike) -> float:
    """-sum(t * log_softmax(x)) averaged over rows, never clipped."""
    t, x = same_shape("categorical_crossentropy_from_logits", y_true, logits)
    shifted = x - x.max(axis=-1, keepdims=True)
    log_softmax = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return float(-np.sum(t * log_softmax) / _row_count(x))


def categorical_crossentropy_from_logits_backward(y_true: ArrayLike, logits: ArrayLike) -> Array:
    """(softmax(x) * sum(t) - t) / rows."""
    t, x = same_shape("categorical_crossentropy_from_logits_backward", y_true, logits)
    return np.asarray((softmax(x) * t.sum(axis=-1, keepdims=True) - t) / _row_count(x))


def sparse_categorical_crossentropy(labels: ArrayLike, p: ArrayLike) -> float:
    """categorical_crossentropy of one_hot(labels). Shape: labels (...) or (..., 1), p (..., K)."""
    return categorical_crossentropy(_one_hot("sparse_categorical_crossentropy", labels, p), p)


def sparse_categorical_crossentropy_backward(labels: ArrayLike, p: ArrayLike) -> Array:
    """Shape: labels (...) or (..., 1), p (..., K) -> (..., K)."""
    t = _one_hot("sparse_categorical_crossentropy_backward", labels, p)
    return categorical_crossentropy_backward(t, p)


def sparse_categorical_crossentropy_from_logits(labels: ArrayLike, logits: ArrayLike) -> float:
    """Shape: labels (...) or (..., 1), logits (..., K)."""
    t = _one_hot("sparse_categorical_crossentropy_from_logits", labels, logits)
    return categorical_crossentropy_from_logits(t, logits)


def sparse_categorical_crossentropy_from_logits_backward(
    labels: ArrayLike, logits: ArrayLike
) -> Array:
    """(softmax(x) - one_hot(labels)) / rows. Shape: labels (...), logits (..., K) -> (..., K)."""
    t = _one_hot("sparse_categorical_crossentropy_from_logits_backward", labels, logits)
    return categorical_crossentropy_from_logits_backward(t, logits)
