# SPDX-License-Identifier: Apache-2.0
"""Models: layers connected into a network, trained and run by trainer.py."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import files, saving, summary
from .errors import ShapeError
from .layers.base import Layer
from .layers.core import InputLayer
from .network import Names, Network
from .seeding import next_model_seed
from .tensors import Extents, Tensor
from .text import checked_name
from .trainer import Trainer
from .weights import Variable, assign_all


def as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


class Model(Trainer):
    """The layers between symbolic inputs and outputs; they may branch and join.

    Args:
        inputs: one Input() or a list of them.
        outputs: one tensor or a list; fit() needs one.

    Example:
        >>> x = Input((8, 8, 1))
        >>> y = Flatten()(Conv2D(16, 3, activation="relu")(x))
        >>> model = Model(x, Dense(10, activation="softmax")(y))
    """

    def __init__(self, inputs: Any, outputs: Any, name: str = "") -> None:
        super().__init__()
        self.name = checked_name(name) if name else "model"
        self._seed = next_model_seed()
        self._network: Network | None = Network(as_list(inputs), as_list(outputs), self._seed)

    @property
    def seed(self) -> int:
        """Of the initial weights, of dropout and of shuffling; taken from the global seed."""
        return self._seed

    def restore_seed(self, seed: int) -> None:
        """For loading: goes on with the random numbers of the saved model."""
        self._seed = seed

    @property
    def network(self) -> Network:
        assert self._network is not None
        return self._network

    @property
    def layers(self) -> list[Layer]:
        return list(self.network.layers)

    def get_layer(self, name: str | None = None, index: int | None = None) -> Layer:
        """The layer of that name, or at that place of `layers`."""
        if (name is None) == (index is None):
            raise ValueError(f"{self.name}: get_layer takes a name or an index")
        if index is not None:
            return self.layers[index]
        for layer in self.layers:
            if layer.name == name:
                return layer
        known = ", ".join(layer.name for layer in self.layers)
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
        network = self.network
        _ = network.store  # its layers have their weights from now on
        return [variable for layer in network.layers for variable in layer.weights]

    @property
    def trainable_weights(self) -> list[Variable]:
        return [variable for variable in self.weights if variable.trainable]

    @property
    def non_trainable_weights(self) -> list[Variable]:
        return [variable for variable in self.weights if not variable.trainable]

    def get_weights(self) -> list[NDArray[np.float32]]:
        """Copies of all weights; kernels are HWIO."""
        return [variable.numpy() for variable in self.weights]

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Takes what get_weights returns; where one does not fit, nothing changes."""
        assign_all(self.name, self.weights, weights)

    def count_params(self) -> int:
        return sum(variable.size for variable in self.weights)

    # ---- description and file ----

    def summary(self, print_fn: Callable[[str], Any] = print) -> None:
        """Prints the layers with their output shapes, parameters and multiply-adds."""
        print_fn(summary.table(self.name, self.network))

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
        data = saving.to_bytes(
            self, include_optimizer=include_optimizer, allow_nonfinite=allow_nonfinite
        )
        files.write_file(filepath, data, overwrite=overwrite)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[bytes]]:
        return saving.from_bytes, (saving.to_bytes(self, allow_nonfinite=True),)

    def __call__(self, inputs: Any) -> Any:
        """The outputs for one batch of arrays."""
        if isinstance(inputs, Tensor):
            raise TypeError(f"{self.name}: a model inside a model is not supported; use its layers")
        return self.predict_on_batch(inputs)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}: {len(self.layers)} layers>"


