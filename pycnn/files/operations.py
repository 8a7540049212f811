# SPDX-License-Identifier: Apache-2.0
"""Calls of functions of ops as plain data: names and arguments, never code."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import ModelFormatError
from ..ground.text import quoted
from ..ops.dispatch import FUNCTIONS, Operation, Slot

MAX_CONSTANTS = 65_536  # numbers in the arrays of one call
MAX_DEPTH = 8
KINDS = ("float32", "int32", "uint8", "bool")


def describe(node: Operation, name: str) -> dict[str, Any]:
    """What make() reads."""
    return {
        "function": node.function,
        "args": [_encode(x) for x in node.args],
        "kwargs": {key: _encode(x) for key, x in node.kwargs.items()},
        "name": name,
    }


def _encode(x: Any) -> Any:
    if isinstance(x, Slot):
        return {"tensor": x.index, "dtype": x.dtype}
    if isinstance(x, (np.ndarray, np.generic)):
        array = np.asarray(x)
        kind = {"f": "float32", "b": "bool"}.get(array.dtype.kind, "int32")
        if array.size > MAX_CONSTANTS:
            raise ValueError(f"save: a constant of {array.size} numbers, limit {MAX_CONSTANTS}")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ValueError("save: a constant that is not finite")
        return {"array": array.ravel().tolist(), "shape": list(array.shape), "dtype": kind}
    if isinstance(x, slice):
        return {"slice": [_encode(x.start), _encode(x.stop), _encode(x.step)]}
    if x is Ellipsis:
        return {"ellipsis": True}
    if isinstance(x, tuple):
        return {"tuple": [_encode(item) for item in x]}
    if isinstance(x, list):
        return [_encode(item) for item in x]
    if isinstance(x, float) and not math.isfinite(x):
        return {"number": str(x)}
    if isinstance(x, (type, np.dtype)):
        return np.dtype(x).name
    if x is None or isinstance(x, (bool, int, float, str)):
        return x
    raise ValueError(f"save: an argument of type {type(x).__name__} cannot be written")


def make(where: str, config: Any) -> Operation:
    """The node; ModelFormatError for what describe() would not write."""
    if not isinstance(config, dict) or set(config) != {"function", "args", "kwargs", "name"}:
        raise ModelFormatError(f"{where}: expected function, args, kwargs and name")
    if config["function"] not in FUNCTIONS or not isinstance(config["name"], str):
        raise ModelFormatError(f"{where}: unknown function {quoted(config['function'])}")
    if not isinstance(config["args"], list) or not isinstance(config["kwargs"], dict):
        raise ModelFormatError(f"{where}: expected lists of arguments")
    args = tuple(_decode(where, x) for x in config["args"])
    kwargs = {str(key): _decode(where, x) for key, x in config["kwargs"].items()}
    return Operation.of(config["function"], args, kwargs, config["name"])


def _decode(where: str, x: Any, depth: int = 0) -> Any:
    if depth > MAX_DEPTH:
        raise ModelFormatError(f"{where}: arguments inside each other {depth} deep")
    if isinstance(x, list):
        return [_decode(where, item, depth + 1) for item in x]
    if not isinstance(x, dict):
        return x
    keys = set(x)
    if keys == {"tensor", "dtype"} and type(x["tensor"]) is int and x["dtype"] in KINDS:
        return Slot(x["tensor"], x["dtype"])
    if keys == {"array", "shape", "dtype"} and x["dtype"] in KINDS:
        return _array(where, x)
    if keys == {"slice"} and isinstance(x["slice"], list) and len(x["slice"]) == 3:
        return slice(*(_decode(where, item, depth + 1) for item in x["slice"]))
    if keys == {"ellipsis"}:
        return Ellipsis
    if keys == {"tuple"} and isinstance(x["tuple"], list):
        return tuple(_decode(where, item, depth + 1) for item in x["tuple"])
    if keys == {"number"} and x["number"] in ("inf", "-inf", "nan"):
        return float(x["number"])
    raise ModelFormatError(f"{where}: unknown argument with {quoted(sorted(keys))}")


def _array(where: str, x: Mapping[str, Any]) -> Any:
    values, shape = x["array"], x["shape"]
    numbers = isinstance(values, list) and all(type(v) in (int, float, bool) for v in values)
    extents = isinstance(shape, list) and all(type(e) is int and e >= 0 for e in shape)
    if not numbers or not extents or len(values) > MAX_CONSTANTS or len(shape) > MAX_DEPTH:
        raise ModelFormatError(f"{where}: bad array")
    if math.prod(shape) != len(values):
        raise ModelFormatError(f"{where}: an array of {len(values)} numbers with shape {shape}")
    return np.asarray(values, x["dtype"]).reshape(shape)
