# SPDX-License-Identifier: Apache-2.0
"""Keras initializers: same names and formulas, own counter-based random numbers.

Element i of a weight depends on (seed, stream, i) only. Defined in NumPy by reference/init.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from . import _core
from .ground.arrays import as_float32
from .ground.checks import checked_number
from .ground.seeding import checked_seed
from .ground.specs import Spec, from_table

Float64 = NDArray[np.float64]

# standard deviation of a standard normal variable truncated to [-2, 2]
TRUNCATED_DEVIATION = 0.87962566103423978


def fans(shape: Sequence[int]) -> tuple[int, int]:
    """(fan_in, fan_out): (C, K) of a dense kernel, (R*S*C, R*S*K) of an HWIO kernel."""
    if len(shape) < 2:
        size = math.prod(shape)
        return size, size
    field = math.prod(shape[:-2])
    return field * shape[-2], field * shape[-1]


def _standard_normal(
    seed: int, stream: int, step: int, count: int, at: NDArray[np.intp] | None = None
) -> Float64:
    """Box-Muller on pairs of uniform numbers; of `count` numbers those at these indices, or all."""
    u = _core.random_uniform(seed, stream, step, count + count % 2)
    pairs = u.reshape(-1, 2) if at is None else u.reshape(-1, 2)[at // 2]
    # 1 - u is in (0, 1]: no log(0)
    radius = np.sqrt(-2.0 * np.log(1.0 - pairs[:, 0].astype(np.float64)))
    angle = 2.0 * math.pi * pairs[:, 1].astype(np.float64)
    if at is not None:
        return radius * np.where(at % 2 == 0, np.cos(angle), np.sin(angle))
    z = np.empty((len(pairs), 2))
    np.multiply(radius, np.cos(angle), out=z[:, 0])
    np.multiply(radius, np.sin(angle), out=z[:, 1])
    return z.reshape(-1)[:count]


def _truncated_normal(seed: int, stream: int, count: int) -> Float64:
    """Each element is the first of its draws (one a step) within two deviations."""
    z = _standard_normal(seed, stream, 0, count)
    redraw = np.flatnonzero(np.abs(z) > 2.0)
    step = 0
    while redraw.size:
        step += 1
        z[redraw] = _standard_normal(seed, stream, step, count, redraw)
        redraw = redraw[np.abs(z[redraw]) > 2.0]
    return z


class Initializer(Spec):
    """Makes the first values of a weight: initializer(shape, seed, stream) -> float32 array."""

    seed: int | None = None

    def __call__(self, shape: Sequence[int], seed: int = 0, stream: int = 0) -> NDArray[np.float32]:
        if self.seed is not None:
            seed, stream = self.seed, 0
        values = self.values(tuple(shape), seed, stream)
        return as_float32(type(self).__name__, values).reshape(tuple(shape))

    def values(self, shape: tuple[int, ...], seed: int, stream: int) -> Float64:
        raise NotImplementedError


class Zeros(Initializer):
    """All 0."""

    def values(self, shape: tuple[int, ...], seed: int, stream: int) -> Float64:
        return np.zeros(shape)


class Ones(Initializer):
    """All 1."""

    def values(self, shape: tuple[int, ...], seed: int, stream: int) -> Float64:
        return np.ones(shape)


class Constant(Initializer):
    """All `value`."""

    def __init__(self, value: float = 0.0) -> None:
        self.value = checked_number("Constant", "value", value)

    def values(self, shape: tuple[int, ...], seed: int, stream: int) -> Float64:
        return np.full(shape, self.value)


class _Random(Initializer):
    mean: float
    stddev: float

    def _take_normal(self, mean: float, stddev: float, seed: int | None) -> None:
        self.mean = checked_number(type(self).__name__, "mean", mean)
        self.stddev = checked_number(type(self).__name__, "stddev", stddev, low=0)
        self._take_seed(seed)

    def _take_seed(self, seed: int | None) -> None:
        self.seed = None if seed is None else checked_seed(type(self).__name__, seed)


class RandomNormal(_Random):
    """Normal with the given mean and standard deviation."""

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: int | None = None) -> None:
        self._take_normal(mean, stddev, seed)

    def values(self, shape: tuple[int, ...], seed: int, stream: int) -> Float64:
        return self.mean + self.stddev * _standard_normal(seed, stream, 0, math.prod(shape))


class TruncatedNormal(_Random):
    """Normal, redrawn beyond two standard deviations from the mean."""

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: int | None = None) -> None:
        self._take_normal(mean, stddev, seed)

    def values(self, shape: tuple[int, ...], seed: int, stream: int) -> Float64:
        return self.mean + self.stddev * _truncated_normal(seed, stream, math.prod(shape))


class RandomUniform(_Random):
    """Uniform in [minval, maxval)."""

    def __init__(
        self, minval: float = -0.05, maxval: float = 0.05, seed: int | None = None
    ) -> None:
        self.minval = checked_number("RandomUniform", "minval", minval)
        self.maxval = checked_number("RandomUniform", "maxval", maxval, low=self.minval)
        self._take_seed(seed)

    def values(self, shape: tuple[int, ...], seed: int, stream: int) -> Float64:
        u = _core.random_uniform(seed, stream, 0, math.prod(shape)).astype(np.float64)
        middle, limit = (self.maxval + self.minval) / 2, (self.maxval - self.minval) / 2
        return middle + limit * (2.0 * u - 1.0)


class _Scaling(_Random):
    """Variance scale / fan; see the subclasses' names."""

    scale: ClassVar[float] = 1.0
    average_fans: ClassVar[bool] = False  # fan_avg rather than fan_in

    def __init__(self, seed: int | None = None) -> None:
        self._take_seed(seed)

    def variance(self, shape: tuple[int, ...]) -> float:
        fan_in, fan_out = fans(shape)
        return self.scale / max(1.0, (fan_in + fan_out) / 2.0 if self.average_fans else fan_in)


