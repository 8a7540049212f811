# SPDX-License-Identifier: Apache-2.0
"""What a model is made of as plain data, and back: layers, and how they connect.

Classes come from closed tables; what reading could not rebuild is refused when it is written.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any, cast

from .. import initializers, regularizers
from ..engine.builder import Node
from ..engine.tensors import Tensor, as_list
from ..errors import ModelFormatError, ModelVersionError
from ..ground.registry import registered, registered_name
from ..ground.seeding import MAX_SEED
from ..ground.specs import Spec, SpecT, serialize
from ..ground.text import quoted
from ..layers import LAYERS, Layer
from ..layers.core import InputLayer
from ..ops.dispatch import Operation
from ..regularizers import Regularizer
from . import operations

if TYPE_CHECKING:
    from ..engine.network import Network
    from ..models import Model

MODELS: dict[str, Any] = {}  # the classes of models, by name; models.py adds them
MAX_LAYERS = 65_536
MAX_DEPTH = 8  # of models inside models
MAX_INPUTS = 1024  # of one node
MAX_CONNECTIONS = 4 * MAX_LAYERS
MAX_VALUES = 256  # of a layer's arguments, and of what compile() was given
MAX_STRING = 255


# ---- model -> data ----


def describe(model: Model, network: Network, depth: int = 0) -> dict[str, Any]:
    """Layers, and nodes: calls of a layer on the results of earlier nodes.

    Args:
        network: the model's, of a model inside another as it was when it was called.
    """
    if type(model) not in MODELS.values() or depth > MAX_DEPTH:
        raise ValueError(
            f"save: {model.name} cannot be loaded again: "
            + (f"models inside models {MAX_DEPTH} deep" if depth else f"its class is {type(model)}")
        )
    _check_one_place(network)
    layer_index = {id(layer): i for i, layer in enumerate(network.layers)}
    node_index = {id(tensor): i for i, tensor in enumerate(network.tensors)}
    calls = {id(call): i for i, call in enumerate({t.call: None for t in network.tensors})}
    nodes = []
    for tensor in network.tensors:
        inputs = [node_index[id(x)] for x in tensor.inputs]
        node: list[Any] = [layer_index[id(tensor.layer)], inputs]
        if len(tensor.call.outputs) > 1:
            node += [tensor.index, calls[id(tensor.call)]]
        nodes.append(node)
    return {
        "class": type(model).__name__,
        "name": model.name,
        "seed": model.seed,
        **({} if model.trainable else {"trainable": False}),
        "layers": [_describe_layer(network, node, depth) for node in network.layers],
        "nodes": nodes,
        "inputs": [node_index[id(tensor)] for tensor in network.inputs],
        "outputs": [node_index[id(tensor)] for tensor in network.outputs],
    }


def _describe_layer(network: Network, node: Node, depth: int) -> dict[str, Any]:
    name = network.names.of(node)
    if isinstance(node, Operation):
        return {"class": "Operation", "config": operations.describe(node, name)}
    if not isinstance(node, Layer):
        model, inner = cast("Model", node), cast("Network", network.inner[id(node)])
        return {"class": "Model", "config": {**describe(model, inner, depth + 1), "name": name}}
    kind = type(node)
    known_as = registered_name(kind)
    if known_as is not None:
        return {"class": known_as, "config": _plain_config(name, node)}
    if LAYERS.get(kind.__name__) is not kind:
        raise ValueError(
            f"save: layer {name} cannot be loaded again: {kind.__module__}.{kind.__qualname__} is "
            "not a layer of pycnn and not registered, see pycnn.register_serializable"
        )
    for option in fields(node):
        value = getattr(node, option.name)
        if isinstance(value, Regularizer):
            rebuildable(value, regularizers.get)
        elif isinstance(value, Spec):
            rebuildable(value, initializers.get)
    return {"class": kind.__name__, "config": {**node.get_config(), "name": name}}


def _plain_config(name: str, layer: Layer) -> dict[str, Any]:
    """What get_config() of a user's layer gives, as a file gives it back."""
    try:
        text = json.dumps({**layer.get_config(), "name": name}, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"save: layer {name}: get_config() is not plain data: {error}") from None
    return cast("dict[str, Any]", json.loads(text))


