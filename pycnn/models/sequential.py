# SPDX-License-Identifier: Apache-2.0
"""Sequential: a stack of layers, which may wait for the shape of its input."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from numpy.typing import NDArray

from ..engine.builder import Node
from ..engine.network import Network, Tree, all_or_nothing, begin_at, building
from ..engine.tensors import Extents, Tensor
from ..errors import ShapeError
from ..layers.base import Layer
from ..layers.core import InputLayer
from ..training import door
from ..training.door import P, R
from .model import Model
from .stack import Stack, with_inner


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
