# SPDX-License-Identifier: Apache-2.0
"""Keras initializers on the numbers of rng.py: same distributions, own (portable) values.

variance = scale / fan; uniform on +-sqrt(3 * variance), or normal truncated at two deviations
with the deviation corrected for what the truncation cuts off.
"""

from __future__ import annotations

import math

import numpy as np

from .checks import Array, Shape, bad_argument, integers
from .rng import normal as standard_normal
from .rng import truncated_normal, uniform

__all__ = [
    "initialize",
]

TRUNCATED_DEVIATION = 0.87962566103423978  # of a standard normal truncated to [-2, 2]
FIXED = 0.05  # Keras' default stddev of random_normal, truncated_normal; limit of random_uniform
SCALING = {"glorot": (1.0, "fan_avg"), "he": (2.0, "fan_in"), "lecun": (1.0, "fan_in")}
INITIALIZERS = (
    "zeros",
    "ones",
    "glorot_uniform",
    "glorot_normal",
    "he_uniform",
    "he_normal",
    "lecun_uniform",
    "lecun_normal",
    "random_normal",
    "random_uniform",
    "truncated_normal",
)


def fans(shape: Shape) -> tuple[int, int]:
    """(fan_in, fan_out): (C, K) of a dense kernel, (R*S*C, R*S*K) of an HWIO kernel."""
    if len(shape) < 2:
        size = math.prod(shape)
        return size, size
    field = math.prod(shape[:-2])
    return field * shape[-2], field * shape[-1]


def _variance(family: str, shape: Shape) -> float:
    scale, mode = SCALING[family]
    fan_in, fan_out = fans(shape)
    return scale / max(1.0, fan_in if mode == "fan_in" else (fan_in + fan_out) / 2.0)


def initialize(name: str, shape: Shape, seed: int, stream: int) -> Array:
    """Initial float32 values, filled in C order from step 0 of (seed, stream)."""
    if name not in INITIALIZERS:
        raise bad_argument("initialize", "name", f"one of {', '.join(INITIALIZERS)}", name)
    shape = integers("initialize", "shape", shape, len(shape), 0)
    return _values(name, shape, seed, stream).astype(np.float32).reshape(shape)


def _values(name: str, shape: Shape, seed: int, stream: int) -> Array:
    count = math.prod(shape)
    if name in ("zeros", "ones"):
        return np.full(count, float(name == "ones"))
    if name == "random_normal":
        return FIXED * standard_normal(seed, stream, count)
    if name == "truncated_normal":
        return FIXED * truncated_normal(seed, stream, count)
    family, distribution = name.split("_")
    if distribution == "normal":
        deviation = math.sqrt(_variance(family, shape)) / TRUNCATED_DEVIATION
        return deviation * truncated_normal(seed, stream, count)
    limit = FIXED if family == "random" else math.sqrt(3.0 * _variance(family, shape))
    return limit * (2.0 * uniform(seed, stream, 0, count).astype(np.float64) - 1.0)
