# SPDX-License-Identifier: Apache-2.0
"""Optimizers. They choose nodes of the graph; the update itself runs inside the training step."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from . import _core
from .arrays import FLOAT32_MAX, FLOAT32_TINY
from .specs import Spec, from_table

if TYPE_CHECKING:
    from .trainer import Trainer


def _checked(where: str, name: str, value: Any, low: float = 0.0) -> float:
    """value as a float that float32 can hold, at least `low`, or ValueError."""
    number = float(value)
    if not low <= number <= FLOAT32_MAX:
        raise ValueError(
            f"{where}: {name} must be finite in float32 and >= {low:.3g}, got {value!r}"
        )
    return number


def _share(where: str, name: str, value: Any) -> float:
    """value as a float in [0, 1), or ValueError."""
    number = float(value)
    if not 0 <= number < 1:
        raise ValueError(f"{where}: {name} must be in [0, 1), got {value!r}")
    return number


class Optimizer(Spec):
    """Base: learning_rate may be assigned at any time and holds from the next step on."""

    def __init__(self, learning_rate: float, weight_decay: float | None) -> None:
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        if weight_decay is not None:
            self.weight_decay = _checked(self._where, "weight_decay", weight_decay)
        self.iterations = 0  # steps taken
        self._model: weakref.ref[Trainer] | None = None  # compiled with it

    def begin(self, model: Trainer) -> None:
        """For compile(): a training by steps of its own; refuses an optimizer already in use."""
        other = self._model() if self._model is not None else None
        if other is not None and other is not model and other.optimizer is self:
            raise ValueError(
                f"{model.name}: the optimizer {self._where} already trains another model "
                f"({other.name}); make a new one"
            )
        self._model, self.iterations = weakref.ref(model), 0

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_model": None}  # a copy is free for another model

    @property
    def _where(self) -> str:
        return type(self).__name__

    @property
    def learning_rate(self) -> float:
        return self._learning_rate

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self._learning_rate = _checked(self._where, "learning_rate", value)

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
        self.momentum = _share(self._where, "momentum", momentum)
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
        self.beta_1 = _share(self._where, "beta_1", beta_1)
        self.beta_2 = _share(self._where, "beta_2", beta_2)
        self.epsilon = _checked(self._where, "epsilon", epsilon, FLOAT32_TINY)

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
