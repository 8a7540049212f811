# SPDX-License-Identifier: Apache-2.0
"""Expressions over elements, and what folds them over axes.

An expression is a list of lines: instructions "function operand ...", and last the results. Its
operands: x0 an input, t0 the result of instruction 0, a number, iota1 the place along axis 1,
uniform7 a random number in [0, 1) for each element, learning_rate, step, batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from .checks import Array, bad_argument
from .rng import uniform_for

__all__ = ["FUNCTIONS", "evaluate", "map", "reduce"]


def _truth(function: Callable[..., Any]) -> Callable[..., Any]:
    """1 or 0, in the type of the operands."""
    return lambda *x: function(*x).astype(x[0].dtype)


def _sigmoid(x: Array) -> Array:
    e = np.exp(-np.abs(x))
    return np.asarray(np.where(x >= 0, x.dtype.type(1), e) / (1 + e))


def _softplus(x: Array) -> Array:
    return np.asarray(np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))))


def _erf(x: Array) -> Array:
    return np.asarray(np.vectorize(math.erf, otypes=[float])(x), x.dtype)


def _whole(low: float, high: float) -> Callable[[Array], Array]:
    def cast(x: Array) -> Array:
        whole = np.clip(np.trunc(np.where(np.isnan(x), 0, x)), low, high)
        return np.asarray(whole + 0.0, x.dtype)  # integers know no -0

    return cast


FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{
        name: getattr(np, name)
        for name in (
            "add subtract multiply divide floor_divide mod maximum minimum power hypot arctan2 "
            "negative absolute sign square sqrt reciprocal exp exp2 expm1 log log2 log10 log1p sin "
            "cos tan arcsin arccos arctan sinh cosh tanh arcsinh arccosh arctanh floor ceil trunc"
        ).split()
    },
    **{
        name: _truth(getattr(np, name))
        for name in (
            "equal not_equal less less_equal logical_and logical_or logical_not "
            "isfinite isinf isnan"
        ).split()
    },
    "where": lambda c, a, b: np.where(c != 0, a, b),
    "clip": lambda x, low, high: np.minimum(high, np.maximum(low, x)),
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "round": np.rint,
    "sigmoid": _sigmoid,
    "softplus": _softplus,
    "erf": _erf,
    "to_int32": _whole(-(2.0**31), 2.0**31 - 128),  # the largest float32 below 2**31
    "to_uint8": _whole(0, 255),
}


def _operand(text: str, known: Mapping[str, Array], shape: tuple[int, ...], kind: Any) -> Array:
    if text in known:
        return known[text]
    if text.startswith("iota"):
        axis = int(text.removeprefix("iota"))
        places = np.arange(shape[axis]).reshape([-1] + [1] * (len(shape) - axis - 1))
        return np.broadcast_to(places, shape).astype(kind)
    return np.asarray(float(text), kind)


def evaluate(
    inputs: Sequence[ArrayLike],
    expression: Sequence[str],
    shape: Sequence[int] = (),
    *,
    precision: DTypeLike = np.float64,
    learning_rate: float = 0.0,
    step: int = 0,
    seed: int = 0,
) -> list[Array]:
    """The results of an expression, each of the shape that the inputs and `shape` broadcast to.

    Args:
        precision: that every instruction is computed in.
        step: of the optimizer; random numbers depend on it, too.
    """
    kind = np.dtype(precision).type
    arrays = [np.asarray(x).astype(kind) for x in inputs]
    whole = np.broadcast_shapes(tuple(shape), *(x.shape for x in arrays))
    batch = whole[0] if whole else 1
    known = {f"x{i}": x for i, x in enumerate(arrays)}
    numbers = {"learning_rate": learning_rate, "step": step, "batch": batch}
    known |= {name: np.asarray(number, kind) for name, number in numbers.items()}
    for line in expression:
        for word in line.split():
            if word.startswith("uniform"):
                stream = int(word.removeprefix("uniform"))
                known[word] = (
                    uniform_for("map", seed, stream, step, math.prod(whole))
                    .reshape(whole)
                    .astype(kind)
                )
    with np.errstate(all="ignore"):
        for i, line in enumerate(expression[:-1]):
            name, *words = line.split(" ")
            operands = [_operand(word, known, whole, kind) for word in words]
            known[f"t{i}"] = np.asarray(FUNCTIONS[name](*operands), kind)
    results = [_operand(word, known, whole, kind) for word in expression[-1].split(" ")]
    return [np.broadcast_to(result, whole) for result in results]


def map(
    inputs: Sequence[ArrayLike],
    expression: Sequence[str],
    shape: Sequence[int] = (),
    dtype: str = "float32",
    **numbers: Any,
) -> Array:
    """y = expression(inputs), by NumPy's rules of broadcasting.

    Args:
        shape: that inputs are repeated to; () for no other than theirs.
        dtype: of the result: "float32" (float64 here), "int32" or "uint8": cut off, saturated.
        numbers: of the run, see `evaluate`.
    """
    (y,) = evaluate(inputs, expression, shape, **numbers)
    if dtype == "float32":
        return y.copy()
    if dtype not in ("int32", "uint8"):
        raise bad_argument("map", "dtype", "float32, int32 or uint8", dtype)
    return np.asarray(FUNCTIONS[f"to_{dtype}"](y), dtype)


def reduce(
    inputs: Sequence[ArrayLike],
    kind: str,
    axes: Sequence[int] | None = None,
    keepdims: bool = False,
    expression: Sequence[str] = ("x0",),
    **numbers: Any,
) -> Array:
    """The sum, mean, max or min of an expression over axes, or the first place of an extreme.

    Args:
        kind: "sum", "mean", "max", "min", "arg_max" or "arg_min"; the last two over one axis.
        axes: None for all.
    """
    (x,) = evaluate(inputs, expression, **numbers)
    axes = tuple(range(x.ndim)) if axes is None else tuple(axes)
    if kind in ("arg_max", "arg_min"):
        find = np.argmax if kind == "arg_max" else np.argmin
        (axis,) = axes
        return np.asarray(find(x, axis=axis, keepdims=keepdims), np.int32)
    if kind not in ("sum", "mean", "max", "min"):
        raise bad_argument("reduce", "kind", "sum, mean, max, min, arg_max or arg_min", kind)
    return np.asarray(getattr(np, kind)(x, axis=axes, keepdims=keepdims))