class Sequential(Model):
    """A stack of layers.

    Without an Input or input_shape, the first data seen (or build()) gives the input's shape.

    Example:
        >>> model = Sequential([Dense(12, activation="relu", input_dim=8), Dense(1)])
    """

    def __init__(self, layers: Sequence[Layer | Tensor] | None = None, name: str = "") -> None:
        Trainer.__init__(self)
        self.name = checked_name(name) if name else "sequential"
        self._seed = next_model_seed()
        self._network = None
        self._stack: list[Layer] = []
        self._outputs: list[Tensor] = []  # of each layer; empty while the input is unknown
        self._names = Names()
        for layer in layers or []:
            self.add(layer)

    def add(self, layer: Layer | Tensor) -> None:
        """Puts a layer on top."""
        if isinstance(layer, Tensor) and isinstance(layer.layer, InputLayer):
            layer = layer.layer
        if not isinstance(layer, Layer):
            raise TypeError(f"{self.name}: add takes a layer, got {layer!r}")
        self._check_open("add")
        if self._names.holds(layer):
            raise ValueError(f"{self.name}: layer {layer.name} is already in the model")
        if isinstance(layer, InputLayer) and self._stack:
            raise ValueError(f"{self.name}: the input must come first")
        if not self._stack and layer.input_shape is not None:
            self._push(InputLayer(layer.input_shape))
        self._push(layer)

    def _push(self, layer: Layer) -> None:
        self._names.claim(layer)
        try:
            if isinstance(layer, InputLayer):
                self._outputs.append(layer.tensor())
            elif self._outputs:
                self._outputs.append(layer(self._outputs[-1]))
        except Exception:
            self._names.release(layer)
            raise
        self._stack.append(layer)
        this = weakref.ref(self)
        if not isinstance(layer, InputLayer):
            layer.make_store = lambda: (model := this()) and model._touch_store()
        self._forget_network()

    def _touch_store(self) -> object:
        """Makes the weights, where the input's shape is known."""
        return self.network.store if len(self._outputs) > 1 else None

    def pop(self) -> Layer:
        """Takes the top layer off."""
        self._check_open("pop")
        if not self._stack:
            raise ValueError(f"{self.name}: there is no layer to pop")
        layer = self._stack.pop()
        layer.make_store = None
        del self._outputs[len(self._stack) :]
        self._names.release(layer)
        self._forget_network()
        return layer

    def _check_open(self, verb: str) -> None:
        if self._compiled is not None:
            raise ValueError(f"{self.name}: cannot {verb} a layer after compile()")

    def _forget_network(self) -> None:
        self._programs = {}
        self._stale, self._network = self._network or self._stale, None

    _stale: Network | None = None  # holds the values until the next network takes them over

    def build(self, input_shape: Extents) -> None:
        """Sets the shape of the input, batch included: build((None, 8)); it cannot change later."""
        shape: Any = tuple(input_shape)[1:]
        if self._outputs:
            if shape != self._outputs[0].shape[1:]:
                raise ShapeError(
                    f"{self.name}: built for inputs of shape {self._outputs[0].shape}, "
                    f"got {tuple(input_shape)}"
                )
            return
        stack, names = self._stack, self._names
        self._stack, self._names = [], Names()
        try:
            for layer in (InputLayer(shape), *stack):
                self._push(layer)
        except Exception:
            self._stack, self._outputs, self._names = stack, [], names
            raise

    @property
    def network(self) -> Network:
        if self._network is None:
            if len(self._outputs) < 2:
                raise ValueError(
                    f"{self.name}: needs at least one layer and the shape of its input: "
                    "start with Input(shape), or call build()"
                )
            previous = self._stale.store if self._stale is not None else None
            ends = self._outputs[:1], self._outputs[-1:]
            self._network = Network(*ends, self._seed, previous)
            self._stale = None
        return self._network

    @property
    def layers(self) -> list[Layer]:
        return [layer for layer in self._stack if not isinstance(layer, InputLayer)]

    def _inputs(self, x: Any) -> list[NDArray[Any]]:
        if not self._outputs and self._stack:
            shape = np.shape(x)
            if len(shape) < 2:
                raise ShapeError(f"{self.name}: expected x of shape (N, ...), got {shape}")
            self.build(shape)
        return super()._inputs(x)


def load_model(filepath: str | Path, *, max_activations: int = saving.MAX_ACTIVATIONS) -> Model:
    """The model that save() wrote, compiled as it was; refuses files that are not exactly so.

    Args:
        max_activations: bytes that a layer may read and write for one sample; a small file can ask
            for any amount.
    """
    return saving.load_file(filepath, max_activations)
