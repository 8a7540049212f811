# SPDX-License-Identifier: Apache-2.0
"""The values of a model's weights. They outlive graphs and plans, which only know their names."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from . import _core
from .arrays import as_float32
from .builder import GraphBuilder, WeightSpec
from .errors import ShapeError

if TYPE_CHECKING:
    from .layers.base import Layer


class WeightStore:
    """Owns the core's Parameters, and says what is in them."""

    def __init__(
        self,
        graph: GraphBuilder,
        seed: int,
        values: Mapping[str, NDArray[np.float32]] | None = None,
    ) -> None:
        self.specs: Mapping[str, WeightSpec] = dict(graph.weights)
        self.parameters = _core.Parameters(graph.core)
        for stream, spec in enumerate(self.specs.values()):
            if values is None or spec.fixed:
                array = spec.initializer(spec.shape, seed, stream)
            else:
                array = values[spec.name]
            self.parameters.set(spec.name, array)

    def copy_from(self, other: WeightStore) -> None:
        """Takes over the values of the weights both have in the same shape."""
        for name, spec in self.specs.items():
            known = other.specs.get(name)
            if known is not None and known.shape == spec.shape:
                self.parameters.set(name, other.parameters.get(name))

    def reset_slots(self, slots: Sequence[str], specs: Iterable[WeightSpec]) -> None:
        """Zeroes the optimizer state of these weights."""
        for spec in specs:
            for slot in slots:
                self.parameters.set(spec.name, np.zeros(spec.shape, np.float32), slot)

    def variables(self, layer: Layer) -> list[Variable]:
        """The weights of a layer in order of declaration."""
        return [
            Variable(self, spec, layer)
            for spec in self.specs.values()
            if not spec.fixed and spec.layer == layer.name
        ]


class Variable:
    """A handle on one weight."""

    __slots__ = ("_layer", "_store", "spec")

    def __init__(self, store: WeightStore, spec: WeightSpec, layer: Layer) -> None:
        self._store = store
        self._layer = layer
        self.spec = spec

    @property
    def path(self) -> str:
        """ "layer/kernel"."""
        return self.spec.name

    @property
    def name(self) -> str:
        """ "kernel"."""
        return self.spec.name.rpartition("/")[2]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.spec.shape

    @property
    def trainable(self) -> bool:
        """Whether fit() changes it; follows the layer's flag."""
        return self.spec.trainable and self._layer.trainable

    @property
    def size(self) -> int:
        return math.prod(self.spec.shape)

    def numpy(self) -> NDArray[np.float32]:
        """A copy of the values."""
        return self._store.parameters.get(self.spec.name)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return self.numpy() if dtype is None else self.numpy().astype(dtype)

    def assign(self, values: Any) -> None:
        self._store.parameters.set(self.spec.name, self.checked(values))

    def checked(self, values: Any) -> NDArray[np.float32]:
        array = as_float32(self.path, values)
        if array.shape != self.shape:
            raise ShapeError(f"{self.path}: expected shape {self.shape}, got {array.shape}")
        return array

    def __repr__(self) -> str:
        return f"<Variable {self.path} {self.shape}>"


def assign_all(where: str, variables: Sequence[Variable], values: Sequence[Any]) -> None:
    """Sets all or, where one does not fit, none."""
    if len(values) != len(variables):
        raise ValueError(f"{where}: expected {len(variables)} weights, got {len(values)}")
    checked = [variable.checked(value) for variable, value in zip(variables, values, strict=True)]
    for variable, array in zip(variables, checked, strict=True):
        variable.assign(array)
