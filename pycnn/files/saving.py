# SPDX-License-Identifier: Apache-2.0
"""Models as files. The description is plain data; classes come from closed tables.

Metadata of the container: "pycnn.format", "pycnn.graph" (layers and how they connect) and, of a
compiled model, "pycnn.training" (optimizer, loss, metrics). Tensors: weights under their paths,
optimizer state under "opt.<slot>:<path>"; no layer may have ":" in its name.
"""

from __future__ import annotations

import itertools
import json
import math
import sys
from collections.abc import Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _core, losses, metrics, optimizers
from ..engine.weights import Variable
from ..errors import ModelFormatError, ModelVersionError, NumericError
from ..ground.disk import open_regular
from ..ground.specs import serialize
from ..ground.text import printable, quoted
from . import container, topology

if TYPE_CHECKING:
    from ..engine.programs import Objective
    from ..models import Model

FORMAT = "1.0"
MAX_MESSAGE = 300
MAX_ITERATIONS = 2**31 - 1
MAX_ACTIVATIONS = 4 << 30


# ---- model -> bytes ----


def to_bytes(
    model: Model, *, include_optimizer: bool = True, allow_nonfinite: bool = False
) -> bytes:
    """The container of a model: what save() writes."""
    objective = model.saved_objective() if model.is_compiled else None
    optimizer = objective.optimizer if objective else None
    paths = {id(v): path for path, v in model.network.variables.items()}
    weights = model.weights
    slots = _slots(model, weights) if include_optimizer else []
    values, state, iterations = _core.read(
        [v.core for v in weights],
        optimizer.state if optimizer and include_optimizer else None,
        [(variable.core, slot) for slot, variable in slots],
    )
    tensors = {paths[id(v)]: array for v, array in zip(weights, values, strict=True)}
    for (slot, variable), array in zip(slots, state, strict=True):
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
        "pycnn.graph": _to_json(topology.loadable(topology.describe(model, model.network))),
    }
    if objective is not None:
        metadata["pycnn.training"] = _to_json(_training(model, objective, iterations))
    return container.pack(metadata, tensors)


def _slots(model: Model, weights: Sequence[Variable]) -> list[tuple[str, Variable]]:
    """What a model that goes on has in use: slots of steps taken, also where now they rest."""
    if not model.is_compiled or not model.optimizer.iterations:
        return []
    optimizer = model.optimizer
    state, found = optimizer.state, []
    for variable in weights:
        trained = variable.spec.trainable and model.is_trained(variable.layer)
        needed = optimizer.slots if trained else ()
        found += [(slot, variable) for slot in {*needed, *state.slots_of(variable.core)}]
    return sorted(found, key=itemgetter(0))


def _training(model: Model, objective: Objective, iterations: int) -> dict[str, Any]:
    training: dict[str, Any] = {
        "optimizer": serialize(topology.rebuildable(objective.optimizer, optimizers.get)),
        "loss": serialize(topology.rebuildable(objective.loss, losses.get)),
        "metrics": [serialize(topology.rebuildable(m, metrics.get)) for m in objective.metrics],
        "iterations": iterations,
    }
    leaves, trained = model.leaves(), model.trained_layers()
    flags = [model.is_trained(layer) for layer in leaves]
    if flags != [layer in trained for layer in leaves]:
        training["trained"] = flags  # changed since compile()
    if model.on_nonfinite != "raise":
        training["on_nonfinite"] = model.on_nonfinite
    return training


def slot_name(slot: str, weight: str) -> str:
    return f"opt.{slot}:{weight}"


def _to_json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False, default=_python_number)


def _python_number(value: object) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"save: expected plain data, got {value!r}")


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
        model = topology.make_model(graph)
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


