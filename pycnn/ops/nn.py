# SPDX-License-Identifier: Apache-2.0
"""Functions of neural networks, under the names and with the arguments of keras.ops.

Images are NHWC.
"""

from __future__ import annotations

import math
from typing import Any

from ..engine.traced import GraphTensor
from ..engine.weights import Variable
from .core import checked_axes, checked_axis, expression, tensor, tensors
from .creation import one_hot
from .dispatch import op
from .elementwise import divide, exp, multiply, subtract
from .indexing import split
from .reductions import Axis, logsumexp, max, mean, norm, sum, var
from .shapes import cast, expand_dims, squeeze, stop_gradient

__all__ = [
    "binary_crossentropy", "categorical_crossentropy", "celu",
    "dot", "elu", "gelu", "glu", "hard_sigmoid", "hard_silu",
    "hard_swish", "hard_tanh", "leaky_relu", "log_sigmoid", "log_softmax", "matmul", "mish",
    "moments", "multi_hot", "normalize", "relu", "relu6", "selu", "sigmoid", "silu", "soft_shrink",
    "softmax", "softplus", "softsign", "sparse_categorical_crossentropy", "squareplus", "swish",
    "tanh_shrink", "threshold",
]  # fmt: skip


def _activation(kind: str, x: Any, alpha: float | None = None) -> GraphTensor:
    """One of the activations that have kernels of their own."""
    x = cast(tensor(x), "float32")
    made = x.graph.core.activation(x.value, kind, alpha=alpha, name=x.graph.name)
    return GraphTensor(x.graph, made)


@op
def relu(x: Any) -> Any:
    """max(x, 0)."""
    return _activation("relu", x)


@op
def relu6(x: Any) -> Any:
    """min(max(x, 0), 6)."""
    return _activation("relu6", x)


@op
def sigmoid(x: Any) -> Any:
    """1 / (1 + exp(-x))."""
    return _activation("sigmoid", x)


@op
def leaky_relu(x: Any, negative_slope: float = 0.2) -> Any:
    """x, and negative_slope * x below 0."""
    return _activation("leaky_relu", x, negative_slope)


@op
def elu(x: Any, alpha: float = 1.0) -> Any:
    """x, and alpha * (exp(x) - 1) below 0."""
    return _activation("elu", x, alpha)


@op
def hard_sigmoid(x: Any) -> Any:
    """relu6(x + 3) / 6."""
    return _activation("hard_sigmoid", x)


@op
def celu(x: Any, alpha: float = 1.0) -> Any:
    """max(x, 0) + min(0, alpha * (exp(x / alpha) - 1)) (Barron 2017)."""
    lines = ["divide x0 x1", "minimum t0 0", "expm1 t1", "multiply t2 x1", "maximum x0 0"]
    return expression([*lines, "add t4 t3", "t5"], (x, alpha))


@op
def selu(x: Any) -> Any:
    """Klambauer et al. 2017: 1.0507 * elu(x, 1.67326)."""
    lines = ["minimum x0 0", "expm1 t0", "multiply t1 1.6732632423543772", "less 0 x0"]
    lines += ["where t3 x0 t2", "multiply t4 1.0507009873554805", "t5"]
    return expression(lines, (x,))


@op
def silu(x: Any) -> Any:
    """x * sigmoid(x)."""
    return expression(["sigmoid x0", "multiply x0 t0", "t1"], (x,))


swish = silu


@op
def gelu(x: Any, approximate: bool = True) -> Any:
    """x * the share of a normal distribution below x (Hendrycks and Gimpel 2016).

    Args:
        approximate: by tanh, as Keras does by default; exact (erf) else.
    """
    if approximate:
        lines = ["square x0", "multiply t0 0.044715", "add t1 1", "multiply x0 t2"]
        lines += ["multiply t3 0.7978845608028654", "tanh t4", "add t5 1", "multiply x0 t6"]
        return expression([*lines, "multiply t7 0.5", "t8"], (x,))
    lines = ["multiply x0 0.7071067811865476", "erf t0", "add t1 1", "multiply x0 t2"]
    return expression([*lines, "multiply t3 0.5", "t4"], (x,))


