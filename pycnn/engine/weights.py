# SPDX-License-Identifier: Apache-2.0
"""The weights of layers. A layer owns its variables; models, plans and files refer to them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..errors import ShapeError
from ..ground.arrays import as_float32
from ..ground.seeding import next_model_seed
from ..initializers import Initializer
from .operators import Operators


@dataclass(frozen=True)
class WeightSpec:
    """A weight as a layer declares it."""

    name: str  # "kernel"
    shape: tuple[int, ...]
    initializer: Initializer
    trainable: bool
    graph_shape: tuple[int, ...] | None = None  # where graphs know it by another

    def check_same_shape(self, layer: str, known: WeightSpec) -> None:
        """Refuses to be the weight that an earlier use of the layer made in another shape."""
        if known.shape != self.shape:
            raise ShapeError(
                f"{layer}: used twice with different inputs: {self.name} of shape {known.shape} "
                f"the first time, {self.shape} now"
            )


class Leaf(Protocol):
    """A layer, as its weights and the graphs know it."""

    variables: dict[str, Variable]  # by name

    @property
    def name(self) -> str: ...
    @property
    def trainable(self) -> bool: ...
    def adopt(self, spec: WeightSpec, groups: int | None) -> None: ...  # a weight that it declared


class Variable(Operators):
    """One weight: its values, and what its layer says of it.

    The initial values are a function of (seed, stream), which the first model that holds the layer
    gives; they are made when somebody first looks.
    """

    __slots__ = ("_groups", "_layer", "_made", "_origin", "regularizer", "spec")

    def __init__(self, layer: Leaf, spec: WeightSpec, groups: int | None) -> None:
        self.spec = spec
        self.regularizer: Callable[..., object] | None = None  # of one that add_weight() made
        self._layer = layer
        self._groups = groups
        self._origin: tuple[int, int] | None = None
        self._made: list[_core.Variable] = []  # the first is the one; empty until it is asked for

    def begin_at(self, seed: int, stream: int) -> None:
        """Where the initial values come from; the first call decides."""
        if self._origin is None:
            self._origin = seed, stream

    def begin_with(self, values: NDArray[np.float32]) -> None:
        """These are the initial values, or else the values from now on."""
        if self._made:
            self._made[0].set(values)
            return
        made = _core.Variable(self.shape, self._groups, self.spec.graph_shape)
        made.set(values)
        if self._first(made) is not made:
            self._made[0].set(values)

    @property
    def core(self) -> _core.Variable:
        """The values, as plans share them."""
        if self._made:
            return self._made[0]
        seed, stream = self._origin or (next_model_seed(), 0)
        made = _core.Variable(self.shape, self._groups, self.spec.graph_shape)
        made.set(self.spec.initializer(self.shape, seed, stream))
        return self._first(made)

    def _first(self, made: _core.Variable) -> _core.Variable:
        """What is kept: another thread's, if that was first; plans of both must share it."""
        self._made.append(made)
        return self._made[0]

    def set_groups(self, groups: int | None) -> None:
        """Once a graph has shown how it is used; values that were made are kept."""
        if groups == self._groups:
            return
        values = self.numpy() if self._made else None
        self._made, self._groups = [], groups
        if values is not None:
            self.begin_with(values)

    @property
    def layer(self) -> Leaf:
        """Its owner."""
        return self._layer

    @property
    def path(self) -> str:
        """ "layer/kernel"."""
        return f"{self._layer.name}/{self.name}"

    @property
    def name(self) -> str:
        """ "kernel"."""
        return self.spec.name

    @property
    def shape(self) -> tuple[int, ...]:
        return self.spec.shape

    @property
    def dtype(self) -> str:
        return "float32"

    @property
    def ndim(self) -> int:
        return len(self.spec.shape)

    @property
    def groups(self) -> int | None:
        """Of the convolution whose kernel it is."""
        return self._groups

    @property
    def trainable(self) -> bool:
        """Whether fit() changes it, were the model compiled now; follows the layer's flag."""
        return self.spec.trainable and self._layer.trainable

    @property
    def size(self) -> int:
        return math.prod(self.spec.shape)

    def numpy(self) -> NDArray[np.float32]:
        """A copy of the values."""
        return self.core.get()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return self.numpy() if dtype is None else self.numpy().astype(dtype)

    def assign(self, values: Any) -> None:
        self.core.set(self.checked(values))

    def checked(self, values: Any) -> NDArray[np.float32]:
        array = as_float32(self.path, values)
        if array.shape != self.shape:
            raise ShapeError(f"{self.path}: expected shape {self.shape}, got {array.shape}")
        return array

    def __repr__(self) -> str:
        return f"<Variable {self.path} {self.shape}>"


class WeightHolder:
    """What layers and models say of their weights."""

    @property
    def name(self) -> str:
        raise NotImplementedError

    @property
    def weights(self) -> list[Variable]:
        raise NotImplementedError

    @property
    def trainable_weights(self) -> list[Variable]:
        raise NotImplementedError

    @property
    def non_trainable_weights(self) -> list[Variable]:
        trained = {id(variable) for variable in self.trainable_weights}
        return [variable for variable in self.weights if id(variable) not in trained]

    def get_weights(self) -> list[NDArray[np.float32]]:
        """Copies of all weights, of one and the same step; kernels are HWIO."""
        return read_all(self.weights)

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Takes what get_weights returns; where one does not fit, nothing changes."""
        assign_all(self.name, self.weights, weights)

    def count_params(self) -> int:
        return sum(variable.size for variable in self.weights)


def read_all(variables: Sequence[Variable]) -> list[NDArray[np.float32]]:
    """Copies of all values, of one and the same training step."""
    return _core.read([variable.core for variable in variables])[0]


def assign_all(where: str, variables: Sequence[Variable], values: Sequence[Any]) -> None:
    """Sets all or, where one does not fit, none."""
    if len(values) != len(variables):
        raise ValueError(f"{where}: expected {len(variables)} weights, got {len(values)}")
    checked = [variable.checked(value) for variable, value in zip(variables, values, strict=True)]
    _core.write([variable.core for variable in variables], checked)
