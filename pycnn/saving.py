# SPDX-License-Identifier: Apache-2.0
"""Models as files. The description is plain data; classes come from closed tables.

Metadata of the container: "pycnn.format", "pycnn.graph" (layers and how they connect) and, of a
compiled model, "pycnn.training" (optimizer, loss, metrics). Tensors: weights under their names,
optimizer state under "opt.<slot>/<weight>".
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from . import _core, container
from .errors import ModelFormatError, ModelVersionError, NumericError
from .layers import LAYERS, Layer
from .layers.core import InputLayer
from .seeding import MAX_SEED
from .specs import serialize
from .tensors import Tensor

if TYPE_CHECKING:
    from .models import Model

FORMAT = "1.0"
MAX_LAYERS = 65_536


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
        "pycnn.graph": _to_json(describe(model)),
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


# ---- bytes -> model ----


def from_bytes(data: bytes) -> Model:
    """The model in a container, compiled as it was."""
    metadata, tensors = container.unpack(data)
    version = metadata["pycnn.format"]
    if version != FORMAT:
        raise ModelVersionError(
            f"format {ascii(version)[:20]} needs a newer pycnn: this one reads {FORMAT}"
        )
    graph = container.parse_json("pycnn.graph", metadata.get("pycnn.graph", ""))
    training = metadata.get("pycnn.training")
    try:
        model = _make_model(graph)
        iterations = 0
        if training is not None:
            iterations = _compile(model, container.parse_json("pycnn.training", training))
    except ModelFormatError:
        raise
    except (ValueError, TypeError, LookupError, RuntimeError, ArithmeticError) as error:
        raise ModelFormatError(f"model: {error}") from error
    _set_tensors(model, tensors, iterations)
    return model


def _expect(where: str, value: Any, keys: tuple[str, ...]) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ModelFormatError(f"{where}: expected an object")
    unknown = [key for key in value if key not in keys]
    if unknown:
        raise ModelVersionError(
            f"{where}: unknown entry {ascii(unknown[0])[:80]}: needs a newer pycnn"
        )
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
        raise ModelVersionError(f"pycnn.graph: unknown class {ascii(graph['class'])[:80]}")
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
        raise ModelVersionError(f"{where}: unknown class {ascii(entry['class'])[:80]}")
    known = tuple(kind.__dataclass_fields__)
    config = entry["config"]
    if not isinstance(config, dict):
        raise ModelFormatError(f"{where}: expected config to be an object")
    unknown = [key for key in config if key not in known]
    if unknown:
        raise ModelVersionError(
            f"{where} ({kind.__name__}): unknown option {ascii(unknown[0])[:80]}"
        )
    return kind.from_config(config)


def _connect(layers: list[Layer], nodes: Any) -> list[Tensor]:
    if not isinstance(nodes, list) or len(nodes) > MAX_LAYERS:
        raise ModelFormatError(f"pycnn.graph: expected a list of up to {MAX_LAYERS} nodes")
    tensors: list[Tensor] = []
    for number, node in enumerate(nodes):
        where = f"node {number}"
        if not isinstance(node, list) or len(node) != 2 or not isinstance(node[1], list):
            raise ModelFormatError(f"{where}: expected [layer, inputs]")
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
        raise ModelFormatError(f"{where}: expected an index below {count}, got {value!r}")
    return value


def _compile(model: Model, training: Any) -> int:
    keys = ("optimizer", "loss", "metrics", "iterations")
    training = _expect("pycnn.training", training, keys)
    model.compile(training["optimizer"], training["loss"], metrics=training["metrics"])
    iterations = training["iterations"]
    if type(iterations) is not int or not 0 <= iterations < 2**32:
        raise ModelFormatError("pycnn.training: bad number of iterations")
    _ = model.objective  # refuses a loss and metrics that do not fit
    return iterations


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
    values = {name: array.astype(np.float32) for name, array in tensors.items()}
    store = model.network.make_store(values)
    if model.is_compiled:
        model.reset_slots()  # what state there is comes from the file
        model.optimizer.iterations = iterations
    for name, weight, slot in state:
        store.parameters.set(weight, values[name], slot)


# ---- files ----


def load_file(filepath: str | Path) -> Model:
    """load_model: reads a regular file once, completely, and hands the bytes to from_bytes."""
    descriptor = os.open(filepath, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(f"load_model: not a regular file: {filepath}")
        data = file.read()
    try:
        return from_bytes(data)
    except ModelFormatError as error:
        raise type(error)(f"{filepath}: {error}") from error


def write_file(filepath: str | Path, data: bytes, *, overwrite: bool = True) -> None:
    """All or nothing: a new file beside the old one, on the disk, then renamed over it."""
    path = Path(filepath)
    if not overwrite and path.exists():
        raise FileExistsError(f"save: {path} exists and overwrite is False")
    part = path.with_name(f".{path.name}.{os.getpid()}-{os.urandom(4).hex()}.part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        os.replace(part, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(part)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Makes the rename durable, where the system can."""
    with contextlib.suppress(OSError, AttributeError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