@op
def mish(x: Any) -> Any:
    """x * tanh(softplus(x)) (Misra 2019)."""
    return expression(["softplus x0", "tanh t0", "multiply x0 t1", "t2"], (x,))


@op
def softplus(x: Any) -> Any:
    """log(1 + exp(x))."""
    return expression(["softplus x0", "t0"], (x,))


@op
def softsign(x: Any) -> Any:
    """x / (1 + |x|)."""
    return expression(["absolute x0", "add t0 1", "divide x0 t1", "t2"], (x,))


@op
def log_sigmoid(x: Any) -> Any:
    """log(sigmoid(x)) = -softplus(-x)."""
    return expression(["negative x0", "softplus t0", "negative t1", "t2"], (x,))


@op
def hard_silu(x: Any) -> Any:
    """x * relu6(x + 3) / 6."""
    lines = ["add x0 3", "maximum t0 0", "minimum t1 6", "multiply x0 t2", "divide t3 6", "t4"]
    return expression(lines, (x,))


hard_swish = hard_silu


@op
def hard_tanh(x: Any) -> Any:
    """x within -1..1."""
    return expression(["clip x0 -1 1", "t0"], (x,))


@op
def soft_shrink(x: Any, threshold: float = 0.5) -> Any:
    """x nearer to 0 by the threshold, and 0 within it."""
    lines = ["absolute x0", "subtract t0 x1", "maximum t1 0", "sign x0", "multiply t3 t2", "t4"]
    return expression(lines, (x, threshold))


@op
def tanh_shrink(x: Any) -> Any:
    """x - tanh(x)."""
    return expression(["tanh x0", "subtract x0 t0", "t1"], (x,))


@op
def squareplus(x: Any, b: float = 4) -> Any:
    """(x + sqrt(x**2 + b)) / 2."""
    lines = ["square x0", "add t0 x1", "sqrt t1", "add x0 t2", "multiply t3 0.5", "t4"]
    return expression(lines, (x, b))


@op
def threshold(x: Any, threshold: float, default_value: float) -> Any:
    """x above the threshold, else the default value."""
    return expression(["less x1 x0", "where t0 x0 x2", "t1"], (x, threshold, default_value))


@op
def glu(x: Any, axis: int = -1) -> Any:
    """The first half times the sigmoid of the second (Dauphin et al. 2017)."""
    a, b = split(x, 2, axis)
    return expression(["sigmoid x1", "multiply x0 t0", "t1"], (a, b))


@op
def softmax(x: Any, axis: Axis = -1) -> Any:
    """exp(x) / sum(exp(x)) over axes."""
    x = cast(tensor(x), "float32")
    axes = checked_axes("softmax", axis, x.ndim)
    if axes == [x.ndim - 1] and x.ndim > 1 and x.shape[0] is None:
        return GraphTensor(x.graph, x.graph.core.softmax(x.value, name=x.graph.name))
    e = exp(subtract(x, stop_gradient(max(x, axes, True))))
    return divide(e, sum(e, axes, True))


@op
def log_softmax(x: Any, axis: Axis = -1) -> Any:
    """log(softmax(x)) without overflow."""
    return subtract(x, logsumexp(x, axis, True))


@op
def normalize(x: Any, axis: int = -1, order: float = 2, epsilon: float = 1e-12) -> Any:
    """x / max(its norm over an axis, epsilon)."""
    x = cast(tensor(x), "float32")
    if order == 2:
        lines = ["multiply x2 x2", "maximum x1 t0", "rsqrt t1", "multiply x0 t2", "t3"]
        total = sum(multiply(x, x), axis, True)
        return expression(lines, (x, total, math.sqrt(epsilon * epsilon)))
    size = norm(x, order, axis, True)
    return expression(["maximum x1 x2", "divide x0 t0", "t1"], (x, size, epsilon))


