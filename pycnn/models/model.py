# SPDX-License-Identifier: Apache-2.0
"""Models: layers connected into a network, trained and run by trainer.py."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from .. import summary
from ..engine.network import Network, Tree, all_or_nothing, begin_at, building
from ..engine.tensors import Extents, Tensor, as_list, call_layer
from ..engine.traced import GraphTensor, as_array, as_tensor, flatten
from ..engine.weights import Leaf, Variable, WeightHolder
from ..errors import ShapeError
from ..files import saving
from ..ground import disk
from ..ground.checks import checked_flag
from ..ground.seeding import next_model_seed
from ..ground.specs import refuse_unknown
from ..ground.text import checked_name, snake_case
from ..layers.base import Layer, children_among
from ..layers.core import Input
from ..training import door
from ..training.door import P, R
from ..training.trainer import Trainer
from .called import Called


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

    def __init__(self, inputs: Any = None, outputs: Any = None, name: str = "") -> None:
        kind = type(self)
        self._begin(name, "model" if kind is Model else snake_case(kind.__name__))
        self._network: Network | None = None  # of a subclass, until the shapes are known
        if inputs is None and outputs is None and self._is_called:
            return
        if inputs is None or outputs is None:
            raise TypeError(
                f"{kind.__name__}: expected inputs and outputs, or a subclass with call(inputs)"
            )
        self._network = Network(as_list(inputs), as_list(outputs))
        begin_at(self._seed, 0, self.leaves())

    # ---- subclasses with call() ----

    @property
    def _is_called(self) -> bool:
        return type(self).call is not Model.call

    def call(self, inputs: Any) -> Any:
        """The outputs, made with layers and pycnn.ops. For subclasses.

        It may have an argument `training`, which is True in a training step.
        """
        raise NotImplementedError(f"{type(self).__name__}: needs call(self, inputs)")

    @property
    def built(self) -> bool:
        """Whether the shapes of the inputs are known."""
        return self._network is not None

    def build(self, input_shape: Any) -> None:
        """Sets the shape of the input, (None, ...), or of several: for subclasses with call()."""
        several = isinstance(input_shape, list)
        shapes = [tuple(shape) for shape in (input_shape if several else [input_shape])]
        self.as_first_call(self._start_call, shapes)
        known = [tensor.shape for tensor in self.network.inputs]
        if [shape[1:] for shape in shapes] != [shape[1:] for shape in known]:
            raise ShapeError(f"{self.name}: built for inputs of shape {known}, got {shapes}")

    def _start_call(self, shapes: list[tuple[int | None, ...]]) -> None:
        if self.built:
            return
        inputs = [Input([e or 0 for e in shape[1:]]) for shape in shapes]
        results = Called(self)(inputs if len(inputs) > 1 else inputs[0])
        self._network = Network(inputs, flatten(results, lambda x: isinstance(x, Tensor)))
        begin_at(self._seed, 0, self.leaves())
        self.forget_programs()
        self.flag_new_layers()

    def as_first_call(self, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        if self._network is not None or not self._is_called:
            return call(*args, **kwargs)
        with building(), all_or_nothing(children_among(self)):
            try:
                return call(*args, **kwargs)
            except BaseException:
                self._network = None
                raise

    def _inputs(self, x: Any) -> list[NDArray[Any]]:
        if self._is_called and not self.built:
            self.as_first_call(self._build_for, x)
        return super()._inputs(x)

    def _build_for(self, x: Any) -> None:
        several = isinstance(x, (list, tuple)) and len(x) > 1 and hasattr(x[0], "shape")
        arrays = x if several else [x]
        self.build([(None, *door.shape_of(self.name, array)[1:]) for array in arrays])

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
        if self._network is None:
            raise ValueError(
                f"{self.name}: the shape of its input is not known: call it on data, or build()"
            )
        return self._network

    @property
    def layers(self) -> list[Any]:
        """The layers in the order they run; models among them where these are used as layers."""
        return children_among(self) if self._is_called else list(self.network.layers)

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
        inside = [x for x in given if isinstance(x, GraphTensor)]
        if inside:
            graph, values = inside[0].graph, [as_tensor(inside[0].graph, x).value for x in given]
            body = self.body_for([graph.core.shape(value) for value in values])
            results = graph.apply(body, f"{graph.name}/{self.name}", values)
            made: list[Any] = [GraphTensor(graph, value) for value in results]
        elif any(isinstance(x, Tensor) for x in given):
            made = list(call_layer(self, given).outputs)
        else:
            made = [as_array(y) for y in as_list(self.predict_on_batch(inputs))]
        return made if len(made) > 1 else made[0]

    # ---- as a layer of another model ----

    def rename(self, name: str) -> None:
        """For models: replaces a name the user did not choose."""
        self._name = name

    @property
    def layer_tree(self) -> Tree:
        """The layers, and those of models inside as they were when they were called."""
        if self._is_called and not self.built:
            nodes = children_among(self)
            return Tree(nodes, {id(n): n.layer_tree for n in nodes if isinstance(n, Model)})
        return self.network

    def leaves(self) -> list[Leaf]:
        """The layers it is made of, those of models inside it too."""
        return list(self.layer_tree.leaves())

    def trained_layers(self) -> set[Leaf]:
        """The layers that fit() would change, were the model compiled now."""
        return set(self.layer_tree.trained()) if self._trainable else set()

    def body_for(self, shapes: Sequence[Extents]) -> Network:
        """What a call runs: the model as it is now."""
        if self._is_called and not self.built:
            self.build([tuple(shape) for shape in shapes])
        return self.network

    def undo_calls(self) -> Callable[[], None]:
        """For calls that are refused later: they change nothing in a model with an input."""
        if self.built:
            return lambda: None
        inner = [child.undo_calls() for child in children_among(self)]

        def restore() -> None:
            self._network = None
            for undo in inner:
                undo()

        return restore

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}: {len(self.layers)} layers>"
