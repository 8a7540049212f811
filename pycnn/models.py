# SPDX-License-Identifier: Apache-2.0
"""Models: layers connected into a network, trained and run by trainer.py."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from . import door, files, saving, summary
from .builder import Node
from .checks import checked_flag, checked_int
from .door import P, R
from .errors import ShapeError
from .layers.base import Layer
from .layers.core import InputLayer
from .network import Network, Tree, all_or_nothing, begin_at, building
from .seeding import next_model_seed
from .specs import refuse_unknown
from .stack import Stack, with_inner
from .tensors import Extents, Tensor, as_list, call_layer
from .text import checked_name
from .trainer import Trainer
from .weights import Variable, WeightHolder


class Model(Trainer, WeightHolder):
    """The layers between symbolic inputs and outputs; they may branch and join.

    The weights belong to the layers: any number of models may share these, trained or not. Called
    on symbolic tensors, a model is a layer of another model, which keeps it as it is then.

    Args:
        inputs: one Input() or a list of them.
        outputs: one tensor or a list; fit() needs one.

    Example:
        >>> x = Input((8, 8, 1))
        >>> y = Flatten()(Conv2D(16, 3, activation="relu")(x))
        >>> model = Model(x, Dense(10, activation="softmax")(y))
    """

    named = False  # the user chose the name

    def __init__(self, inputs: Any, outputs: Any, name: str = "") -> None:
        self._begin(name, "model")
        self._network = Network(as_list(inputs), as_list(outputs))
        begin_at(self._seed, 0, self.leaves())

    def _begin(self, name: str, default: str) -> None:
        Trainer.__init__(self)
        self.named = bool(name)
        self._name = checked_name(name) if name else default
        self.holders = 0  # models that know this one by its name
        self._trainable = True
        self._seed = next_model_seed()

    def __setattr__(self, key: str, value: Any) -> None:
        refuse_unknown(self, key, self.__dict__.get("_name", type(self).__name__))
        object.__setattr__(self, key, value)

    @property
    def name(self) -> str:
        """What files and models around it call it; those that hold it already keep the old one."""
        return self._name

    @name.setter
    def name(self, value: str) -> None:
        self._name, self.named = checked_name(value), True

    @property
    def seed(self) -> int:
        """Of the initial weights, of dropout and of shuffling; taken from the global seed."""
        return self._seed

    def restore_seed(self, seed: int) -> None:
        """For loading: goes on with the random numbers of the saved model."""
        self._seed = seed

    def restore_frozen(self) -> None:
        """For loading: trainable is False, whatever the flags of the layers."""
        self._trainable = False

    @property
    def network(self) -> Network:
        return self._network

    @property
    def layers(self) -> list[Any]:
        """The layers in the order they run; models among them where these are used as layers."""
        return list(self.network.layers)

    def get_layer(self, name: str | None = None, index: int | None = None) -> Any:
        """The layer of that name, or at that place of `layers`."""
        if (name is None) == (index is None):
            raise ValueError(f"{self.name}: get_layer takes a name or an index")
        if index is not None:
            return self.layers[index]
        names = self.network.names
        for layer in self.layers:
            if names.of(layer) == name:
                return layer
        known = ", ".join(names.of(layer) for layer in self.layers)
        raise ValueError(f"{self.name}: expected the name of a layer ({known}), got {name!r}")

    @property
    def input(self) -> Any:
        inputs = self.network.inputs
        return inputs if len(inputs) > 1 else inputs[0]

    @property
    def output(self) -> Any:
        outputs = self.network.outputs
        return outputs if len(outputs) > 1 else outputs[0]

    @property
    def input_shape(self) -> Extents:
        return self.network.inputs[0].shape

    @property
    def output_shape(self) -> Extents:
        return self.network.outputs[0].shape

    # ---- weights ----

    @property
    def weights(self) -> list[Variable]:
        """All weights, layer by layer, each in Keras' order (kernel, bias)."""
        return [v for v in self.network.variables.values() if not v.spec.fixed]

    @property
    def trainable(self) -> bool:
        """Whether fit() may change the layers, as Keras has it.

        Setting it sets it for every layer in the model; it takes effect at the next compile().
        """
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        self._trainable = checked_flag(self.name, "trainable", value)
        for node in self.layer_tree.nodes():
            if isinstance(node, Model):
                node._trainable = self._trainable
            elif isinstance(node, Layer):
                node.trainable = self._trainable

    @property
    def trainable_weights(self) -> list[Variable]:
        thawed = self.trained_layers()
        return [v for v in self.weights if v.trainable and v.layer in thawed]

    # ---- description and file ----

    def summary(self, print_fn: Callable[[str], Any] = print) -> None:
        """Prints the layers with their output shapes, parameters and multiply-adds."""
        print_fn(summary.table(self))

    def save(
        self,
        filepath: str | Path,
        overwrite: bool = True,
        *,
        include_optimizer: bool = True,
        allow_nonfinite: bool = False,
    ) -> None:
        """Writes one safetensors file (.pycnn), all or nothing; load_model() reads it."""
        files.checked_suffix(filepath)
        flags = {"include_optimizer": include_optimizer, "allow_nonfinite": allow_nonfinite}
        overwrite = checked_flag("save", "overwrite", overwrite)
        data = saving.to_bytes(self, **{k: checked_flag("save", k, v) for k, v in flags.items()})
        files.write_file(filepath, data, overwrite=overwrite)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[bytes]]:
        return saving.from_bytes, (saving.to_bytes(self, allow_nonfinite=True),)

    def __call__(self, inputs: Any) -> Any:
        """The outputs for one batch of arrays; symbolic for symbolic tensors."""
        given = as_list(inputs)
        if not any(isinstance(x, Tensor) for x in given):
            return self.predict_on_batch(inputs)
        outputs = call_layer(self, given).outputs
        return list(outputs) if len(outputs) > 1 else outputs[0]

    # ---- as a layer of another model ----

    def rename(self, name: str) -> None:
        """For models: replaces a name the user did not choose."""
        self._name = name

    @property
    def layer_tree(self) -> Tree:
        """The layers, and those of models inside as they were when they were called."""
        return self.network

    def leaves(self) -> list[Layer]:
        """The layers it is made of, those of models inside it too."""
        return list(self.layer_tree.leaves())

    def trained_layers(self) -> set[Layer]:
        """The layers that fit() would change, were the model compiled now."""
        return set(self.layer_tree.trained()) if self._trainable else set()

    def body_for(self, shapes: Sequence[Extents]) -> Network:
        """What a call runs: the model as it is now."""
        return self.network

    def undo_calls(self) -> Callable[[], None]:
        """For calls that are refused later: they change nothing in a model with an input."""
        return lambda: None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}: {len(self.layers)} layers>"


