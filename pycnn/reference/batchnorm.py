# SPDX-License-Identifier: Apache-2.0
"""Batch normalisation per channel (Ioffe and Szegedy 2015); statistics over all axes but the last.

y = gamma * (x - mean) / sqrt(var + epsilon) + beta; an absent gamma is 1, an absent beta or mean 0
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from .checks import Array, bad_argument, float64, shape

__all__ = [
    "batch_norm_backward",
    "batch_norm_inference",
    "batch_norm_training",
]

ABSENT = {"gamma": 1.0, "beta": 0.0, "mean": 0.0}


def _checked(op: str, epsilon: float, x: ArrayLike, **vectors: ArrayLike | None) -> list[Array]:
    """x and the named per-channel vectors in float64."""
    x = float64(x)
    if x.ndim < 2:
        raise bad_argument(op, "x", "of rank >= 2", x.shape)
    if not epsilon >= 0:
        raise bad_argument(op, "epsilon", ">= 0", epsilon)
    found = [x]
    for name, vector in vectors.items():
        if vector is None:
            vector = np.full(x.shape[-1:], ABSENT[name])
        shape(op, name, np.shape(vector), x.shape[-1:])
        found.append(float64(vector))
    return found


def batch_norm_training(
    x: ArrayLike, gamma: ArrayLike | None, beta: ArrayLike | None, epsilon: float
) -> tuple[Array, Array, Array]:
    """(y, mean, var) with the biased variance of the batch. Shape: x (..., C); the rest (C)."""
    x, gamma, beta = _checked("batch_norm_training", epsilon, x, gamma=gamma, beta=beta)
    axes = tuple(range(x.ndim - 1))
    mean, var = np.asarray(x.mean(axis=axes)), np.asarray(x.var(axis=axes))
    return batch_norm_inference(x, gamma, beta, mean, var, epsilon), mean, var


def batch_norm_inference(
    x: ArrayLike,
    gamma: ArrayLike | None,
    beta: ArrayLike | None,
    mean: ArrayLike | None,
    var: ArrayLike,
    epsilon: float,
) -> Array:
    """y from given statistics. Shape: (..., C) -> (..., C)."""
    x, gamma, beta, mean, var = _checked(
        "batch_norm_inference", epsilon, x, gamma=gamma, beta=beta, mean=mean, var=var
    )
    return np.asarray(gamma * (x - mean) / np.sqrt(var + epsilon) + beta)


def batch_norm_backward(
    x: ArrayLike,
    gamma: ArrayLike | None,
    mean: ArrayLike,
    var: ArrayLike,
    dy: ArrayLike,
    epsilon: float,
) -> tuple[Array, Array, Array]:
    """(dx, dgamma, dbeta) of the training form: mean and var are functions of x.

    With z = (x - mean) / sqrt(var + epsilon) and M rows:
    dx = gamma / sqrt(var + epsilon) * (dy - dbeta / M - z * dgamma / M)
    """
    op = "batch_norm_backward"
    x, gamma, mean, var = _checked(op, epsilon, x, gamma=gamma, mean=mean, var=var)
    dy = float64(dy)
    shape(op, "dy", dy.shape, x.shape)
    axes = tuple(range(x.ndim - 1))
    M = x.size // x.shape[-1]
    deviation = np.sqrt(var + epsilon)
    z = (x - mean) / deviation
    dbeta, dgamma = np.asarray(dy.sum(axis=axes)), np.asarray((dy * z).sum(axis=axes))
    dx = gamma / deviation * (dy - dbeta / M - z * dgamma / M)
    return dx, dgamma, dbeta
