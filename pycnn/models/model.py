# SPDX-License-Identifier: Apache-2.0
"""Models: layers connected into a network, trained and run by trainer.py."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .. import summary
from ..engine.network import Network, Tree, begin_at
from ..engine.tensors import Extents, Tensor, as_list, call_layer
from ..engine.weights import Leaf, Variable, WeightHolder
from ..files import saving
from ..ground import disk
from ..ground.checks import checked_flag
from ..ground.seeding import next_model_seed
from ..ground.specs import refuse_unknown
from ..ground.text import checked_name
from ..layers.base import Layer
from ..training.trainer import Trainer


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
        return list(self.network.variables.values())

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
        disk.checked_suffix(filepath)
        flags = {"include_optimizer": include_optimizer, "allow_nonfinite": allow_nonfinite}
        overwrite = checked_flag("save", "overwrite", overwrite)
        data = saving.to_bytes(self, **{k: checked_flag("save", k, v) for k, v in flags.items()})
        disk.write_file(filepath, data, overwrite=overwrite)

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

    def leaves(self) -> list[Leaf]:
        """The layers it is made of, those of models inside it too."""
        return list(self.layer_tree.leaves())

    def trained_layers(self) -> set[Leaf]:
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