def _check_one_place(network: Network) -> None:
    """A layer inside a model that is used as a layer is used nowhere else."""
    seen: set[int] = set()
    for node in network.layers:
        leaves = [leaf for leaf in network.leaves_of(node) if leaf.variables]
        for leaf in leaves:
            if id(leaf) in seen:
                raise ValueError(
                    f"save: layer {leaf.name} cannot be loaded again: it is used both inside and "
                    f"outside of a model that is a layer"
                )
        seen.update(map(id, leaves))


def loadable(description: dict[str, Any]) -> dict[str, Any]:
    """Refuses to write what would not be read again."""
    inputs = [len(node[1]) for node in description["nodes"]]
    for what, count, most in (
        ("layers", len(description["layers"]), MAX_LAYERS),
        ("nodes", len(inputs), MAX_LAYERS),
        ("inputs of a layer", max(inputs), MAX_INPUTS),
        ("connections", sum(inputs), MAX_CONNECTIONS),
    ):
        if count > most:
            raise ValueError(f"save: at most {most} {what}, got {count}")
    return description


def rebuildable(spec: SpecT, get: Callable[[Any], SpecT | None]) -> SpecT:
    """The spec, unless its class is a user's, which loading would not find or would mistake."""
    kind = type(spec)
    written = serialize(spec)  # ValueError for a function that is not registered
    try:
        same = type(get(written)) is kind
    except (ValueError, TypeError):
        same = False
    if not same:
        raise ValueError(f"save: {kind.__module__}.{kind.__qualname__} is not a class of pycnn")
    return spec


# ---- data -> model ----


def expect(where: str, value: Any, keys: tuple[str, ...]) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ModelFormatError(f"{where}: expected an object")
    unknown = [key for key in value if key not in keys]
    if unknown:
        raise ModelVersionError(f"{where}: unknown entry {quoted(unknown[0])}: needs a newer pycnn")
    if len(value) != len(keys):
        missing = next(key for key in keys if key not in value)
        raise ModelFormatError(f"{where}: expected an entry {missing!r}")
    return value


def make_model(graph: Any, depth: int = 0) -> Model:
    if depth > MAX_DEPTH:
        raise ModelFormatError(f"pycnn.graph: more than {MAX_DEPTH} models inside each other")

    keys: tuple[str, ...] = ("class", "name", "seed", "layers", "nodes", "inputs", "outputs")
    if isinstance(graph, dict) and "trainable" in graph:
        keys = (*keys, "trainable")
    graph = expect("pycnn.graph", graph, keys)
    if not isinstance(graph["layers"], list) or len(graph["layers"]) > MAX_LAYERS:
        raise ModelFormatError(f"pycnn.graph: expected a list of up to {MAX_LAYERS} layers")
    layers = [_make_layer(i, entry, depth) for i, entry in enumerate(graph["layers"])]
    if graph["class"] == "Sequential":
        if len(layers) < 2 or not isinstance(layers[0], InputLayer):
            raise ModelFormatError("pycnn.graph: a Sequential without an input and a layer")
        ends = [0], [len(layers) - 1]
        chain = [[i, [i - 1] if i else []] for i in range(len(layers))]
        if graph["nodes"] != chain or (graph["inputs"], graph["outputs"]) != ends:
            raise ModelFormatError("pycnn.graph: a Sequential whose layers are not a chain")
        model: Model = MODELS["Sequential"](layers, name=graph["name"])
    elif graph["class"] == "Model":
        tensors = _connect(layers, graph["nodes"])
        inputs, outputs = (
            [tensors[_index("pycnn.graph", i, len(tensors))] for i in graph[key]]
            for key in ("inputs", "outputs")
        )
        model = MODELS["Model"](inputs, outputs, name=graph["name"])
    else:
        raise ModelVersionError(f"pycnn.graph: unknown class {quoted(graph['class'])}")
    seed = graph["seed"]
    if type(seed) is not int or not 0 <= seed < (MAX_SEED + 1) << 31:
        raise ModelFormatError("pycnn.graph: bad seed")
    model.restore_seed(seed)
    if "trainable" in graph:
        if graph["trainable"] is not False:
            raise ModelFormatError("pycnn.graph: expected trainable to be false or absent")
        model.restore_frozen()
    return model


