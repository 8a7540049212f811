# SPDX-License-Identifier: Apache-2.0
"""Models as files. The description is plain data; classes come from closed tables.

Metadata of the container: "pycnn.format", "pycnn.graph" (layers and how they connect) and, of a
compiled model, "pycnn.training" (optimizer, loss, metrics). Tensors: weights under their names,
optimizer state under "opt.<slot>/<weight>".
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from . import _core, container
from .errors import ModelFormatError, ModelVersionError, NumericError
from .files import open_regular
from .layers import LAYERS, Layer
from .layers.core import InputLayer
from .seeding import MAX_SEED
from .specs import serialize
from .tensors import Tensor
from .text import printable, quoted

if TYPE_CHECKING:
    from .models import Model

FORMAT = "1.0"
MAX_LAYERS = 65_536
MAX_INPUTS = 1024  # of one node
MAX_CONNECTIONS = 4 * MAX_LAYERS
MAX_VALUES = 256  # of a layer's arguments, and of what compile() was given
MAX_STRING = 255
MAX_MESSAGE = 300
MAX_ITERATIONS = 2**31 - 1
MAX_ACTIVATIONS = 4 << 30


# ---- model -> bytes ----


def to_bytes(
    model: Model, *, include_optimizer: bool = True, allow_nonfinite: bool = False
) -> bytes:
    """The container of a model: what save() writes."""
    tensors = {variable.path: variable.numpy() for variable in model.weights}
    if not allow_nonfinite:
        for name, values in tensors.items():
            if not np.isfinite(values).all():
                raise NumericError(
                    f"save: {name} has NaN or infinite values; allow_nonfinite=True saves them"
                )
    metadata = {
        "pycnn.format": FORMAT,
        "pycnn.producer": f"pycnn {_core.__version__}",
        "pycnn.graph": _to_json(_loadable(describe(model))),
    }
    if model.is_compiled:
        objective = model.objective
        metadata["pycnn.training"] = _to_json(
            {
                "optimizer": serialize(objective.optimizer),
                "loss": serialize(objective.loss),
                "metrics": [serialize(metric) for metric in objective.metrics],
                "iterations": objective.optimizer.iterations if include_optimizer else 0,
            }
        )
        if include_optimizer and objective.optimizer.iterations:
            for slot in objective.optimizer.slots:
                for variable in model.trainable_weights:
                    name = slot_name(slot, variable.path)
                    tensors[name] = model.network.store.parameters.get(variable.path, slot)
    return container.pack(metadata, tensors)


def slot_name(slot: str, weight: str) -> str:
    return f"opt.{slot}/{weight}"


def _to_json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False, default=_python_number)


def _python_number(value: object) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"save: expected plain data, got {value!r}")


def describe(model: Model) -> dict[str, Any]:
    """Layers, and nodes: calls of a layer on the results of earlier nodes."""
    network = model.network
    layer_index = {id(layer): i for i, layer in enumerate(network.layers)}
    node_index = {id(tensor): i for i, tensor in enumerate(network.tensors)}
    return {
        "class": "Sequential" if hasattr(model, "add") else "Model",
        "name": model.name,
        "seed": model.seed,
        "layers": [
            {"class": type(layer).__name__, "config": layer.get_config()}
            for layer in network.layers
        ],
        "nodes": [
            [layer_index[id(tensor.layer)], [node_index[id(x)] for x in tensor.inputs]]
            for tensor in network.tensors
        ],
        "inputs": [node_index[id(tensor)] for tensor in network.inputs],
        "outputs": [node_index[id(tensor)] for tensor in network.outputs],
    }


def _loadable(description: dict[str, Any]) -> dict[str, Any]:
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


# ---- bytes -> model ----


def from_bytes(data: bytes) -> Model:
    """The model in a container, compiled as it was."""
    return _from_container(*container.unpack(data), sys.maxsize)


def _from_container(
    metadata: Mapping[str, str], tensors: container.Tensors, max_activations: int
) -> Model:
    version = metadata["pycnn.format"]
    if version != FORMAT:
        raise ModelVersionError(
            f"format {quoted(version)} needs a newer pycnn: this one reads {FORMAT}"
        )
    graph = container.parse_json("pycnn.graph", metadata.get("pycnn.graph", ""))
    training = metadata.get("pycnn.training")
    try:
        model = _make_model(graph)
        _check_activations(model, max_activations)
        iterations = 0
        if training is not None:
            iterations = _compile(model, container.parse_json("pycnn.training", training))
    except ModelFormatError:
        raise
    except (ValueError, TypeError, LookupError, RuntimeError, ArithmeticError) as error:
        raise ModelFormatError(f"model: {_shortened(str(error))}") from error
    _set_tensors(model, tensors, iterations)
    return model


def _shortened(message: str) -> str:
    text = printable(message)
    return text if len(text) <= MAX_MESSAGE else text[: MAX_MESSAGE - 3] + "..."


def _expect(where: str, value: Any, keys: tuple[str, ...]) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ModelFormatError(f"{where}: expected an object")
    unknown = [key for key in value if key not in keys]
    if unknown:
        raise ModelVersionError(f"{where}: unknown entry {quoted(unknown[0])}: needs a newer pycnn")
    if len(value) != len(keys):
        missing = next(key for key in keys if key not in value)
        raise ModelFormatError(f"{where}: expected an entry {missing!r}")
    return value


def _make_model(graph: Any) -> Model:
    from .models import Model, Sequential

    keys = ("class", "name", "seed", "layers", "nodes", "inputs", "outputs")
    graph = _expect("pycnn.graph", graph, keys)
    if not isinstance(graph["layers"], list) or len(graph["layers"]) > MAX_LAYERS:
        raise ModelFormatError(f"pycnn.graph: expected a list of up to {MAX_LAYERS} layers")
    layers = [_make_layer(i, entry) for i, entry in enumerate(graph["layers"])]
    if graph["class"] == "Sequential":
        if len(layers) < 2 or not isinstance(layers[0], InputLayer):
            raise ModelFormatError("pycnn.graph: a Sequential without an input and a layer")
        ends = [0], [len(layers) - 1]
        chain = [[i, [i - 1] if i else []] for i in range(len(layers))]
        if graph["nodes"] != chain or (graph["inputs"], graph["outputs"]) != ends:
            raise ModelFormatError("pycnn.graph: a Sequential whose layers are not a chain")
        model: Model = Sequential(layers, name=graph["name"])
    elif graph["class"] == "Model":
        tensors = _connect(layers, graph["nodes"])
        inputs, outputs = (
            [tensors[_index("pycnn.graph", i, len(tensors))] for i in graph[key]]
            for key in ("inputs", "outputs")
        )
        model = Model(inputs, outputs, name=graph["name"])
    else:
        raise ModelVersionError(f"pycnn.graph: unknown class {quoted(graph['class'])}")
    seed = graph["seed"]
    if type(seed) is not int or not 0 <= seed < (MAX_SEED + 1) << 31:
        raise ModelFormatError("pycnn.graph: bad seed")
    model.restore_seed(seed)
    return model


def _make_layer(index: int, entry: Any) -> Layer:
    where = f"layer {index}"
    entry = _expect(where, entry, ("class", "config"))
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
    _check_plain(where, config)
    return kind.from_config(config)


def _check_plain(where: str, config: Any) -> None:
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


def _connect(layers: list[Layer], nodes: Any) -> list[Tensor]:
    if not isinstance(nodes, list) or len(nodes) > MAX_LAYERS:
        raise ModelFormatError(f"pycnn.graph: expected a list of up to {MAX_LAYERS} nodes")
    tensors: list[Tensor] = []
    connections = 0
    for number, node in enumerate(nodes):
        where = f"node {number}"
        if not isinstance(node, list) or len(node) != 2 or not isinstance(node[1], list):
            raise ModelFormatError(f"{where}: expected [layer, inputs]")
        connections += len(node[1])
        if len(node[1]) > MAX_INPUTS or connections > MAX_CONNECTIONS:
            raise ModelFormatError(
                f"{where}: at most {MAX_INPUTS} inputs of a node and {MAX_CONNECTIONS} in all"
            )
        layer = layers[_index(where, node[0], len(layers))]
        inputs = [tensors[_index(where, i, number)] for i in node[1]]  # earlier nodes only
        if isinstance(layer, InputLayer):
            tensors.append(layer.tensor())
        elif len(inputs) == 1:
            tensors.append(layer(inputs[0]))
        else:
            tensors.append(layer(inputs))  # type: ignore[arg-type]
    return tensors


def _index(where: str, value: Any, count: int) -> int:
    if type(value) is not int or not 0 <= value < count:
        raise ModelFormatError(f"{where}: expected an index below {count}, got {quoted(value)}")
    return value


def _compile(model: Model, training: Any) -> int:
    keys = ("optimizer", "loss", "metrics", "iterations")
    training = _expect("pycnn.training", training, keys)
    for key in keys:
        _check_plain(f"pycnn.training: {key}", training[key])
    model.compile(training["optimizer"], training["loss"], metrics=training["metrics"])
    iterations = training["iterations"]
    if type(iterations) is not int or not 0 <= iterations <= MAX_ITERATIONS:
        raise ModelFormatError("pycnn.training: bad number of iterations")
    _ = model.objective  # refuses a loss and metrics that do not fit
    return iterations


def _check_activations(model: Model, most: int) -> None:
    """A few bytes of description can ask for any amount of memory: it is known before it is used.

    What a layer reads and what it writes are in memory together, unless it works in place.
    """
    for tensor in model.network.tensors:
        shapes = [tensor.shape, *(x.shape for x in tensor.inputs if x.shape != tensor.shape)]
        size = sum(4 * math.prod(extent or 1 for extent in shape) for shape in shapes)
        if size > most:
            raise ModelFormatError(
                f"layer {tensor.layer.name}: needs {size} bytes for one sample, max_activations "
                f"is {most}"
            )


def _set_tensors(model: Model, tensors: container.Tensors, iterations: int) -> None:
    """Exactly the tensors the model has, each of the shape it computes; only then allocates."""
    specs = [spec for spec in model.network.specs.values() if not spec.fixed]
    shapes = {spec.name: spec.shape for spec in specs}
    state: list[tuple[str, str, str]] = []  # (tensor, weight, slot)
    for slot in model.optimizer.slots if iterations else ():
        for spec in specs:
            if spec.updated:
                name = slot_name(slot, spec.name)
                shapes[name] = spec.shape
                state.append((name, spec.name, slot))
    for name in sorted(shapes.keys() ^ tensors.keys()):
        problem = "is missing" if name in shapes else "belongs to no layer"
        raise ModelFormatError(f"tensor {name} {problem}")
    for name, shape in shapes.items():
        if tensors[name].shape != shape:
            raise ModelFormatError(
                f"tensor {name}: expected shape {shape}, got {tensors[name].shape}"
            )
    values = {name: np.asarray(array, np.float32) for name, array in tensors.items()}
    store = model.network.make_store(values)
    if model.is_compiled:
        model.reset_slots()  # what state there is comes from the file
        model.optimizer.iterations = iterations
    for name, weight, slot in state:
        store.parameters.set(weight, values[name], slot)


# ---- files ----


def load_file(filepath: str | Path, max_activations: int) -> Model:
    """load_model: reads a regular file once, and no further than its first fault."""
    file, size = open_regular("load_model", filepath)
    with file:
        try:
            return _from_container(*container.read(file, size), max_activations)
        except ModelFormatError as error:
            raise type(error)(f"{filepath}: {error}") from error
