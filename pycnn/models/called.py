# SPDX-License-Identifier: Apache-2.0
"""The one layer of a model that a user wrote as a subclass with call()."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..layers.base import Layer, children_among
from ..layers.calls import takes_argument

if TYPE_CHECKING:
    from .model import Model


class Called(Layer):
    """Runs call() of a model."""

    def __init__(self, model: Model) -> None:
        super().__init__(name=model.name)
        self._model = model

    @property
    def children(self) -> list[Any]:
        """The layers among the model's attributes."""
        return children_among(self._model)

    def call(self, inputs: Any, training: bool = False) -> Any:
        """What the model gives."""
        call: Callable[..., Any] = self._model.call
        more = {"training": training} if takes_argument(call, "training") else {}
        return call(inputs, **more)
