# SPDX-License-Identifier: Apache-2.0
"""The base of all layers, and the checks their arguments share."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar
from weakref import WeakSet

import numpy as np

from .. import initializers
from ..engine.builder import GraphBuilder
from ..engine.tensors import Call, Extents, Tensor, call_layer
from ..engine.weights import Variable, WeightHolder, WeightSpec
from ..ground.checks import checked_flag, checked_int
from ..ground.specs import Spec, refuse_unknown, serialize
from ..ground.text import checked_name, quoted
from ..initializers import Initializer

__all__ = [
    "Layer",
]

Pair = tuple[int, int]
Padding = str | tuple[int, int, int, int]
LayerT = TypeVar("LayerT", bound="Layer")


@dataclass(eq=False, repr=False)
class Layer(WeightHolder):
    """A spec: arguments, checked once and then fixed, and build(), which adds nodes to a graph.

    Args:
        name: unique in a model; given by the model where absent.
        trainable: whether fit() changes the weights; takes effect at the next compile().
        input_shape: without the batch; makes this the first layer of a Sequential.
        input_dim: the same for vectors, input_shape=(input_dim,).
    """

    name: str = field(default="", kw_only=True)
    trainable: bool = field(default=True, kw_only=True)
    input_shape: tuple[int, ...] | None = field(default=None, kw_only=True)
    input_dim: int | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        self.named = bool(self.name)
        self.name = checked_name(self.name) if self.name else snake_case(type(self).__name__)
        if self.input_dim is not None:
            self.input_shape, self.input_dim = (self.input_dim,), None
        if self.input_shape is not None:
            self.input_shape = checked_extents(self.name, "input_shape", self.input_shape)
        for f in fields(self):
            value = getattr(self, f.name)
            if f.type in ("bool", bool):
                setattr(self, f.name, checked_flag(self.name, f.name, value))
            elif isinstance(value, np.generic):
                setattr(self, f.name, value.item())
        self.check()
        self._uses = 0  # calls so far
        self._only: Tensor | None = None  # output of the call, while there is one
        # outputs of all calls; a layer that many models share keeps none of these alive
        self._outputs: WeakSet[Tensor] = WeakSet()
        self.variables: dict[str, Variable] = {}  # by name, since the first call
        self.holders = 0  # models that know the layer by its name
        self._fixed = True

    def __setattr__(self, key: str, value: Any) -> None:
        if key in self.__dataclass_fields__ and key != "trainable" and "_fixed" in self.__dict__:
            raise AttributeError(
                f"{self.name}: {key} is fixed when the layer is made; make a new layer"
            )
        if "_fixed" in self.__dict__:
            refuse_unknown(self, key, self.name)
        if key == "trainable":
            value = checked_flag(type(self).__name__, key, value)
        object.__setattr__(self, key, value)

    def check(self) -> None:
        """Refuses bad arguments and brings the others into one form."""

    def rename(self, name: str) -> None:
        """For models: replaces a name the user did not choose."""
        object.__setattr__(self, "name", name)

    def build(self, graph: GraphBuilder, x: int) -> int:
        """Adds the layer's nodes to the graph and returns the value it outputs."""
        raise NotImplementedError

    def apply(self, graph: GraphBuilder, inputs: Sequence[int]) -> int:
        """build() for the number of inputs the layer takes."""
        (x,) = inputs
        return self.build(graph, x)

    def body_for(self, shapes: Sequence[Extents]) -> Layer:
        """What a call runs: the layer itself."""
        return self

    def undo_calls(self) -> Callable[[], None]:
        """For calls that are refused later: what brings weights and calls back as they are now."""
        variables, uses, only, outputs = self.variables, self._uses, self._only, set(self._outputs)

        def restore() -> None:
            self.variables, self._uses, self._only = variables, uses, only
            self._outputs = WeakSet(outputs)

        return restore

    def adopt(self, spec: WeightSpec, groups: int | None) -> None:
        """Makes the weight, at the first call; later ones must ask for the same."""
        known = self.variables.get(spec.name)
        if known is None:
            self.variables = {**self.variables, spec.name: Variable(self, spec, groups)}
        else:
            spec.check_same_shape(self.name, known.spec)

    def __call__(self, inputs: Tensor) -> Tensor:
        return self._record(call_layer(self, (inputs,)))

    def _record(self, call: Call) -> Tensor:
        (output,) = call.outputs
        self._uses += 1
        self._outputs.add(output)
        self._only = output if self._uses == 1 else None
        return output

    def take_back(self, output: Tensor) -> None:
        """For pop(): as if the call had not been."""
        self._uses -= 1
        self._outputs.discard(output)
        self._only = next(iter(self._outputs), None) if self._uses == 1 else None

    @property
    def output(self) -> Tensor:
        """The symbolic output, for a new Model; of a layer that was called once."""
        if self._uses != 1:
            raise RuntimeError(f"{self.name}: output needs exactly 1 call, got {self._uses}")
        if self._only is None:
            raise RuntimeError(f"{self.name}: the model of its only call is gone")
        return self._only

    @property
    def output_shape(self) -> Extents:
        return self.output.shape

    @property
    def weights(self) -> list[Variable]:
        """The weights in Keras' order; none until the layer is called."""
        return list(self.variables.values())

    @property
    def trainable_weights(self) -> list[Variable]:
        return [variable for variable in self.weights if variable.trainable]

    def get_config(self) -> dict[str, Any]:
        """The arguments that make an equal layer, as plain data."""
        config = {f.name: plain(getattr(self, f.name)) for f in fields(self)}
        for absent in ("input_shape", "input_dim"):  # said by the model's Input
            del config[absent]
        return config

    @classmethod
    def from_config(cls: type[LayerT], config: Mapping[str, Any]) -> LayerT:
        return cls(**config)

    def __reduce__(self) -> tuple[Any, ...]:
        weights = [(v.spec, v.groups, v.numpy()) for v in self.variables.values()]
        return _restore, (type(self), self.get_config(), self.named, weights)

    def __repr__(self) -> str:
        changed = []
        for f in fields(self):
            value = getattr(self, f.name)
            if f.name == "name" and not self.named:
                continue
            if value != f.default:
                changed.append(f"{f.name}={value!r}")
        return f"{type(self).__name__}({', '.join(changed)})"


