# SPDX-License-Identifier: Apache-2.0
"""Optimizers. They choose nodes of the graph; the update itself runs inside the training step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from . import _core
from .ground.checks import (
    checked_epsilon,
    checked_flag,
    checked_int,
    checked_number,
    checked_share,
    optional,
)
from .ground.specs import Spec, from_table, refuse_unknown


def _rate(where: str, name: str, value: Any) -> float:
    return checked_number(where, name, value, low=0)


class Setting:
    """An attribute that is checked when it is set, and then holds from the next step on."""

    def __init__(self, check: Callable[[str, str, Any], Any], *, in_graph: bool = True) -> None:
        self._check = check
        self._in_graph = in_graph  # a training graph made with another value is out of date

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self if instance is None else instance.__dict__[self._name]

    def __set__(self, instance: Any, value: Any) -> None:
        checked = self._check(type(instance).__name__, self._name, value)
        if self._in_graph and instance.__dict__.get(self._name, checked) != checked:
            instance.changes += 1
        instance.__dict__[self._name] = checked


class Optimizer(Spec):
    """Base. Owns the state it keeps for each weight it trains, and counts its steps.

    Every setting may be assigned at any time and holds from the next step on.

    A user's optimizer is a subclass with update() and, where it keeps arrays for each weight, their
    names in all_slots. update() is traced once and runs in the core, in one pass over each weight.

    Example:
        >>> class RMSprop(pycnn.optimizers.Optimizer):
        ...     all_slots = ("velocity",)
        ...
        ...     def update(self, gradient, weight, slots, learning_rate, step):
        ...         v = 0.9 * slots["velocity"] + 0.1 * gradient**2
        ...         return weight - learning_rate * gradient * ops.rsqrt(v + 1e-7), {"velocity": v}
    """

    learning_rate = Setting(_rate, in_graph=False)
    weight_decay = Setting(optional(_rate))

    def __init__(self, learning_rate: float = 0.01, weight_decay: float | None = None) -> None:
        self.state = _core.OptimizerState()
        self.changes = 0  # of settings
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay

    def __setattr__(self, key: str, value: Any) -> None:
        if key not in ("state", "changes"):
            refuse_unknown(self, key, type(self).__name__)
        object.__setattr__(self, key, value)

    @property
    def iterations(self) -> int:
        """Steps taken, 0 .. 2**31 - 1."""
        return self.state.iterations

    @iterations.setter
    def iterations(self, steps: int) -> None:
        self.state.iterations = checked_int(type(self).__name__, "iterations", steps, low=0)

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy has the settings; it has trained nothing."""
        return type(self).from_config, (self.get_config(),)

    all_slots: tuple[str, ...] = ()  # that the core may keep for a weight

    @property
    def slots(self) -> tuple[str, ...]:
        """Names of the arrays the core keeps for each weight, with the settings of now."""
        return self.all_slots

    def add_update(self, graph: _core.Graph, parameter: int, gradient: int, name: str) -> None:
        """Appends the update of one weight to a training graph. For ours."""
        kind = type(self).__name__
        raise NotImplementedError(f"{kind}: an optimizer needs update(self, gradient, weight, ...)")

    def update(
        self,
        gradient: Any,
        weight: Any,
        slots: Mapping[str, Any],
        learning_rate: Any,
        step: Any,
    ) -> Any:
        """The new weight or, where there are slots, (weight, {slot: array}). For those of users.

        Args:
            gradient, weight, slots: tensors of one shape.
            learning_rate, step: tensors of shape (); steps count from 1.
        """
        raise NotImplementedError

    @property
    def has_update(self) -> bool:
        """Whether a user wrote it."""
        return type(self).update is not Optimizer.update


class SGD(Optimizer):
    """velocity = momentum*velocity - learning_rate*gradient; weight += velocity.

    Args:
        nesterov: weight += momentum*velocity - learning_rate*gradient instead.
        weight_decay: each step first takes learning_rate*weight_decay*weight off the weight.
    """

    momentum = Setting(checked_share)
    nesterov = Setting(checked_flag)

    def __init__(
        self,
        learning_rate: float = 0.01,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float | None = None,
    ) -> None:
        super().__init__(learning_rate, weight_decay)
        self.momentum = momentum
        self.nesterov = nesterov

    all_slots = ("velocity",)

    @property
    def slots(self) -> tuple[str, ...]:
        return self.all_slots if self.momentum else ()

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

    beta_1 = Setting(checked_share)
    beta_2 = Setting(checked_share)
    epsilon = Setting(checked_epsilon)

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
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon

    all_slots = ("m", "v")

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
