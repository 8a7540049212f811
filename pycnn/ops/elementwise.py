# SPDX-License-Identifier: Apache-2.0
"""Functions of each element, under the names and with the arguments of keras.ops.

Tensors broadcast by NumPy's rules. Every function rounds its float32 result to within 2 units in
the last place (csrc/kernels/expression/functions.h has the measured errors). Arithmetic of whole
numbers gives int32, exact below 2**24.
"""

from __future__ import annotations

from typing import Any

from ..engine.traced import GraphTensor
from .core import apply, common_dtype, dtype_of, expression, is_number, tensor, tensors
from .dispatch import op

__all__ = [
    "abs",
    "absolute",
    "add",
    "arccos",
    "arccosh",
    "arcsin",
    "arcsinh",
    "arctan",
    "arctan2",
    "arctanh",
    "ceil",
    "clip",
    "cos",
    "cosh",
    "divide",
    "divide_no_nan",
    "equal",
    "erf",
    "exp",
    "exp2",
    "expm1",
    "floor",
    "floor_divide",
    "greater",
    "greater_equal",
    "hypot",
    "isfinite",
    "isinf",
    "isnan",
    "less",
    "less_equal",
    "log",
    "log1p",
    "log2",
    "log10",
    "logaddexp",
    "logical_and",
    "logical_not",
    "logical_or",
    "logical_xor",
    "maximum",
    "minimum",
    "mod",
    "multiply",
    "negative",
    "not_equal",
    "power",
    "reciprocal",
    "round",
    "rsqrt",
    "sign",
    "sin",
    "sinh",
    "sqrt",
    "square",
    "subtract",
    "tan",
    "tanh",
    "true_divide",
    "trunc",
    "where",
]  # fmt: skip


@op
def add(x1: Any, x2: Any) -> Any:
    """x1 + x2."""
    if isinstance(x1, GraphTensor) and isinstance(x2, GraphTensor) and x1.shape == x2.shape:
        a, b = tensors((x1, x2))
        if a.dtype == b.dtype == "float32":  # of its own kernel, or in that of a convolution
            made = a.graph.core.add(a.value, b.value, name=a.graph.name)
            return GraphTensor(a.graph, made)
    return apply("add", x1, x2, dtype=common_dtype((x1, x2)))


@op
def subtract(x1: Any, x2: Any) -> Any:
    """x1 - x2."""
    return apply("subtract", x1, x2, dtype=common_dtype((x1, x2)))


@op
def multiply(x1: Any, x2: Any) -> Any:
    """x1 * x2."""
    return apply("multiply", x1, x2, dtype=common_dtype((x1, x2)))


@op
def divide(x1: Any, x2: Any) -> Any:
    """x1 / x2, in floating point."""
    return apply("divide", x1, x2)


true_divide = divide


@op
def divide_no_nan(x1: Any, x2: Any) -> Any:
    """x1 / x2, and 0 where x2 is 0."""
    lines = ["equal x1 0", "where t0 1 x1", "divide x0 t1", "where t0 0 t2", "t3"]
    return expression(lines, (x1, x2))


@op
def floor_divide(x1: Any, x2: Any) -> Any:
    """The largest whole number not above x1 / x2."""
    return apply("floor_divide", x1, x2, dtype=common_dtype((x1, x2)))


@op
def mod(x1: Any, x2: Any) -> Any:
    """x1 - x2 * floor(x1 / x2): it has the sign of x2."""
    return apply("mod", x1, x2, dtype=common_dtype((x1, x2)))


@op
def power(x1: Any, x2: Any) -> Any:
    """x1 ** x2."""
    if is_number(x2) and float(x2) in (1.0, 2.0, 0.5, -1.0) and dtype_of(x1) == "float32":
        function = {1.0: "", 2.0: "square", 0.5: "sqrt", -1.0: "reciprocal"}[float(x2)]
        return apply(function, x1) if function else tensor(x1)
    return apply("power", x1, x2, dtype=common_dtype((x1, x2)))


@op
def maximum(x1: Any, x2: Any) -> Any:
    """The larger one; NaN where either is."""
    return apply("maximum", x1, x2, dtype=common_dtype((x1, x2)))


@op
def minimum(x1: Any, x2: Any) -> Any:
    """The smaller one; NaN where either is."""
    return apply("minimum", x1, x2, dtype=common_dtype((x1, x2)))


@op
def hypot(x1: Any, x2: Any) -> Any:
    """sqrt(x1**2 + x2**2) without overflow between."""
    return apply("hypot", x1, x2)


@op
def arctan2(x1: Any, x2: Any) -> Any:
    """The angle of the point (x2, x1), in -pi..pi."""
    return apply("arctan2", x1, x2)


@op
def logaddexp(x1: Any, x2: Any) -> Any:
    """log(exp(x1) + exp(x2)) without overflow."""
    lines = ["maximum x0 x1", "minimum x0 x1", "subtract t1 t0", "exp t2", "log1p t3"]
    lines += ["add t0 t4", "equal t0 t1", "add t0 0.6931471805599453", "where t6 t7 t5", "t8"]
    return expression(lines, (x1, x2))


