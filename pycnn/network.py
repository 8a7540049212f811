# SPDX-License-Identifier: Apache-2.0
"""A model's layers in the order they run, their names, and the graphs made of them."""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from .builder import GraphBuilder, WeightSpec
from .layers.base import Layer
from .layers.core import InputLayer
from .tensors import Tensor, ancestors
from .weights import WeightStore


class Network:
    """What lies between the input and the output tensors of a model.

    Args:
        seed: of the initial weights, where the layers have none yet.
        previous: the store of an earlier state of the same model; its values are kept.
    """

    def __init__(
        self,
        inputs: Sequence[Tensor],
        outputs: Sequence[Tensor],
        seed: int,
        previous: WeightStore | None = None,
    ) -> None:
        self.inputs, self.outputs = list(inputs), list(outputs)
        self.tensors = ancestors(self.outputs)
        self._check_ends()
        self.layers = list({id(t.layer): t.layer for t in self.tensors}.values())
        names = Names()
        for layer in sorted(self.layers, key=lambda layer: not layer.held):
            names.claim(layer)  # names in other models first: they stay
        self._seed, self._previous = seed, previous
        self._store: WeightStore | None = None
        this = weakref.ref(self)
        for layer in self._weighted():
            layer.make_store = lambda: getattr(this(), "store", None)

    def _check_ends(self) -> None:
        if not self.inputs or not self.outputs:
            raise ValueError("Model: expected at least one input and one output")
        known = {id(t) for t in self.tensors}
        given = {id(t) for t in self.inputs}
        if len(given) != len(self.inputs):
            raise ValueError("Model: an input is listed twice")
        for tensor in self.inputs:
            if not isinstance(tensor.layer, InputLayer):
                raise ValueError(f"Model: inputs must come from Input(), got {tensor!r}")
            if id(tensor) not in known:
                raise ValueError(f"Model: input {tensor!r} is not used by any output")
        for tensor in self.tensors:
            if not tensor.inputs and id(tensor) not in given:
                raise ValueError(f"Model: disconnected: {tensor!r} is not among the inputs")

    def build(self, training: bool) -> tuple[GraphBuilder, dict[int, int]]:
        """A fresh graph of all layers, and the value of every tensor (by its id)."""
        graph = GraphBuilder(training)
        values = {}
        for tensor in self.inputs:
            values[id(tensor)] = graph.core.input(tensor.layer.name, tensor.shape)
        for tensor in self.tensors:
            if tensor.inputs:
                graph.enter(tensor.layer)
                inputs = [values[id(x)] for x in tensor.inputs]
                values[id(tensor)] = tensor.layer.apply(graph, inputs)
        return graph, values

    @property
    def specs(self) -> Mapping[str, WeightSpec]:
        """The weights the layers declare, in order, as the layers are now."""
        return self.build(training=False)[0].weights

    @property
    def store(self) -> WeightStore:
        """The values of the weights; made, with initial values, when first asked for."""
        if self._store is None:
            self._store = self._find_store() or self.make_store(None)
        return self._store

    def make_store(self, values: Mapping[str, NDArray[np.float32]] | None) -> WeightStore:
        """A new store with the given values, or with initial ones."""
        self._store = WeightStore(self.build(training=False)[0], self._seed, values)
        if self._previous is not None:
            self._store.copy_from(self._previous)
        for layer in self._weighted():
            layer.store = self._store
        self._previous = None
        return self._store

    def _weighted(self) -> list[Layer]:
        names = {spec.layer for spec in self.specs.values()}
        return [layer for layer in self.layers if layer.name in names]

    def _find_store(self) -> WeightStore | None:
        """The store all layers share, where another model made it; None where a new one is due."""
        stores = [layer.store for layer in self._weighted()]
        foreign = [s for s in stores if s is not None and s is not self._previous]
        if not foreign:
            return None
        if all(store is foreign[0] for store in stores):
            for name, spec in self.specs.items():
                spec.check_same_shape(foreign[0].specs.get(name))
            return foreign[0]
        layer = next(layer for layer in self._weighted() if layer.store is foreign[0])
        raise ValueError(
            f"Model: layer {layer.name} already belongs to another model; make a new one "
            f"with {type(layer).__name__}.from_config() and set_weights()"
        )


class Names:
    """Hands out names that are unique in a model."""

    def __init__(self) -> None:
        self._taken: dict[str, Layer] = {}
        self._last: dict[str, int] = {}

    def claim(self, layer: Layer) -> None:
        """Takes the layer's name; renames it to name_1, name_2, ... where the user chose none."""
        name, base = layer.name, layer.name
        if name in self._taken and (layer.named or layer.held):
            raise ValueError(f"Model: layer names must be unique, got {name!r} twice")
        while name in self._taken:
            self._last[base] = self._last.get(base, 0) + 1
            name = f"{base}_{self._last[base]}"
        if name != base:
            layer.rename(name)
        self._taken[name] = layer

    def holds(self, layer: Layer) -> bool:
        """Whether this very layer was claimed."""
        return self._taken.get(layer.name) is layer

    def release(self, layer: Layer) -> None:
        """Gives the name of a claimed layer back."""
        self._taken.pop(layer.name, None)
        self._last.clear()  # start again from the lowest free number
