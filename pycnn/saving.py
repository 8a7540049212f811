# SPDX-License-Identifier: Apache-2.0
"""Models as files. The description is plain data; classes come from closed tables.

Metadata of the container: "pycnn.format", "pycnn.graph" (layers and how they connect) and, of a
compiled model, "pycnn.training" (optimizer, loss, metrics). Tensors: weights under their paths,
optimizer state under "opt.<slot>:<path>"; no layer may have ":" in its name.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from . import _core, container, initializers, losses, metrics, optimizers
from .builder import Node
from .errors import ModelFormatError, ModelVersionError, NumericError
from .layers import LAYERS, Layer
from .layers.core import InputLayer
from .seeding import MAX_SEED
from .specs import Spec, SpecT, serialize
from .tensors import Tensor
from .weights import Variable

if TYPE_CHECKING:
    from .models import Model
    from .network import Network
    from .programs import Objective

FORMAT = "1.0"
MAX_LAYERS = 65_536
MAX_DEPTH = 8  # of models inside models


# ---- model -> bytes ----


def to_bytes(
    model: Model, *, include_optimizer: bool = True, allow_nonfinite: bool = False
) -> bytes:
    """The container of a model: what save() writes."""
    objective = model.objective if model.is_compiled else None
    optimizer = objective.optimizer if objective else None
    paths = {id(v): path for path, v in model.network.variables.items()}
    weights, slots = model.weights, list(optimizer.slots) if optimizer else []
    trained = [v for v in weights if v.spec.trainable and model.is_trained(v.layer)]
    values, state, iterations = _core.read(
        [v.core for v in weights],
        optimizer.state if optimizer and include_optimizer else None,
        slots,
        [v.core for v in trained],
    )
    tensors = {paths[id(v)]: array for v, array in zip(weights, values, strict=True)}
    if iterations:
        for slot, arrays in zip(slots, state, strict=True):
            for variable, array in zip(trained, arrays, strict=True):
                tensors[slot_name(slot, paths[id(variable)])] = array
    if not allow_nonfinite:
        for name, array in tensors.items():
            if not np.isfinite(array).all():
                raise NumericError(
                    f"save: {name} has NaN or infinite values; allow_nonfinite=True saves them"
                )
    metadata = {
        "pycnn.format": FORMAT,
        "pycnn.producer": f"pycnn {_core.__version__}",
        "pycnn.graph": _to_json(describe(model)),
    }
    if objective is not None:
        metadata["pycnn.training"] = _to_json(_training(model, objective, iterations))
    return container.pack(metadata, tensors)


def _training(model: Model, objective: Objective, iterations: int) -> dict[str, Any]:
    training: dict[str, Any] = {
        "optimizer": serialize(_rebuildable(objective.optimizer, optimizers.get)),
        "loss": serialize(_rebuildable(objective.loss, losses.get)),
        "metrics": [serialize(_rebuildable(m, metrics.get)) for m in objective.metrics],
        "iterations": iterations,
    }
    flags = [model.is_trained(layer) for layer in model.leaves()]
    if flags != [layer in model.trained_layers() for layer in model.leaves()]:
        training["trained"] = flags  # changed since compile()
    return training


def _rebuildable(spec: SpecT, get: Callable[[Any], SpecT]) -> SpecT:
    """The spec, unless its class is a user's, which loading would not find or would mistake."""
    kind = type(spec)
    try:
        same = type(get(serialize(spec))) is kind
    except (ValueError, TypeError):
        same = False
    if not same:
        raise ValueError(f"save: {kind.__module__}.{kind.__qualname__} is not a class of pycnn")
    return spec


def slot_name(slot: str, weight: str) -> str:
    return f"opt.{slot}:{weight}"


def _to_json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False, default=_python_number)


def _python_number(value: object) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"save: expected plain data, got {value!r}")


def describe(model: Model, depth: int = 0) -> dict[str, Any]:
    """Layers, and nodes: calls of a layer on the results of earlier nodes."""
    from .models import Model, Sequential

    if type(model) not in (Model, Sequential) or depth > MAX_DEPTH:
        raise ValueError(
            f"save: {model.name} cannot be loaded again: "
            + (f"models inside models {MAX_DEPTH} deep" if depth else f"its class is {type(model)}")
        )
    network = model.network
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
        "layers": [_describe_layer(node, network.names.of(node), depth) for node in network.layers],
        "nodes": nodes,
        "inputs": [node_index[id(tensor)] for tensor in network.inputs],
        "outputs": [node_index[id(tensor)] for tensor in network.outputs],
    }


