# SPDX-License-Identifier: Apache-2.0
"""Optimizers. They choose nodes of the graph; the update itself runs inside the training step."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from . import _core
from .specs import Spec, from_table


def _checked(where: str, name: str, value: Any, low: float, high: float) -> float:
    """value as a float in [low, high), or ValueError."""
    number = float(value)
    if not low <= number < high:
        bound = f">= {low:g}" if math.isinf(high) else f"in [{low:g}, {high:g})"
        raise ValueError(f"{where}: {name} must be finite and {bound}, got {value!r}")
    return number


class Optimizer(Spec):
    """Base: learning_rate may be assigned at any time and holds from the next step on."""

    def __init__(self, learning_rate: float, weight_decay: float | None) -> None:
        self.learning_rate = learning_rate
        decay = 0.0 if weight_decay is None else weight_decay
        _checked(self._where, "weight_decay", decay, 0.0, math.inf)
        self.weight_decay = weight_decay
        self.iterations = 0  # steps taken

    @property
    def _where(self) -> str:
        return type(self).__name__

    @property
    def learning_rate(self) -> float:
        return self._learning_rate

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self._learning_rate = _checked(self._where, "learning_rate", value, 0.0, math.inf)

    @property
    def slots(self) -> tuple[str, ...]:
        """Names of the arrays the core keeps for each weight."""
        return ()

    def add_update(self, graph: _core.Graph, parameter: int, gradient: int, name: str) -> None:
        """Appends the update of one weight to a training graph."""
        raise NotImplementedError


class SGD(Optimizer):
    """velocity = momentum*velocity - learning_rate*gradient; weight += velocity.

    Args:
        nesterov: weight += momentum*velocity - learning_rate*gradient instead.
        weight_decay: each step first takes learning_rate*weight_decay*weight off the weight.
    """

    def __init__(
        self,
        learning_rate: float = 0.01,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float | None = None,
    ) -> None:
        super().__init__(learning_rate, weight_decay)
        self.momentum = _checked(self._where, "momentum", momentum, 0.0, 1.0)
        self.nesterov = bool(nesterov)

    @property
    def slots(self) -> tuple[str, ...]:
        return ("velocity",) if self.momentum else ()

    def add_update(self, graph: _core.Graph, parameter: int, gradient: int, name: str) -> None:
        graph.sgd(
            parameter,
            gradient,
            momentum=self.momentum,
            nesterov=self.nesterov,
            weight_decay=self.weight_decay or 0.0,
            name=name,
        )


class Adam(Optimizer):
    """Kingma and Ba 2014: steps scaled by moving averages of the gradient and of its square."""

    def __init__(
        self,
        learning_rate: float = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        *,
        weight_decay: float | None = None,
    ) -> None:
        super().__init__(learning_rate, weight_decay)
        self.beta_1 = _checked(self._where, "beta_1", beta_1, 0.0, 1.0)
        self.beta_2 = _checked(self._where, "beta_2", beta_2, 0.0, 1.0)
        self.epsilon = _checked(self._where, "epsilon", epsilon, 0.0, math.inf)
        if self.epsilon == 0.0:
            raise ValueError(f"{self._where}: epsilon must be > 0, got {epsilon!r}")

    @property
    def slots(self) -> tuple[str, ...]:
        return ("m", "v")

    def add_update(self, graph: _core.Graph, parameter: int, gradient: int, name: str) -> None:
        graph.adam(
            parameter,
            gradient,
            beta_1=self.beta_1,
            beta_2=self.beta_2,
            epsilon=self.epsilon,
            weight_decay=self.weight_decay or 0.0,
            name=name,
        )


OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {"sgd": SGD, "adam": Adam}


def get(identifier: object) -> Optimizer:
    """An optimizer from its name, its config, its class, or itself."""
    return from_table("optimizer", identifier, OPTIMIZERS, Optimizer)