class Sequential(Model):
    """A stack of layers.

    Without an Input or input_shape, the first data seen (or build()) gives the input's shape.

    Example:
        >>> model = Sequential([Dense(12, activation="relu", input_dim=8), Dense(1)])
    """

    def __init__(
        self, layers: Sequence[Layer | Model | Tensor] | None = None, name: str = ""
    ) -> None:
        self._begin(name, "sequential")
        self._known: tuple[Stack, int, Network] | None = None  # and what the network follows from
        self._stack = Stack()
        self._streams = 0  # of initial values, given so far; each is given once
        for layer in layers or []:
            self.add(layer)

    def add(self, layer: Layer | Model | Tensor) -> None:
        """Puts a layer, or a model, on top."""
        if isinstance(layer, Tensor) and isinstance(layer.layer, InputLayer):
            layer = layer.layer
        if not isinstance(layer, (Layer, Model)):
            raise TypeError(f"{self.name}: add takes a layer, got {layer!r}")
        if self._stack.names.holds(layer):
            raise ValueError(f"{self.name}: layer {layer.name} is already in the model")
        if isinstance(layer, InputLayer) and self._stack.layers:
            raise ValueError(f"{self.name}: the input must come first")
        if isinstance(layer, Model) and any(node is self for node in with_inner(layer)):
            raise ValueError(f"{self.name}: a model cannot contain itself")
        shape = None if self._stack.layers else _input_shape_of(layer)
        new = [layer] if shape is None else [InputLayer(shape), layer]
        height = len(self._stack.layers)
        try:
            with building(), all_or_nothing(with_inner(layer)):
                for one in new:
                    self._stack.push(one)
                self._changed(*new)
        except BaseException:  # refused, or interrupted
            self._stack.cut(height, *new)
            self._changed()
            raise

    def pop(self) -> Any:
        """Takes the top layer off."""
        if not self._stack.layers:
            raise ValueError(f"{self.name}: there is no layer to pop")
        layer, height = self._stack.layers[-1], len(self._stack.layers) - 1
        try:
            self._stack.cut(height)
            self._changed()
        except BaseException:
            self._stack.cut(height, layer)
            self._changed()
            raise
        return layer

    def _changed(self, *new: Node) -> None:
        leaves = (leaf for node in new for leaf in with_inner(node) if isinstance(leaf, Layer))
        self._streams = begin_at(self._seed, self._streams, leaves)
        self.forget_programs()
        self.flag_new_layers()

    def build(self, input_shape: Extents) -> None:
        """Sets the shape of the input, batch included: build((None, 8)); it cannot change later."""
        shape: Any = tuple(input_shape)[1:]
        self.as_first_call(self._start, shape)
        known = self._stack.outputs[0].shape
        if shape != known[1:]:
            raise ShapeError(
                f"{self.name}: built for inputs of shape {known}, got {tuple(input_shape)}"
            )

    def _start(self, shape: Any) -> None:
        if not self.built:
            self._stack = self._stack.on(InputLayer(shape))
            self._changed(*self._stack.layers)

    @property
    def built(self) -> bool:
        """Whether the shape of the input is known."""
        return bool(self._stack.outputs)

    @property
    def network(self) -> Network:
        stack, known = self._stack, self._known
        if known is None or known[0] is not stack or known[1] != stack.changes:
            if len(stack.outputs) < 2:
                raise ValueError(
                    f"{self.name}: needs at least one layer and the shape of its input: "
                    "start with Input(shape), or call build()"
                )
            known = stack, stack.changes, stack.network()
            self._known = known
        return known[2]

    @property
    def layers(self) -> list[Any]:
        return [layer for layer in self._stack.layers if not isinstance(layer, InputLayer)]

    @property
    def layer_tree(self) -> Tree:
        return self._stack.tree()

    def body_for(self, shapes: Sequence[Extents]) -> Network:
        if self._stack.layers and not self.built and len(shapes) == 1:
            self.build(shapes[0])
        return self.network

    def undo_calls(self) -> Callable[[], None]:
        if self.built:
            return super().undo_calls()
        stack, streams, flags = self._stack, self._streams, self._flags

        def restore() -> None:
            self._stack, self._streams = stack, streams
            self._changed()
            self._flags = flags

        return restore

    def as_first_call(self, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        if self.built:
            return call(*args, **kwargs)
        with building(), all_or_nothing(with_inner(self)):
            return call(*args, **kwargs)

    def __reduce__(self) -> tuple[Any, ...]:
        if len(self._stack.outputs) > 1:
            return super().__reduce__()
        flags = [self.is_trained(layer) for layer in self.leaves()]
        state = (self._compiled, self._trainable, flags, self._streams)
        return _copy_unbuilt, (self.name, self._seed, self.named, list(self._stack.layers), state)

    def _inputs(self, x: Any) -> list[NDArray[Any]]:
        return self.as_first_call(self._inputs_of_first, x)

    def _inputs_of_first(self, x: Any) -> list[NDArray[Any]]:
        if self._stack.layers and not self.built:
            self.build(door.shape_of(self.name, x))
        return super()._inputs(x)


def _copy_unbuilt(
    name: str, seed: int, named: bool, stack: Sequence[Layer], state: tuple[Any, ...]
) -> Sequential:
    """For copies of a model without layers or without an input."""
    compiled, model = state[0], Sequential(stack, name)
    model.named = named
    model.restore_seed(seed)
    model._streams = state[3]
    if not state[1]:
        model.restore_frozen()
    if compiled is not None:
        model.compile(*compiled[:2], metrics=compiled.metrics, on_nonfinite=compiled.on_nonfinite)
        model.set_trainable(dict(zip(model.leaves(), state[2], strict=True)))
    return model


def _input_shape_of(layer: Layer | Model) -> tuple[int, ...] | None:
    """Without the batch, where a first layer says it."""
    if isinstance(layer, Layer):
        return layer.input_shape
    if isinstance(layer, Sequential) and not layer.built:
        return None
    return tuple(extent or 0 for extent in layer.input_shape[1:])


def load_model(
    filepath: str | Path, *, max_activations: int | None = saving.MAX_ACTIVATIONS
) -> Model:
    """The model that save() wrote, compiled as it was; refuses files that are not exactly so.

    Args:
        max_activations: bytes that a layer may read and write for one sample; a small file can ask
            for any amount. None: no limit.
    """
    if max_activations is not None:
        checked_int("load_model", "max_activations", max_activations, 0, sys.maxsize)
    return saving.load_file(filepath, max_activations)