@op
def equal(x1: Any, x2: Any) -> Any:
    """Whether x1 == x2."""
    return apply("equal", x1, x2, dtype="bool")


@op
def not_equal(x1: Any, x2: Any) -> Any:
    """Whether x1 != x2."""
    return apply("not_equal", x1, x2, dtype="bool")


@op
def less(x1: Any, x2: Any) -> Any:
    """Whether x1 < x2."""
    return apply("less", x1, x2, dtype="bool")


@op
def less_equal(x1: Any, x2: Any) -> Any:
    """Whether x1 <= x2."""
    return apply("less_equal", x1, x2, dtype="bool")


@op
def greater(x1: Any, x2: Any) -> Any:
    """Whether x1 > x2."""
    return apply("less", x2, x1, dtype="bool")


@op
def greater_equal(x1: Any, x2: Any) -> Any:
    """Whether x1 >= x2."""
    return apply("less_equal", x2, x1, dtype="bool")


@op
def logical_and(x1: Any, x2: Any) -> Any:
    """Whether both are true: anything but 0 is."""
    return apply("logical_and", x1, x2, dtype="bool")


@op
def logical_or(x1: Any, x2: Any) -> Any:
    """Whether one of them is true."""
    return apply("logical_or", x1, x2, dtype="bool")


@op
def logical_xor(x1: Any, x2: Any) -> Any:
    """Whether exactly one of them is true."""
    lines = ["not_equal x0 0", "not_equal x1 0", "not_equal t0 t1", "t2"]
    return expression(lines, (x1, x2), dtype="bool")


@op
def where(condition: Any, x1: Any, x2: Any) -> Any:
    """x1 where the condition is true (not 0), else x2."""
    return apply("where", condition, x1, x2, dtype=common_dtype((x1, x2)))


@op
def clip(x: Any, x_min: Any, x_max: Any) -> Any:
    """minimum(x_max, maximum(x_min, x))."""
    return apply("clip", x, x_min, x_max, dtype=common_dtype((x, x_min, x_max)))


def _unary(name: str, text: str, *, whole: bool = False, truth: bool = False) -> Any:
    """One elementary function; whole numbers stay whole where they are told to."""

    def function(x: Any) -> Any:
        dtype = "bool" if truth else common_dtype((x,)) if whole else "float32"
        return apply(name, x, dtype=dtype)

    function.__name__, function.__qualname__, function.__doc__ = name, name, text
    function.__module__ = __name__
    return op(function)


negative = _unary("negative", "-x.", whole=True)
absolute = _unary("absolute", "|x|.", whole=True)
abs = absolute
sign = _unary("sign", "-1, 0 or 1.", whole=True)
square = _unary("square", "x * x.", whole=True)
sqrt = _unary("sqrt", "The square root; NaN below 0.")
rsqrt = _unary("rsqrt", "1 / sqrt(x).")
reciprocal = _unary("reciprocal", "1 / x.")
exp = _unary("exp", "e ** x.")
exp2 = _unary("exp2", "2 ** x.")
expm1 = _unary("expm1", "exp(x) - 1, exact near 0.")
log = _unary("log", "The natural logarithm.")
log2 = _unary("log2", "The logarithm of base 2.")
log10 = _unary("log10", "The logarithm of base 10.")
log1p = _unary("log1p", "log(1 + x), exact near 0.")
sin = _unary("sin", "The sine of an angle in radians.")
cos = _unary("cos", "The cosine of an angle in radians.")
tan = _unary("tan", "The tangent of an angle in radians.")
arcsin = _unary("arcsin", "The inverse of sin, in -pi/2..pi/2.")
arccos = _unary("arccos", "The inverse of cos, in 0..pi.")
arctan = _unary("arctan", "The inverse of tan, in -pi/2..pi/2.")
sinh = _unary("sinh", "(exp(x) - exp(-x)) / 2.")
cosh = _unary("cosh", "(exp(x) + exp(-x)) / 2.")
tanh = _unary("tanh", "sinh(x) / cosh(x).")
arcsinh = _unary("arcsinh", "The inverse of sinh.")
arccosh = _unary("arccosh", "The inverse of cosh; NaN below 1.")
arctanh = _unary("arctanh", "The inverse of tanh.")
erf = _unary("erf", "The error function, 2 / sqrt(pi) * integral of exp(-t**2) from 0 to x.")
floor = _unary("floor", "The largest whole number not above x.")
ceil = _unary("ceil", "The smallest whole number not below x.")
trunc = _unary("trunc", "x without its fraction.")
isfinite = _unary("isfinite", "Whether x is neither infinite nor NaN.", truth=True)
isinf = _unary("isinf", "Whether x is infinite.", truth=True)
isnan = _unary("isnan", "Whether x is NaN.", truth=True)
logical_not = _unary("logical_not", "Whether x is 0.", truth=True)


@op
def round(x: Any, decimals: int = 0) -> Any:
    """To the nearest number of that many decimals, ties to even."""
    if decimals == 0:
        return apply("round", x, dtype=common_dtype((x,)))
    scale = 10.0**decimals
    return expression([f"multiply x0 {scale!r}", "round t0", f"divide t1 {scale!r}", "t2"], (x,))
