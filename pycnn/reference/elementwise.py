# SPDX-License-Identifier: Apache-2.0
"""Activations, the residual add, dropout and reshape.

The backward passes of activations read the OUTPUT y, never x.

kind          y                            dy/dx from y         alpha
linear        x                            1
step          1 if x >= 0 else 0           none: refused
sigmoid       1 / (1 + exp(-x))            y * (1 - y)
tanh          tanh(x)                      1 - y^2
relu          max(x, 0)                    y > 0
relu6         min(max(x, 0), 6)            0 < y < 6
leaky_relu    x if x > 0 else alpha * x    1 or alpha           default 0.2
elu           x or alpha * (exp(x) - 1)    1 or y + alpha       default 1.0
hard_sigmoid  relu6(x + 3) / 6             1/6 if 0 < y < 1
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from .checks import Array, bad_argument, float64, shape
from .rng import uniform_for

__all__ = [
    "ACTIVATIONS",
    "activation",
    "activation_backward",
    "add",
    "dropout",
    "dropout_backward",
    "reshape",
]

ACTIVATIONS = (
    "linear",
    "step",
    "sigmoid",
    "tanh",
    "relu",
    "relu6",
    "leaky_relu",
    "elu",
    "hard_sigmoid",
)
DEFAULT_ALPHA = {"leaky_relu": 0.2, "elu": 1.0}


def _alpha(op: str, kind: str, alpha: float | None) -> float:
    if kind not in ACTIVATIONS:
        raise bad_argument(op, "kind", f"one of {', '.join(ACTIVATIONS)}", kind)
    if kind not in DEFAULT_ALPHA:
        if alpha:
            raise bad_argument(op, "alpha", f"None or 0 for {kind}", alpha)
        return 0.0
    if alpha is None:
        return DEFAULT_ALPHA[kind]
    # A negative alpha would lose the sign of x, which backward reads off y.
    if not 0 <= alpha < math.inf:
        raise bad_argument(op, "alpha", "finite and >= 0", alpha)
    return float(alpha)


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)) without overflow on either side."""
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1.0, e) / (1.0 + e)


def activation(kind: str, x: ArrayLike, alpha: float | None = None) -> Array:
    """Elementwise; NaN stays NaN in every kind but step, which compares (NaN -> 0)."""
    alpha = _alpha("activation", kind, alpha)
    x = float64(x)
    if kind == "step":
        return np.where(x >= 0, 1.0, 0.0)
    if kind == "sigmoid":
        return sigmoid(x)
    if kind == "tanh":
        return np.tanh(x)
    if kind == "relu":
        return np.maximum(x, 0.0)
    if kind == "relu6":
        return np.minimum(np.maximum(x, 0.0), 6.0)
    if kind == "leaky_relu":
        return np.where(x > 0, x, alpha * np.minimum(x, 0.0))
    if kind == "elu":
        return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0.0)))
    if kind == "hard_sigmoid":
        return np.minimum(np.maximum(x + 3.0, 0.0), 6.0) / 6.0
    return x.copy()


def activation_backward(
    kind: str, y: ArrayLike, dy: ArrayLike, alpha: float | None = None
) -> Array:
    """dx from the output y. Shape: y, dy and dx are the same."""
    op = "activation_backward"
    alpha = _alpha(op, kind, alpha)
    y, dy = float64(y), float64(dy)
    shape(op, "dy", dy.shape, y.shape)
    if kind == "step":
        raise bad_argument(op, "kind", "differentiable", kind)
    if kind == "sigmoid":
        return dy * (y * (1.0 - y))
    if kind == "tanh":
        return dy * (1.0 - y * y)
    # Selected, not multiplied by 0: an infinite dy over a closed gate gives 0, not NaN.
    if kind == "relu":
        return np.where(y > 0, dy, 0.0)
    if kind == "relu6":
        return np.where((y > 0) & (y < 6), dy, 0.0)
    if kind == "leaky_relu":
        return np.where(y > 0, dy, alpha * dy)
    if kind == "elu":
        return np.where(y > 0, dy, dy * (y + alpha))
    if kind == "hard_sigmoid":
        return np.where((y > 0) & (y < 1), dy / 6.0, 0.0)
    return dy.copy()


def add(a: ArrayLike, b: ArrayLike) -> Array:
    """a + b of equal shapes (a skip connection); both inputs receive dy unchanged."""
    a, b = float64(a), float64(b)
    shape("add", "b", b.shape, a.shape)
    return a + b


def _drop(op: str, x: Array, rate: float, seed: int, stream: int, step: int) -> Array:
    if not 0 <= rate < 1:
        raise bad_argument(op, "rate", "in [0, 1)", rate)
    u = uniform_for(op, seed, stream, step, x.size)
    # Compared as float32, the type of u: the mask is then the same in every precision.
    keep = (u >= np.float32(rate)).reshape(x.shape)
    return np.where(keep, x * (1.0 / (1.0 - rate)), 0.0)


def dropout(x: ArrayLike, rate: float, seed: int, stream: int, step: int) -> Array:
    """x / (1 - rate) where uniform(seed, stream, step, size)[i] >= rate, else 0; i in C order."""
    return _drop("dropout", float64(x), rate, seed, stream, step)


def dropout_backward(dy: ArrayLike, rate: float, seed: int, stream: int, step: int) -> Array:
    """The same mask and scale on dy."""
    return _drop("dropout_backward", float64(dy), rate, seed, stream, step)


def reshape(x: ArrayLike, like: ArrayLike | None = None, shape: Sequence[int | None] = ()) -> Array:
    """x in a shape, (None, ...), or in that of `like`; else every sample as one row.

    Shape: (N, ...) -> (N, M)
    """
    x = float64(x)
    if x.ndim < 1:
        raise bad_argument("reshape", "x", "of rank >= 1", x.shape)
    if like is not None and len(shape):
        raise bad_argument("reshape", "shape", "absent beside like", shape)
    target = [len(x), math.prod(x.shape[1:])]
    if like is not None:
        target = list(np.shape(like))
    elif len(shape):
        target = [len(x), *(extent or 0 for extent in shape[1:])]
    if math.prod(target) != x.size:
        raise bad_argument("reshape", "x", f"{math.prod(target)} values", x.size)
    return x.reshape(target).copy()