def _describe_layer(node: Node, name: str, depth: int) -> dict[str, Any]:
    if not isinstance(node, Layer):
        return {"class": "Model", "config": {**describe(node, depth + 1), "name": name}}  # type: ignore[arg-type]
    kind = type(node)
    if LAYERS.get(kind.__name__) is not kind:
        raise ValueError(
            f"save: layer {name} cannot be loaded again: "
            f"{kind.__module__}.{kind.__qualname__} is not a layer of pycnn"
        )
    for option in fields(node):
        value = getattr(node, option.name)
        if isinstance(value, Spec):
            _rebuildable(value, initializers.get)
    return {"class": kind.__name__, "config": {**node.get_config(), "name": name}}


def _check_one_place(network: Network) -> None:
    """A layer inside a model that is used as a layer is used nowhere else."""
    seen: set[int] = set()
    for node in network.layers:
        leaves = [leaf for leaf in node.leaves() if leaf.weights]
        for leaf in leaves:
            if id(leaf) in seen:
                raise ValueError(
                    f"save: layer {leaf.name} cannot be loaded again: it is used both inside and "
                    f"outside of a model that is a layer"
                )
        seen.update(map(id, leaves))


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


def _make_model(graph: Any, depth: int = 0) -> Model:
    from .models import Model, Sequential

    if depth > MAX_DEPTH:
        raise ModelFormatError(f"pycnn.graph: more than {MAX_DEPTH} models inside each other")

    keys = ("class", "name", "seed", "layers", "nodes", "inputs", "outputs")
    graph = _expect("pycnn.graph", graph, keys)
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


def _make_layer(index: int, entry: Any, depth: int) -> Layer | Model:
    where = f"layer {index}"
    entry = _expect(where, entry, ("class", "config"))
    if entry["class"] == "Model":
        return _make_model(entry["config"], depth + 1)
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


def _connect(layers: list[Any], nodes: Any) -> list[Tensor]:
    if not isinstance(nodes, list) or len(nodes) > MAX_LAYERS:
        raise ModelFormatError(f"pycnn.graph: expected a list of up to {MAX_LAYERS} nodes")
    tensors: list[Tensor] = []
    calls: dict[int, list[Tensor]] = {}  # with several outputs
    for number, node in enumerate(nodes):
        where = f"node {number}"
        lengths = (2, 4)  # the second: of a call with several outputs
        if not isinstance(node, list) or len(node) not in lengths or not isinstance(node[1], list):
            raise ModelFormatError(f"{where}: expected [layer, inputs]")
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
        raise ModelFormatError(f"{where}: expected an index below {count}, got {value!r}")
    return value


def _compile(model: Model, training: Any) -> int:
    keys: tuple[str, ...] = ("optimizer", "loss", "metrics", "iterations")
    if isinstance(training, dict) and "trained" in training:
        keys = (*keys, "trained")
    training = _expect("pycnn.training", training, keys)
    model.compile(training["optimizer"], training["loss"], metrics=training["metrics"])
    iterations = training["iterations"]
    if type(iterations) is not int or not 0 <= iterations < 2**32:
        raise ModelFormatError("pycnn.training: bad number of iterations")
    if "trained" in training:
        leaves, flags = model.leaves(), training["trained"]
        if not isinstance(flags, list) or [type(flag) for flag in flags] != [bool] * len(leaves):
            raise ModelFormatError("pycnn.training: expected trained to be a flag for each layer")
        model.set_trainable(dict(zip(leaves, flags, strict=True)))
    _ = model.objective  # refuses a loss and metrics that do not fit
    return iterations


def _set_tensors(model: Model, tensors: container.Tensors, iterations: int) -> None:
    """Exactly the tensors the model has, each of the shape it computes; only then allocates."""
    weights = {path: v for path, v in model.network.variables.items() if not v.spec.fixed}
    shapes = {path: variable.shape for path, variable in weights.items()}
    state: list[tuple[str, str, Variable]] = []  # (tensor, slot, whose)
    for slot in model.optimizer.slots if iterations else ():
        for path, variable in weights.items():
            if variable.spec.trainable and model.is_trained(variable.layer):
                state.append((slot_name(slot, path), slot, variable))
                shapes[slot_name(slot, path)] = variable.shape
    for name, _, _ in state:  # files of before 2026-12 called a slot "opt.m/dense/kernel"
        older = name.replace(":", "/", 1)
        if name not in tensors and older in tensors and older not in shapes:
            tensors[name] = tensors.pop(older)
    for name in sorted(shapes.keys() ^ tensors.keys()):
        problem = "is missing" if name in shapes else "belongs to no layer"
        raise ModelFormatError(f"tensor {name} {problem}")
    for name, shape in shapes.items():
        if tensors[name].shape != shape:
            raise ModelFormatError(
                f"tensor {name}: expected shape {shape}, got {tensors[name].shape}"
            )
    values = {name: array.astype(np.float32) for name, array in tensors.items()}
    for path, variable in weights.items():
        variable.begin_with(values[path])
    if model.is_compiled:
        model.optimizer.iterations = iterations
    for name, slot, variable in state:
        model.optimizer.state.set(variable.core, slot, values[name])


def as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


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