def _compile(model: Model, training: Any) -> int:
    keys: tuple[str, ...] = ("optimizer", "loss", "metrics", "iterations")
    if isinstance(training, dict):
        keys += tuple(key for key in ("trained", "on_nonfinite") if key in training)
    training = topology.expect("pycnn.training", training, keys)
    for key in keys[:3]:
        topology.check_plain(f"pycnn.training: {key}", training[key])
    model.compile(
        training["optimizer"],
        training["loss"],
        metrics=training["metrics"],
        on_nonfinite=training.get("on_nonfinite", "raise"),
    )
    iterations = training["iterations"]
    if type(iterations) is not int or not 0 <= iterations <= MAX_ITERATIONS:
        raise ModelFormatError("pycnn.training: bad number of iterations")
    if "trained" in training:
        leaves, flags = model.leaves(), training["trained"]
        if not isinstance(flags, list) or [type(flag) for flag in flags] != [bool] * len(leaves):
            raise ModelFormatError("pycnn.training: expected trained to be a flag for each layer")
        model.set_trainable(dict(zip(leaves, flags, strict=True)))
    _ = model.saved_objective()  # refuses a loss and metrics that do not fit
    return iterations


def _check_activations(model: Model, most: int) -> None:
    """A few bytes of description can ask for any amount of memory: it is known before it is used.

    What a layer reads and what it writes are in memory together, unless it works in place.
    """
    for tensor in itertools.chain.from_iterable(n.tensors for n in model.network.networks()):
        shapes = [tensor.shape, *(x.shape for x in tensor.inputs if x.shape != tensor.shape)]
        size = sum(4 * math.prod(extent or 1 for extent in shape) for shape in shapes)
        if size > most:
            raise ModelFormatError(
                f"layer {tensor.layer.name}: needs {size} bytes for one sample, max_activations "
                f"is {most}"
            )


def _set_tensors(model: Model, tensors: container.Tensors, iterations: int) -> None:
    """Exactly the tensors the model has, each of the shape it computes; only then allocates."""
    weights = model.network.variables
    shapes = {path: variable.shape for path, variable in weights.items()}
    state: list[tuple[str, str, Variable]] = []  # (tensor, slot, whose)
    for slot in model.optimizer.all_slots if iterations else ():
        for path, variable in weights.items():
            name = slot_name(slot, path)
            older = name.replace(":", "/", 1)  # in files of before 2026-12: "opt.m/dense/kernel"
            if name not in tensors and older in tensors and older not in weights:
                tensors[name] = tensors.pop(older)
            trained = variable.spec.trainable and model.is_trained(variable.layer)
            needed = trained and slot in model.optimizer.slots
            if needed or (name in tensors and variable.spec.trainable):
                state.append((name, slot, variable))
                shapes[name] = variable.shape
    for name in sorted(shapes.keys() ^ tensors.keys()):
        problem = "is missing" if name in shapes else "belongs to no layer"
        raise ModelFormatError(f"tensor {name} {problem}")
    for name, shape in shapes.items():
        if tensors[name].dtype != np.float32:
            raise ModelFormatError(f"tensor {name}: expected F32, got {tensors[name].dtype}")
        if tensors[name].shape != shape:
            raise ModelFormatError(
                f"tensor {name}: expected shape {shape}, got {tensors[name].shape}"
            )
    values = {name: np.asarray(array, np.float32) for name, array in tensors.items()}
    for path, variable in weights.items():
        variable.begin_with(values[path])
    if model.is_compiled:
        model.optimizer.iterations = iterations
    for name, slot, variable in state:
        model.optimizer.state.set(variable.core, slot, values[name])


# ---- files ----


def load_file(filepath: str | Path, max_activations: int | None) -> Model:
    """load_model: reads a regular file once, and no further than its first fault."""
    file, size = open_regular("load_model", filepath)
    with file:
        try:
            most = sys.maxsize if max_activations is None else max_activations
            return _from_container(*container.read(file, size), most)
        except ModelFormatError as error:
            raise type(error)(f"{filepath}: {error}") from error
