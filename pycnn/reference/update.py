# SPDX-License-Identifier: Apache-2.0
"""One update step of each optimizer, as pure functions with the formulas of Keras 3; and what
optimizers are written of: slots, and values that become the state of the next step.

Weight decay is decoupled: w -= w * weight_decay * learning_rate, before the update.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from .checks import Array, bad_argument, float64, integer, shape

__all__ = [
    "adam",
    "assign",
    "moving_average",
    "sgd",
    "slot",
]


def _decay(w: Array, learning_rate: float, weight_decay: float) -> Array:
    return w - w * weight_decay * learning_rate


def _in_unit_interval(op: str, argument: str, value: float) -> None:
    if not 0 <= value < 1:
        raise bad_argument(op, argument, "in [0, 1)", value)


def sgd(
    parameter: ArrayLike,
    gradient: ArrayLike,
    velocity: ArrayLike,
    learning_rate: float = 0.01,
    momentum: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
) -> tuple[Array, Array]:
    """(w, velocity) after velocity = momentum * velocity - lr * gradient; w += velocity.

    nesterov: w += momentum * velocity - lr * g, with the new velocity. Without momentum there is
    no velocity (Keras stores none): it comes back as it was.
    """
    w, g, velocity = float64(parameter), float64(gradient), float64(velocity)
    shape("sgd", "gradient", g.shape, w.shape)
    shape("sgd", "velocity", velocity.shape, w.shape)
    _in_unit_interval("sgd", "momentum", momentum)
    w = _decay(w, learning_rate, weight_decay)
    if momentum == 0:
        return w - learning_rate * g, velocity.copy()
    velocity = momentum * velocity - learning_rate * g
    if nesterov:
        return w + (momentum * velocity - learning_rate * g), velocity
    return w + velocity, velocity


def adam(
    parameter: ArrayLike,
    gradient: ArrayLike,
    m: ArrayLike,
    v: ArrayLike,
    step: int,
    learning_rate: float = 0.001,
    beta_1: float = 0.9,
    beta_2: float = 0.999,
    epsilon: float = 1e-7,
    weight_decay: float = 0.0,
) -> tuple[Array, Array, Array]:
    """(w, m, v) after step number `step`, counted from 1 (Kingma and Ba 2015, section 2 end).

    m += (1 - beta_1) * (g - m); v += (1 - beta_2) * (g^2 - v)
    w -= m * alpha / (sqrt(v) + epsilon), alpha = lr * sqrt(1 - beta_2^step) / (1 - beta_1^step)
    """
    w, g, m, v = float64(parameter), float64(gradient), float64(m), float64(v)
    for name, array in (("gradient", g), ("m", m), ("v", v)):
        shape("adam", name, array.shape, w.shape)
    step = integer("adam", "step", step, 1)
    _in_unit_interval("adam", "beta_1", beta_1)
    _in_unit_interval("adam", "beta_2", beta_2)
    w = _decay(w, learning_rate, weight_decay)
    m = m + (1.0 - beta_1) * (g - m)
    v = v + (1.0 - beta_2) * (g * g - v)
    alpha = learning_rate * math.sqrt(1.0 - beta_2**step) / (1.0 - beta_1**step)
    return w - m * alpha / (np.sqrt(v) + epsilon), m, v


def moving_average(parameter: ArrayLike, sample: ArrayLike, momentum: float) -> Array:
    """Keras: parameter * momentum + sample * (1 - momentum)."""
    parameter, sample = float64(parameter), float64(sample)
    shape("moving_average", "sample", sample.shape, parameter.shape)
    if not 0 <= momentum <= 1:
        raise bad_argument("moving_average", "momentum", "in [0, 1]", momentum)
    return parameter * momentum + sample * (1 - momentum)


def slot(parameter: ArrayLike) -> Array:
    """What an optimizer keeps for a parameter before the first step: zeros."""
    return np.zeros_like(float64(parameter))


def assign(target: ArrayLike, value: ArrayLike) -> Array:
    """The parameter or slot after the step: the value."""
    value = float64(value)
    shape("assign", "value", value.shape, float64(target).shape)
    return value.copy()
