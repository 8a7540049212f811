# SPDX-License-Identifier: Apache-2.0
"""How one function serves tensors of a graph, symbolic tensors and arrays.

A function of ops is written for tensors of a graph that is being built. Called on symbolic tensors
it becomes a node of the model; on arrays, a small graph of its own, kept for the next call, runs.
"""

from __future__ import annotations

import functools
import inspect
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..engine import operators
from ..engine.builder import GraphBuilder
from ..engine.tensors import Extents, Tensor, call_layer, core_dtype
from ..engine.traced import (
    Array,
    GraphTensor,
    as_array,
    flatten,
    replace,
    traced_graph,
    tracing,
)
from ..engine.weights import Variable, WeightSpec
from ..errors import DTypeError
from ..limits import current as current_limits

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])
MAX_KEPT = 256  # plans of functions that were called on arrays


@dataclass(frozen=True)
class Function:
    """A function of ops.

    Args:
        batched: of arrays, the first one's first axis is that of the samples, and the others are
            weights.
    """

    name: str
    call: Callable[..., Any]
    batched: bool


FUNCTIONS: dict[str, Function] = {}  # by name: the closed table that saved models are read with


def op(function: FunctionT) -> FunctionT:
    """Makes a function of graph tensors one of ops."""
    return _dispatched(function, batched=False)


def batched_op(function: FunctionT) -> FunctionT:
    """The same of one whose first array holds samples, and the others weights."""
    return _dispatched(function, batched=True)


def _dispatched(function: FunctionT, *, batched: bool) -> FunctionT:
    made = Function(function.__name__, function, batched)
    names = list(inspect.signature(function).parameters)

    @functools.wraps(function)
    def dispatch(*args: Any, **kwargs: Any) -> Any:
        args = tuple(_as_given(names[i : i + 1], x) for i, x in enumerate(args))
        kwargs = {name: _as_given([name], x) for name, x in kwargs.items()}
        given = flatten((args, kwargs), is_leaf)
        if any(isinstance(x, GraphTensor) for x in given):
            return function(*args, **kwargs)
        if any(isinstance(x, Tensor) for x in given):
            return Operation(made.name, args, kwargs).result()
        if traced_graph() is not None:
            return function(*args, **kwargs)
        if not given:  # numbers alone
            args = tuple(_as_scalar(names[i : i + 1], x) for i, x in enumerate(args))
            kwargs = {name: _as_scalar([name], x) for name, x in kwargs.items()}
        return run_on_arrays(made, args, kwargs)

    FUNCTIONS[made.name] = made
    operators.functions[made.name] = dispatch
    return cast("FunctionT", dispatch)


def is_leaf(x: object) -> bool:
    """Whether it has a value for each element, known or not."""
    return isinstance(x, (Tensor, GraphTensor, Variable, np.ndarray, np.generic))


# Arguments that are tensors: lists of numbers are arrays there.
TENSORS = frozenset(
    "x x1 x2 inputs kernel target output condition indices variable weights".split()
)


def _as_given(names: list[str], x: Any) -> Any:
    listed = isinstance(x, (list, tuple)) and not flatten(x, is_leaf)
    return np.asarray(x) if listed and names and names[0] in TENSORS else x


def _as_scalar(names: list[str], x: Any) -> Any:
    number = isinstance(x, (int, float)) and names and names[0] in TENSORS
    return np.asarray(x) if number else x


# --- on symbolic tensors --------------------------------------------------------------------------


@dataclass(frozen=True)
class Slot:
    """Where input `index` of a node stands among the arguments."""

    index: int
    dtype: str


def is_slot(x: object) -> bool:
    return isinstance(x, Slot)


def is_graph_tensor(x: object) -> bool:
    return isinstance(x, GraphTensor)


def with_slots(results: Any) -> tuple[list[GraphTensor], Any]:
    """The tensors among the results of a function, and the results with slots in their places."""
    made = flatten(results, is_graph_tensor)
    places = iter(range(len(made)))
    return made, replace(results, is_graph_tensor, lambda x: Slot(next(places), x.dtype))


class Operation:
    """A call of a function of ops as a node of a model."""

    trainable = True
    variables: dict[str, Variable]

    def __init__(self, function: str, args: Any, kwargs: Any, name: str = "") -> None:
        self.function = function
        self.inputs: list[Tensor] = []
        self.args, self.kwargs = replace((args, kwargs), is_leaf, self._take)
        self.name = name or function
        self.named = bool(name)
        self.holders = 0
        self.variables = {}
        self.dtypes: list[str] = []

    @classmethod
    def of(cls, function: str, args: Any, kwargs: Any, name: str) -> Operation:
        """For loading: arguments have slots already, and the inputs come with the call."""
        made = cls(function, (), {}, name)
        made.args, made.kwargs = args, kwargs
        return made

    def __call__(self, inputs: Any) -> Any:
        """For loading: the symbolic results on these inputs."""
        self.inputs = list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]
        made = flatten(self.result(), lambda x: isinstance(x, Tensor))
        return made if len(made) > 1 else made[0]

    def _take(self, x: Any) -> Any:
        if isinstance(x, GraphTensor):
            raise TypeError(f"{self.function}: a tensor of a call() meets a symbolic one")
        if isinstance(x, Variable):
            raise TypeError(
                f"{self.function}: {x.path} meets a symbolic tensor; weights belong into a layer, "
                "whose call() uses them"
            )
        if not isinstance(x, Tensor):
            return x
        if all(x is not known for known in self.inputs):
            self.inputs.append(x)
        index = next(i for i, known in enumerate(self.inputs) if known is x)
        return Slot(index, x.dtype)

    def result(self) -> Any:
        """The symbolic results, as the function gives them."""
        outputs = call_layer(self, self.inputs).outputs
        return replace(self._form, is_slot, lambda s: outputs[s.index])

    def apply(self, graph: GraphBuilder, inputs: Sequence[int]) -> list[int]:
        """The function's nodes."""

        def tensor(slot: Slot) -> GraphTensor:
            if not 0 <= slot.index < len(inputs):
                raise ValueError(f"{self.name}: input {slot.index} of {len(inputs)}")
            return GraphTensor(graph, inputs[slot.index], slot.dtype == "bool")

        args, kwargs = replace((self.args, self.kwargs), is_slot, tensor)
        with tracing(graph):
            results = FUNCTIONS[self.function].call(*args, **kwargs)
        made, self._form = with_slots(results)
        self.dtypes = [x.dtype for x in made]
        return [x.value for x in made]

    def rename(self, name: str) -> None:
        self.name = name

    def body_for(self, shapes: Sequence[Extents]) -> Operation:
        return self

    def undo_calls(self) -> Callable[[], None]:
        return lambda: None

    def adopt(self, spec: WeightSpec, groups: int | None) -> None:
        raise AssertionError("functions have no weights")


