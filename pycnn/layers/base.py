# SPDX-License-Identifier: Apache-2.0
"""The base of all layers, and the checks their arguments share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar
from weakref import WeakSet

import numpy as np

from .. import activations, initializers, regularizers
from ..engine.builder import GraphBuilder
from ..engine.tensors import Call, Extents, Tensor, call_layer
from ..engine.traced import GraphTensor, flatten, replace
from ..engine.weights import Variable, WeightHolder, WeightSpec
from ..errors import DTypeError, ShapeError
from ..ground.checks import checked_flag, checked_int
from ..ground.specs import Spec, is_ours, refuse_unknown, serialize
from ..ground.text import checked_name, quoted, snake_case
from ..initializers import Initializer
from ..ops.dispatch import is_slot
from ..regularizers import Regularizer
from . import calls

__all__ = [
    "Layer",
]

Pair = tuple[int, int]
Padding = str | tuple[int, int, int, int]
RegularizerLike = Any  # a name, an object, or a function of the weight
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
        self.built = False  # whether build() has run
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
            for child in self.children if "_fixed" in self.__dict__ else ():
                child.trainable = value
        object.__setattr__(self, key, value)

    def check(self) -> None:
        """Refuses bad arguments and brings the others into one form."""

    def rename(self, name: str) -> None:
        """For models: replaces a name the user did not choose."""
        object.__setattr__(self, "name", name)

    def add_nodes(self, graph: GraphBuilder, x: int) -> int:
        """Adds the layer's nodes to the graph and returns the value it outputs."""
        raise NotImplementedError(f"{type(self).__name__}: a layer needs call(self, inputs)")

    def apply(self, graph: GraphBuilder, inputs: Sequence[int]) -> int | list[int]:
        """add_nodes() for the number of inputs the layer takes, or what call() adds."""
        if calls.takes_call(self):
            return calls.trace(self, graph, inputs, calls.plain_form(len(inputs)))[0]
        if len(inputs) != 1:
            raise ValueError(f"{self.name}: expected one input, got {len(inputs)}")
        return self.add_nodes(graph, inputs[0])

    # ---- what layers of users write, and what it is written with ----

    def build(self, input_shape: Any) -> None:
        """Makes the weights by add_weight(), before the first call. For layers of users.

        Args:
            input_shape: (None, ...), of the first argument of call(); a list where that is one.
        """

    def call(self, inputs: Any) -> Any:
        """The outputs, made with pycnn.ops and other layers. For layers of users.

        It is traced into the graph, once for training and once for prediction, and runs in the
        core. It may have an argument `training`, which is True in a training step.
        """
        return GraphTensor(inputs.graph, self.add_nodes(inputs.graph, inputs.value))

    def add_weight(
        self,
        shape: int | Sequence[int] = (),
        initializer: Any = "glorot_uniform",
        dtype: Any = None,
        trainable: bool = True,
        *,
        regularizer: Any = None,
        name: str | None = None,
    ) -> Variable:
        """A weight of the layer, for its call(); trained where it and the layer are trainable."""
        extents: Any = shape if isinstance(shape, (list, tuple)) else (shape,)
        sizes = tuple(checked_int(self.name, "shape", extent) for extent in extents)
        if dtype not in (None, "float32", np.float32):
            raise DTypeError(f"{self.name}: weights are float32, got dtype {dtype!r}")
        base, number = checked_name(name or "variable"), 0
        unique = base
        while unique in self.variables:
            if name:
                raise ValueError(f"{self.name}: has a weight {name!r} already")
            number += 1
            unique = f"{base}_{number}"
        trained = checked_flag(self.name, "trainable", trainable)
        spec = WeightSpec(unique, sizes, initializers.get(initializer), trained)
        variable = Variable(self, spec, None)
        variable.regularizer = regularizers.get(regularizer)
        self.variables = {**self.variables, unique: variable}
        return variable

    def add_loss(self, loss: Any) -> None:
        """Adds a number to what fit() minimises; inside of call()."""
        if not isinstance(loss, GraphTensor):
            raise TypeError(f"{self.name}: add_loss expects a tensor that call() made")
        if loss.shape != ():
            raise ShapeError(f"{self.name}: add_loss expects one number, got {loss.shape}")
        loss.graph.losses.append(loss.value)

    @property
    def children(self) -> list[Any]:
        """The layers and models among its attributes, of a layer that a user wrote."""
        return [] if is_ours(self) else children_among(self)

    def body_for(self, shapes: Sequence[Extents]) -> Layer:
        """What a call runs: the layer itself."""
        return self

    def undo_calls(self) -> Callable[[], None]:
        """For calls that are refused later: what brings weights and calls back as they are now."""
        variables, uses, only, outputs = self.variables, self._uses, self._only, set(self._outputs)
        built, inner = self.built, [child.undo_calls() for child in self.children]

        def restore() -> None:
            self.variables, self._uses, self._only = variables, uses, only
            self._outputs, self.built = WeakSet(outputs), built
            for undo in inner:
                undo()

        return restore

    def adopt(self, spec: WeightSpec, groups: int | None) -> None:
        """Makes the weight, at the first call; later ones must ask for the same."""
        known = self.variables.get(spec.name)
        if known is None:
            self.variables = {**self.variables, spec.name: Variable(self, spec, groups)}
        else:
            spec.check_same_shape(self.name, known.spec)
            if type(self).call is not Layer.call:  # it was made before its use was known
                known.set_groups(groups)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """On symbolic tensors: the symbolic result. On arrays: runs at once and gives arrays.

        Args:
            args: a tensor or a list of them, or what call() of the layer takes.
            kwargs: training=True runs the layer as in a training step.
        """
        if "variables" not in self.__dict__:
            raise RuntimeError(
                f"{type(self).__name__}: __init__ must call super().__init__() first"
            )
        found, form = calls.form_of(args, kwargs)
        if any(isinstance(x, GraphTensor) for x in found):
            return calls.call_nested(self, args, kwargs)
        if not any(isinstance(x, Tensor) for x in found):
            if not found and args and not isinstance(args[0], (list, tuple)):
                call_layer(self, args)  # which says what it takes
            return calls.call_on_arrays(self, args, kwargs)
        body = calls.body_of(self, len(found), form)
        call = call_layer(self, found, None if body is self else body)
        self._record(call)
        structure = getattr(body, "result", None)
        if structure is None:
            return call.outputs[0]
        return replace(structure, is_slot, lambda slot: call.outputs[slot.index])

    def _record(self, call: Call) -> Tensor:
        output = call.outputs[0]
        self._uses += 1
        for made in call.outputs:
            self._outputs.add(made)
        self._only = output if self._uses == len(call.outputs) == 1 else None
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
        """The weights in Keras' order, then those of layers inside; none until it is called."""
        own = list(self.variables.values())
        inner = [variable for child in self.children for variable in child.weights]
        return list({id(variable): variable for variable in (*own, *inner)}.values())

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
                known = plain(value) if callable(value) and not isinstance(value, Spec) else value
                changed.append(f"{f.name}={known!r}")
        return f"{type(self).__name__}({', '.join(changed)})"


def children_among(owner: object) -> list[Any]:
    """The layers and models among the public attributes, also in lists and dicts; with names."""
    found: list[Any] = []
    for key, value in owner.__dict__.items():
        if not key.startswith("_"):
            for child in flatten(value, lambda x: isinstance(x, WeightHolder)):
                if all(child is not known for known in found):
                    found.append(child)
    taken: set[str] = set()
    for child in found:
        base, number = child.name, 0
        while child.name in taken and not child.named:
            number += 1
            child.rename(f"{base}_{number}")
        taken.add(child.name)
    return found


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
    if callable(value) and not isinstance(value, Spec):
        return activations.serializable(value)
    if isinstance(value, Spec):
        return serialize(value)
    return list(value) if isinstance(value, tuple) else value


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


def checked_regularizer(identifier: Any) -> Regularizer | None:
    """A regularizer from its name, its config, a function, or itself."""
    return regularizers.get(identifier)