def _make_layer(index: int, entry: Any, depth: int) -> Layer | Model | Operation:
    where = f"layer {index}"
    entry = expect(where, entry, ("class", "config"))
    if entry["class"] == "Model":
        return make_model(entry["config"], depth + 1)
    if entry["class"] == "Operation":
        return operations.make(where, entry["config"])
    if isinstance(entry["class"], str) and ">" in entry["class"]:
        return _make_registered(where, entry)
    kind = LAYERS.get(entry["class"]) if isinstance(entry["class"], str) else None
    if kind is None:
        raise ModelVersionError(f"{where}: unknown class {quoted(entry['class'])}")
    known = tuple(kind.__dataclass_fields__)
    config = entry["config"]
    if not isinstance(config, dict):
        raise ModelFormatError(f"{where}: expected config to be an object")
    unknown = [key for key in config if key not in known]
    if unknown:
        raise ModelVersionError(f"{where} ({kind.__name__}): unknown option {quoted(unknown[0])}")
    check_plain(where, config)
    return kind.from_config(config)


def _make_registered(where: str, entry: Any) -> Layer:
    """A layer of a user's class."""
    config = entry["config"]
    if not isinstance(config, dict):
        raise ModelFormatError(f"{where}: expected config to be an object")
    check_plain(where, config)
    try:
        kind = registered(entry["class"])
    except ValueError as error:
        raise ModelFormatError(f"{where}: {error}") from None
    if not (isinstance(kind, type) and issubclass(kind, Layer)):
        raise ModelFormatError(f"{where}: {quoted(entry['class'])} is not a layer")
    return kind.from_config(config)


def check_plain(where: str, config: Any) -> None:
    """Refuses arguments larger than those of any layer: what follows may name them in messages."""
    values, left = [config], MAX_VALUES
    while values:
        value = values.pop()
        left -= 1
        if isinstance(value, dict):
            values += value.keys()
            values += value.values()
        elif isinstance(value, list):
            values += value
        elif isinstance(value, str) and not (len(value) <= MAX_STRING and value.isprintable()):
            raise ModelFormatError(
                f"{where}: expected strings of up to {MAX_STRING} printable characters, "
                f"got {quoted(value)}"
            )
        if left < 0 or len(values) > left:
            raise ModelFormatError(f"{where}: over {MAX_VALUES} arguments")


def _connect(layers: list[Any], nodes: Any) -> list[Tensor]:
    if not isinstance(nodes, list) or len(nodes) > MAX_LAYERS:
        raise ModelFormatError(f"pycnn.graph: expected a list of up to {MAX_LAYERS} nodes")
    tensors: list[Tensor] = []
    calls: dict[int, list[Tensor]] = {}  # with several outputs
    connections = 0
    for number, node in enumerate(nodes):
        where = f"node {number}"
        lengths = (2, 4)  # the second: of a call with several outputs
        if not isinstance(node, list) or len(node) not in lengths or not isinstance(node[1], list):
            raise ModelFormatError(f"{where}: expected [layer, inputs]")
        connections += len(node[1])
        if len(node[1]) > MAX_INPUTS or connections > MAX_CONNECTIONS:
            raise ModelFormatError(
                f"{where}: at most {MAX_INPUTS} inputs of a node and {MAX_CONNECTIONS} in all"
            )
        layer = layers[_index(where, node[0], len(layers))]
        inputs = [tensors[_index(where, i, number)] for i in node[1]]  # earlier nodes only
        if len(node) == 4:
            call = _index(where, node[3], len(nodes))
            outputs = calls.get(call) or as_list(layer(inputs if len(inputs) > 1 else inputs[0]))
            calls[call] = outputs
            tensor = outputs[_index(where, node[2], len(outputs))]
            if tensor.layer is not layer or list(tensor.inputs) != inputs:
                raise ModelFormatError(f"{where}: call {call} is of another layer")
            tensors.append(tensor)
        elif isinstance(layer, InputLayer):
            tensors.append(layer.tensor())
        elif len(inputs) == 1:
            tensors.append(layer(inputs[0]))
        else:
            tensors.append(layer(inputs))
    return tensors


def _index(where: str, value: Any, count: int) -> int:
    if type(value) is not int or not 0 <= value < count:
        raise ModelFormatError(f"{where}: expected an index below {count}, got {quoted(value)}")
    return value