# --- on arrays ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Kept:
    """A plan, and what to do with its results."""

    plan: _core.Plan
    parameters: _core.Parameters
    names: list[str]  # of the arrays that are parameters
    form: Any  # the results, with slots
    shapes: list[tuple[int, ...]]


_kept: OrderedDict[Any, Kept] = OrderedDict()


def run_on_arrays(function: Function, args: Any, kwargs: Any) -> Any:
    """Builds, runs and keeps a plan for arguments like these."""
    arrays: list[NDArray[Any]] = []

    def take(x: Any) -> Slot:
        array = plain_array(function.name, x)
        arrays.append(array)
        return Slot(len(arrays) - 1, str(array.dtype))

    form = replace((args, kwargs), is_leaf, take)
    key = function.name, repr(form), tuple((a.shape, a.dtype.str) for a in arrays)
    kept = _kept.get(key)
    if kept is None:
        kept = _make(function, form, arrays)
        if not function.batched:  # else it holds weights of its own, which threads must not share
            _kept[key] = kept
        while len(_kept) > MAX_KEPT:
            _kept.popitem(last=False)
    return _run(kept, arrays)


def plain_array(where: str, x: Any) -> NDArray[Any]:
    """As the core takes it: float32, int32, or bytes; true and false are 1 and 0."""
    array = np.asarray(x)
    if array.dtype == np.bool_:
        return array  # for run_plan to convert
    kind = {"f": "float32", "i": "int32", "u": "int32"}.get(array.dtype.kind)
    if kind is None:
        raise DTypeError(f"{where}: expected numbers, got dtype {array.dtype}")
    if array.dtype == np.uint8:
        kind = "uint8"
    if kind == "int32" and array.size and not -(2**31) <= array.min() <= array.max() < 2**31:
        raise ValueError(f"{where}: an integer is beyond the range of int32")
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(array, kind).reshape(array.shape)


def _make(function: Function, form: Any, arrays: Sequence[NDArray[Any]]) -> Kept:
    graph = GraphBuilder()
    graph.name = function.name
    names: list[str] = []
    tensors: list[GraphTensor] = []
    for i, array in enumerate(arrays):
        dtype = core_dtype(str(array.dtype))
        if function.batched and i > 0:
            names.append(f"x{i}")
            value = graph.core.parameter(f"x{i}", array.shape)
        else:
            shape = (None, *array.shape[1:]) if function.batched else array.shape
            value = graph.core.input(f"x{i}", shape, dtype)
        tensors.append(GraphTensor(graph, value, array.dtype == np.bool_))
    args, kwargs = replace(form, is_slot, lambda s: tensors[s.index])
    with tracing(graph):
        results = function.call(*args, **kwargs)
    made, result_form = with_slots(results)
    for tensor in made:
        scalar = tensor.shape == ()  # which a run would return as a float
        core = graph.core
        core.mark_output(core.reshape(tensor.value, shape=(1,)) if scalar else tensor.value)
    parameters = _core.Parameters(graph.core)
    batch = len(arrays[0]) if function.batched else 1
    plan = _core.Plan(graph.core, parameters, batch, **current_limits())
    shapes = [tuple(batch if e is None else e for e in x.shape) for x in made]
    return Kept(plan, parameters, names, result_form, shapes)


def _run(kept: Kept, arrays: Sequence[NDArray[Any]]) -> Any:
    first = len(arrays) - len(kept.names)
    for name, array in zip(kept.names, arrays[first:], strict=True):
        kept.parameters.set(name, array.astype(np.float32))
    return run_plan(kept.plan, arrays[:first], kept.form, kept.shapes)


def run_plan(
    plan: _core.Plan, arrays: Sequence[NDArray[Any]], form: Any, shapes: list[tuple[int, ...]]
) -> Any:
    """What a plan makes of arrays, in the form that has slots for its results."""
    given = [a.astype(np.float32) if a.dtype == np.bool_ else a for a in arrays]
    slots = flatten(form, is_slot)
    outputs = [np.empty(shapes[s.index] or (1,), core_dtype(s.dtype)) for s in slots]
    plan.run(given, outputs)

    def result(slot: Slot) -> Array:
        values = outputs[slot.index].reshape(shapes[slot.index])
        return as_array(values.astype(np.bool_) if slot.dtype == "bool" else values)

    return replace(form, is_slot, result)
