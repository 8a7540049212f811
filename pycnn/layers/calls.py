# SPDX-License-Identifier: Apache-2.0
"""What a call of a layer becomes: nodes of a graph, a symbolic result, or a run on arrays."""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..engine.builder import GraphBuilder
from ..engine.programs import make_plan
from ..engine.tensors import core_dtype
from ..engine.traced import (
    GraphTensor,
    as_tensor,
    flatten,
    replace,
    tracing,
)
from ..ops.dispatch import (
    Slot,
    is_graph_tensor,
    is_leaf,
    is_slot,
    plain_array,
    run_plan,
    with_slots,
)

if TYPE_CHECKING:
    from .base import Layer

Form = tuple[Any, dict[str, Any]]  # arguments of a call, with slots for tensors
MAX_KEPT = 8  # plans of a layer that was called on arrays


class BoundCall:
    """A call with more than one tensor or list of tensors.

    Args:
        form: the arguments, with slots for the inputs.
    """

    def __init__(self, leaf: Layer, form: Form) -> None:
        self.leaf = leaf
        self.form = form
        self.dtypes: list[str] = []
        self.result: Any = None  # of the last call, with slots

    def apply(self, graph: GraphBuilder, inputs: Sequence[int]) -> list[int]:
        """The nodes that call() of the layer adds."""
        values, self.result, self.dtypes = trace(self.leaf, graph, inputs, self.form)
        return values


def plain_form(count: int, dtypes: Sequence[str] = ()) -> Form:
    """Of a call with one tensor, or with a list of several."""
    kinds = dtypes or ["float32"] * count
    slots = [Slot(i, kind) for i, kind in enumerate(kinds)]
    return (slots[0] if count == 1 else slots,), {}


def takes_call(layer: Layer) -> bool:
    """Whether a user wrote its call(); ours add nodes themselves."""
    from .base import Layer

    return type(layer).call is not Layer.call


def trace(
    layer: Layer, graph: GraphBuilder, inputs: Sequence[int], form: Form
) -> tuple[list[int], Any, list[str]]:
    """Runs call() on tensors of the graph: its values, their structure and dtypes."""

    def tensor(slot: Slot) -> GraphTensor:
        return GraphTensor(graph, inputs[slot.index], slot.dtype == "bool")

    args, kwargs = replace(form, is_slot, tensor)
    _ = layer.children  # which have their names from now on
    with tracing(graph):
        if not layer.built:
            shapes = replace(args, is_graph_tensor, lambda x: x.shape)
            layer.build(*shapes[:1])
            layer.built = True
        if kwargs.get("training") is None and takes_argument(layer.call, "training"):
            kwargs = {**kwargs, "training": graph.training}
        result = layer.call(*args, **kwargs)
    if isinstance(result, np.ndarray) or not flatten(result, is_graph_tensor):
        raise TypeError(
            f"{layer.name}: call() must return tensors, got {type(result).__name__}; compute with "
            "pycnn.ops"
        )
    made, structure = with_slots(result)
    return [as_tensor(graph, x).value for x in made], structure, [x.dtype for x in made]


def takes_argument(function: Any, name: str) -> bool:
    """Whether a function has an argument of that name."""
    try:
        return name in inspect.signature(function).parameters
    except (TypeError, ValueError):  # it does not say
        return False


def form_of(args: Any, kwargs: Any) -> tuple[list[Any], Form]:
    """The tensors or arrays of a call, and its arguments with slots in their places."""
    found: list[Any] = []

    def take(x: Any) -> Slot:
        found.append(x)
        return Slot(len(found) - 1, str(getattr(x, "dtype", "float32")))

    kept = {name: x for name, x in kwargs.items() if not (name == "training" and x is None)}
    return found, replace((args, kept), is_leaf, take)


def body_of(layer: Layer, count: int, form: Form) -> Any:
    """What a call runs: the layer itself where its arguments are plain."""
    args, kwargs = form
    flat = list(args[0]) if args and isinstance(args[0], (list, tuple)) else list(args)
    plain = len(args) == 1 and not kwargs and len(flat) == count and all(map(is_slot, flat))
    if not takes_call(layer):
        if plain or not kwargs.keys() - {"training", "mask"}:
            return layer
        raise TypeError(f"{layer.name}: has no argument {next(iter(kwargs))!r}")
    return BoundCall(layer, form)


# --- inside of another layer's call() -------------------------------------------------------------


def call_nested(layer: Layer, args: Any, kwargs: Any) -> Any:
    """Adds the layer to the graph that its caller is building."""
    found, form = form_of(args, kwargs)
    graph = next(x.graph for x in found if isinstance(x, GraphTensor))
    values = [as_tensor(graph, x).value for x in found]
    body = body_of(layer, len(found), form)
    outputs = graph.apply(body, f"{graph.name}/{layer.name}", values)
    structure = getattr(body, "result", None) or Slot(0, "float32")
    return replace(
        structure, is_slot, lambda s: GraphTensor(graph, outputs[s.index], s.dtype == "bool")
    )


# --- on arrays ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Kept:
    graph: GraphBuilder
    plan: _core.Plan
    shapes: list[tuple[int, ...]]
    structure: Any


_kept: WeakKeyDictionary[Any, OrderedDict[Any, _Kept]] = WeakKeyDictionary()


def call_on_arrays(layer: Layer, args: Any, kwargs: Any) -> Any:
    """Runs the layer at once. The first axis is that of the samples."""
    found, form = form_of(*_with_arrays(args, kwargs))
    arrays = [plain_array(layer.name, x) for x in found]
    if not arrays or any(a.ndim == 0 for a in arrays):
        raise ValueError(f"{layer.name}: expected tensors, or arrays of samples")
    plans = _kept.setdefault(layer, OrderedDict())
    key = repr(form), tuple((a.shape, a.dtype.str) for a in arrays)
    kept = plans.get(key)
    if kept is None:
        kept = plans[key] = _make(layer, arrays, form)
        while len(plans) > MAX_KEPT:
            plans.popitem(last=False)
    return run_plan(kept.plan, arrays, kept.structure, kept.shapes)


def _with_arrays(args: Any, kwargs: Any) -> tuple[Any, Any]:
    """Lists of numbers are arrays."""
    first = args[:1]
    if first and isinstance(first[0], (list, tuple)) and not flatten(first[0], is_leaf):
        return (np.asarray(first[0], np.float32), *args[1:]), kwargs
    return args, kwargs


def _make(layer: Layer, arrays: Sequence[NDArray[Any]], form: Form) -> _Kept:
    training = bool(form[1].get("training"))
    graph = GraphBuilder(training)
    values = [
        graph.core.input(f"input_{i}", (None, *a.shape[1:]), core_dtype(str(a.dtype)))
        for i, a in enumerate(arrays)
    ]
    body = body_of(layer, len(arrays), form)
    outputs = graph.apply(body, layer.name, values)
    groups = _core.groups_of(graph.core)
    for path, weight in graph.weights.items():
        weight.layer.adopt(weight.spec, groups[path])
    for value in outputs:
        graph.core.mark_output(value)
    variables = {
        path: weight.layer.variables[weight.spec.name].core
        for path, weight in graph.weights.items()
    }
    batch = len(arrays[0])
    plan = make_plan(graph.core, _core.Parameters.of(variables), batch)
    shapes = [
        tuple(batch if e is None else e for e in graph.core.shape(value)) for value in outputs
    ]
    structure = getattr(body, "result", None) or Slot(0, "float32")
    return _Kept(graph, plan, shapes, structure)