@op
def moments(x: Any, axes: Axis, keepdims: bool = False) -> Any:
    """(mean, variance) over axes."""
    return mean(x, axes, keepdims), var(x, axes, keepdims)


@op
def multi_hot(inputs: Any, num_classes: int, axis: int = -1) -> Any:
    """1 at the places that the last axis names, else 0."""
    hot = one_hot(inputs, num_classes)
    return max(hot, -2)


# --- losses of each sample ------------------------------------------------------------------------

EPSILON = 1e-7  # what Keras keeps probabilities away from 0 and 1 by


@op
def binary_crossentropy(target: Any, output: Any, from_logits: bool = False) -> Any:
    """-target * log(output) - (1 - target) * log(1 - output), of each element."""
    if from_logits:  # max(z, 0) - z * t + log(1 + exp(-|z|))
        lines = ["absolute x1", "negative t0", "exp t1", "log1p t2", "maximum x1 0"]
        lines += ["multiply x1 x0", "subtract t4 t5", "add t6 t3", "t7"]
        return expression(lines, (target, output))
    lines = [f"clip x1 {EPSILON} {1 - EPSILON}", "log t0", "subtract 1 t0", "log t2"]
    lines += ["subtract 1 x0", "multiply x0 t1", "multiply t4 t3", "add t5 t6", "negative t7", "t8"]
    return expression(lines, (target, output))


@op
def categorical_crossentropy(
    target: Any, output: Any, from_logits: bool = False, axis: int = -1
) -> Any:
    """-sum(target * log(output)) over the classes; probabilities are scaled to a sum of 1."""
    if from_logits:
        logs = log_softmax(output, axis)
    else:
        share = divide(output, sum(output, axis, True))
        logs = expression([f"clip x0 {EPSILON} {1 - EPSILON}", "log t0", "t1"], (share,))
    return expression(["negative x0", "t0"], (sum(multiply(target, logs), axis),))


@op
def sparse_categorical_crossentropy(
    target: Any, output: Any, from_logits: bool = False, axis: int = -1
) -> Any:
    """The same for class numbers."""
    output = tensor(output)
    place = checked_axis("sparse_categorical_crossentropy", axis, output.ndim)
    classes = output.shape[place]
    if classes is None:
        raise ValueError("sparse_categorical_crossentropy: the classes must not be the batch")
    hot = one_hot(target, classes, axis=place)
    return categorical_crossentropy(hot, output, from_logits, place)


# --- products ---


@op
def matmul(x1: Any, x2: Any) -> Any:
    """Products of rows and columns, as np.matmul: leading axes broadcast, vectors count as such."""
    a, b = (cast(x, "float32") for x in tensors((x1, x2)))
    graph = a.graph
    if a.ndim >= 2 and b.ndim == 2 and a.shape[0] is None and is_parameter(x2):
        return GraphTensor(graph, graph.core.dense(a.value, b.value, name=graph.name))
    row, column = a.ndim == 1, b.ndim == 1
    a, b = expand_dims(a, 0) if row else a, expand_dims(b, -1) if column else b
    y = GraphTensor(graph, graph.core.matmul(a.value, b.value, name=graph.name))
    places = [y.ndim - 2] * row + [y.ndim - 1] * column
    return squeeze(y, places) if places else y


def is_parameter(x: Any) -> bool:
    """Whether it is a weight: these lie as products want them."""
    return isinstance(x, Variable)


@op
def dot(x1: Any, x2: Any) -> Any:
    """The sum of products over the last axis of x1 and the last but one of x2, as np.dot."""
    a, b = tensors((x1, x2))
    if a.ndim == 0 or b.ndim == 0:
        return multiply(a, b)
    if b.ndim > 2:
        raise ValueError(f"dot: x2 must have at most 2 axes, got {b.shape}; use matmul")
    return matmul(x1, x2)