class _ScalingUniform(_Scaling):
    def values(self, shape: tuple[int, ...], seed: int, stream: int) -> Float64:
        u = _core.random_uniform(seed, stream, 0, math.prod(shape)).astype(np.float64)
        return math.sqrt(3.0 * self.variance(shape)) * (2.0 * u - 1.0)


class _ScalingNormal(_Scaling):
    def values(self, shape: tuple[int, ...], seed: int, stream: int) -> Float64:
        deviation = math.sqrt(self.variance(shape)) / TRUNCATED_DEVIATION
        return deviation * _truncated_normal(seed, stream, math.prod(shape))


class GlorotUniform(_ScalingUniform):
    """Uniform in +-sqrt(6 / (fan_in + fan_out)): Keras' default."""

    average_fans = True


class GlorotNormal(_ScalingNormal):
    """Truncated normal with variance 2 / (fan_in + fan_out)."""

    average_fans = True


class HeUniform(_ScalingUniform):
    """Uniform in +-sqrt(6 / fan_in): for relu."""

    scale = 2.0


class HeNormal(_ScalingNormal):
    """Truncated normal with variance 2 / fan_in: for relu."""

    scale = 2.0


class LecunUniform(_ScalingUniform):
    """Uniform in +-sqrt(3 / fan_in)."""


class LecunNormal(_ScalingNormal):
    """Truncated normal with variance 1 / fan_in."""


INITIALIZERS: dict[str, Callable[..., Initializer]] = {
    "zeros": Zeros,
    "ones": Ones,
    "constant": Constant,
    "random_normal": RandomNormal,
    "truncated_normal": TruncatedNormal,
    "random_uniform": RandomUniform,
    "glorot_uniform": GlorotUniform,
    "glorot_normal": GlorotNormal,
    "he_uniform": HeUniform,
    "he_normal": HeNormal,
    "lecun_uniform": LecunUniform,
    "lecun_normal": LecunNormal,
}


def get(identifier: str | Mapping[str, Any] | Initializer) -> Initializer:
    """An initializer from its name, its config, or itself."""
    return from_table("initializer", identifier, INITIALIZERS, Initializer)
