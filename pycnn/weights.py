# SPDX-License-Identifier: Apache-2.0
"""The values of a model's weights. They outlive graphs and plans, which only know their names."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _core
from .arrays import as_float32
from .builder import GraphBuilder, WeightSpec
from .errors import ShapeError


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

    def reset_slots(self, slots: Sequence[str]) -> None:
        """Zeroes the optimizer state."""
        for spec in self.specs.values():
            for slot in slots:
                self.parameters.set(spec.name, np.zeros(spec.shape, np.float32), slot)

    def variables(self, layer: str = "") -> list[Variable]:
        """All weights in order of declaration, or those of one layer."""
        return [
            Variable(self, spec)
            for spec in self.specs.values()
            if not spec.fixed and layer in ("", spec.layer)
        ]


class Variable:
    """A handle on one weight."""

    __slots__ = ("_store", "spec")

    def __init__(self, store: WeightStore, spec: WeightSpec) -> None:
        self._store = store
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
        return self.spec.trainable

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
