# SPDX-License-Identifier: Apache-2.0
"""Dense layers and the layers without weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from ..activations import Activation as ActivationLike
from ..engine.builder import GraphBuilder
from ..engine.tensors import Call, Tensor
from ..errors import ShapeError
from ..ground.checks import MAX_EXTENT, checked_int, checked_share
from ..ground.registry import registered
from ..initializers import Initializer
from ..initializers import get as get_initializer
from .activations import add_activation, checked_activation
from .base import (
    Layer,
    RegularizerLike,
    checked_channels_last,
    checked_extents,
    checked_initializer,
    checked_regularizer,
)
from .calls import takes_argument

__all__ = [
    "Activation",
    "Add",
    "Concatenate",
    "Dense",
    "Dropout",
    "Flatten",
    "Input",
    "InputLayer",
    "Lambda",
    "add",
    "concatenate",
]


@dataclass(eq=False, repr=False)
class InputLayer(Layer):
    """The door of a model. Shape: (N, *shape)"""

    shape: tuple[int, ...] | None = None

    def check(self) -> None:
        given = self.input_shape if self.shape is None else self.shape
        self.shape = checked_extents(self.name, "shape", given)
        self.input_shape = None
        self._tensor: Tensor | None = None

    def tensor(self) -> Tensor:
        """The symbolic input; the same one every time."""
        if self._tensor is None:
            assert self.shape is not None
            self._tensor = self._record(Call(self, self, (), [(None, *self.shape)]))
        return self._tensor

    def add_nodes(self, graph: GraphBuilder, x: int) -> int:
        return x


def Input(shape: int | Sequence[int], *, name: str = "") -> Tensor:
    """The symbolic input of a model. Shape: (N, *shape); the batch is not given."""
    extents: Any = tuple(shape) if isinstance(shape, Iterable) else shape
    return InputLayer(extents, name=name).tensor()


@dataclass(eq=False, repr=False)
class Dense(Layer):
    """y = activation(x @ kernel + bias). Shape: (N, ..., C) -> (N, ..., units)

    Args:
        units: outputs K; the kernel has shape (C, K).
        activation: a name or a function, see pycnn.activations.
    """

    units: int
    activation: ActivationLike = None
    use_bias: bool = True
    kernel_initializer: str | Initializer = "glorot_uniform"
    bias_initializer: str | Initializer = "zeros"
    kernel_regularizer: RegularizerLike = None
    bias_regularizer: RegularizerLike = None

    def check(self) -> None:
        self.units = checked_int(self.name, "units", self.units)
        self.activation = checked_activation(self.name, self.activation)
        self.kernel_initializer = checked_initializer(self.kernel_initializer)
        self.bias_initializer = checked_initializer(self.bias_initializer)
        self.kernel_regularizer = checked_regularizer(self.kernel_regularizer)
        self.bias_regularizer = checked_regularizer(self.bias_regularizer)

    def add_nodes(self, graph: GraphBuilder, x: int) -> int:
        channels = graph.shape(x)[-1:]
        if not channels:
            raise ShapeError(f"{self.name}: input must have shape (N, ..., C), got (None,)")
        kernel_shape = (channels[0], self.units)
        kernel, bias = (
            get_initializer(made) for made in (self.kernel_initializer, self.bias_initializer)
        )
        w = graph.parameter("kernel", kernel_shape, kernel, regularizer=self.kernel_regularizer)
        b = None
        if self.use_bias:
            b = graph.parameter("bias", (self.units,), bias, regularizer=self.bias_regularizer)
        y = graph.core.dense(x, w, b, name=graph.name)
        return add_activation(graph, y, self.activation)


@dataclass(eq=False, repr=False)
class Activation(Layer):
    """y = f(x). Shape: (N, ...) -> the same; softmax runs over the last axis

    Args:
        activation: a name or a function, see pycnn.activations; None is linear.
    """

    activation: ActivationLike

    def check(self) -> None:
        self.activation = checked_activation(self.name, self.activation)

    def add_nodes(self, graph: GraphBuilder, x: int) -> int:
        return add_activation(graph, x, self.activation)


@dataclass(eq=False, repr=False)
class Flatten(Layer):
    """Rows of pixels to one vector. Shape: (N, H, W, C) -> (N, H*W*C)"""

    data_format: str | None = None

    def check(self) -> None:
        checked_channels_last(self.name, self.data_format)

    def add_nodes(self, graph: GraphBuilder, x: int) -> int:
        return graph.core.flatten(x, name=graph.name)


@dataclass(eq=False, repr=False)
class Dropout(Layer):
    """In training, sets elements to 0 at the given rate and scales the rest up. Shape: kept

    The elements are a function of (model seed, step, position): a resumed run drops the same ones.
    """

    rate: float

    def check(self) -> None:
        self.rate = checked_share(self.name, "rate", self.rate)

    def add_nodes(self, graph: GraphBuilder, x: int) -> int:
        stream = graph.next_stream()
        if not graph.training or self.rate == 0:
            return x
        return graph.core.dropout(x, rate=self.rate, stream=stream, name=graph.name)


@dataclass(eq=False, repr=False)
class Add(Layer):
    """The sum of two or more inputs: the residual connection. Shape: all the same, kept"""

    def apply(self, graph: GraphBuilder, inputs: Sequence[int]) -> int:
        if len(inputs) < 2:
            raise ValueError(f"{self.name}: expected a list of 2 or more inputs, got {len(inputs)}")
        total = inputs[0]
        for x in inputs[1:]:
            total = graph.core.add(total, x, name=graph.name)
        return total


@dataclass(eq=False, repr=False)
class Concatenate(Layer):
    """The channels of two or more inputs side by side. Shape: (N, ..., C_i) -> (N, ..., sum of C_i)

    Args:
        axis: the last one, as -1 or by its number.
    """

    axis: int = -1

    def check(self) -> None:
        self.axis = checked_int(self.name, "axis", self.axis, low=-MAX_EXTENT)
        if self.axis < 1 and self.axis != -1:
            raise ValueError(
                f"{self.name}: axis must be -1, the last one, or its number, got {self.axis}"
            )

    def apply(self, graph: GraphBuilder, inputs: Sequence[int]) -> int:
        if len(inputs) < 2:
            raise ValueError(f"{self.name}: expected a list of 2 or more inputs, got {len(inputs)}")
        rank = 1 + len(graph.shape(inputs[0]))
        if self.axis not in (-1, rank - 1):
            raise ValueError(
                f"{self.name}: axis must be the last one (-1 or {rank - 1}), got {self.axis}"
            )
        return graph.core.concatenate(inputs, name=graph.name)


@dataclass(eq=False, repr=False)
class Lambda(Layer):
    """y = function(x), written with pycnn.ops. Shape: as the function gives it

    Files name the function: it has to be registered, see pycnn.register_serializable.

    Args:
        function: of a tensor, or of a list of them.
        arguments: that it gets besides, by name.
    """

    function: Any
    arguments: Mapping[str, Any] | None = None

    def check(self) -> None:
        if isinstance(self.function, str):
            self.function = registered(self.function)
        if not callable(self.function):
            raise TypeError(f"{self.name}: function must be callable, got {self.function!r}")
        self.arguments = dict(self.arguments or {})

    def call(self, inputs: Any, training: bool = False) -> Any:
        """What the function gives."""
        more = {"training": training} if takes_argument(self.function, "training") else {}
        return self.function(inputs, **{**more, **(self.arguments or {})})


def add(inputs: Sequence[Tensor]) -> Tensor:
    """Add()(inputs), Keras' functional form."""
    return cast(Tensor, Add()(inputs))


def concatenate(inputs: Sequence[Tensor], axis: int = -1) -> Tensor:
    """Concatenate(axis)(inputs), Keras' functional form."""
    return cast(Tensor, Concatenate(axis)(inputs))