def _restore(
    kind: type[LayerT], config: Mapping[str, Any], named: bool, weights: Sequence[Any]
) -> LayerT:
    """For copies: the layer and the values of its weights, known to no model."""
    layer = kind.from_config(config)
    layer.named = named
    for spec, groups, values in weights:
        layer.adopt(spec, groups)
        layer.variables[spec.name].assign(values)
    return layer


def plain(value: Any) -> Any:
    """value as JSON knows it."""
    if isinstance(value, Spec):
        return serialize(value)
    return list(value) if isinstance(value, tuple) else value


def snake_case(name: str) -> str:
    """Conv2D -> conv2d, GlobalAveragePooling2D -> global_average_pooling2d (Keras' rule)."""
    name = re.sub(r"(.)([A-Z][a-z0-9]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


def checked_extents(where: str, argument: str, value: Any) -> tuple[int, ...]:
    """A shape without the batch, of 1 to 7 extents."""
    if isinstance(value, (int, np.integer)):
        value = (value,)
    if not isinstance(value, (tuple, list)) or not 1 <= len(value) <= 7:
        raise ValueError(f"{where}: {argument} must be 1 to 7 extents, got {quoted(value)}")
    return tuple(checked_int(where, argument, extent) for extent in value)


def checked_pair(where: str, argument: str, value: Any, low: int = 1) -> Pair:
    """(height, width) from one integer or two."""
    if not isinstance(value, (tuple, list)):
        value = (value, value)
    if len(value) != 2:
        raise ValueError(f"{where}: {argument} must be 1 or 2 integers, got {value!r}")
    first, second = (checked_int(where, argument, extent, low) for extent in value)
    return (first, second)


def as_pair(value: int | Pair) -> Pair:
    """A pair that was checked before."""
    return (value, value) if isinstance(value, int) else value


def checked_padding(where: str, value: Any) -> Padding:
    """ "valid", "same", or (top, bottom, left, right), also as ((top, bottom), (left, right))."""
    if isinstance(value, str):
        if value.lower() in ("valid", "same"):
            return value.lower()
    elif isinstance(value, (tuple, list)):
        flat = value
        if len(value) == 2 and all(isinstance(side, (tuple, list)) for side in value):
            flat = [extent for side in value for extent in side]
        if len(flat) == 4:
            top, bottom, left, right = (checked_int(where, "padding", e, low=0) for e in flat)
            return (top, bottom, left, right)
    raise ValueError(
        f"{where}: padding must be 'valid', 'same' or ((top, bottom), (left, right)), got {value!r}"
    )


def checked_channels_last(where: str, data_format: str | None) -> None:
    if data_format not in (None, "channels_last"):
        raise ValueError(
            f"{where}: data_format must be 'channels_last' (images are NHWC), got {data_format!r}"
        )


def checked_initializer(identifier: Any) -> str | Initializer:
    """A known initializer: names stay names, configs become objects."""
    found = initializers.get(identifier)
    return identifier if isinstance(identifier, str) else found
