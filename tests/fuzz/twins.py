# SPDX-License-Identifier: Apache-2.0
"""The nodes of a graph in NumPy, by pycnn.reference, and how far the engine may be from that.

Each node is computed from the very numbers the engine had, so an error cannot hide behind those of
other nodes. A value is also followed as a whole number of 2^grain: while sums stay below 2^24 of
these, the engine must be exact, however it fuses.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pycnn import reference

Array = NDArray[Any]

UNIT = 2.0**-24
TINY = 2.0**-126
ROUNDINGS = 64  # of a value or an input that an op's own arithmetic may cost
SUMS = {"add", "bias_backward", "upsample2d_backward"}
MEANS = {
    "avg_pool2d",
    "avg_pool2d_backward",
    "global_avg_pool2d",
    "global_avg_pool2d_backward",
}
COPIES = {
    "reshape",
    "concatenate",
    "slice_channels",
    "slice_channels_backward",
    "upsample2d",
    "max_pool2d",
}
UPDATES = {"sgd", "adam", "moving_average"}
SLOTS = {"sgd": ["velocity"], "adam": ["m", "v"], "moving_average": []}


@dataclass
class Call:
    """What the graph was asked for: the op and its numbers, as the reference names them."""

    op: str
    arguments: dict[str, Any] = field(default_factory=dict)


@dataclass
class Node:
    """One node of the graph: arrays of its inputs (None where absent) and of its output's shape."""

    op: str
    call: Call
    inputs: list[Array | None]
    shape: tuple[int, ...]  # of its first output
    seed: int = 0
    step: int = 1

    def given(self) -> list[Array]:
        return [x for x in self.inputs if x is not None]

    def like(self, inputs: list[Array | None]) -> Node:
        return Node(self.op, self.call, inputs, self.shape, self.seed, self.step)


def _conv(n: Node) -> Array:
    x, w, b = n.inputs[:3]
    if n.call.op == "conv2d_transpose":  # its gradient
        arguments = n.call.arguments
        return reference.conv2d_transpose_backward_data(x, w, n.shape, **arguments)
    return reference.conv2d(x, w, b, **n.call.arguments)


def _conv_weights(n: Node) -> Array:
    x, dy, _ = n.given()
    if n.call.op == "conv2d_transpose":
        backward = reference.conv2d_transpose_backward_weights
        return backward(dy, x, n.shape, **n.call.arguments)
    return reference.conv2d_backward_weights(x, dy, n.shape, **n.call.arguments)


def _conv_data(n: Node) -> Array:
    dy, w = n.given()[:2]
    return reference.conv2d_backward_data(dy, w, n.shape, **n.call.arguments)


def _flat_rows(n: Node) -> Array:
    x, dy = n.given()[:2]
    return reference.dense_backward_weights(x, dy)


def _activation(n: Node) -> Array:
    return reference.activation(n.call.arguments["kind"], n.given()[0], _alpha(n))


def _activation_backward(n: Node) -> Array:
    y, dy = n.given()
    return reference.activation_backward(n.call.arguments["kind"], y, dy, _alpha(n))


def _alpha(n: Node) -> float | None:
    alpha = n.call.arguments["alpha"]
    return None if alpha is None else float(np.float32(alpha))


def _max_pool_backward(n: Node) -> Array:
    _, dy, x = n.given()
    return reference.max_pool2d_backward(x, dy, **n.call.arguments)


def _dropped(n: Node) -> Array:
    rate, stream = n.call.arguments["rate"], n.call.arguments["stream"]
    return reference.dropout(n.given()[0], float(np.float32(rate)), n.seed, stream, n.step)


def _norm(n: Node) -> Array:
    x, gamma, beta, mean, var = n.inputs
    if beta is None:
        beta = mean = np.zeros_like(gamma)
    return reference.batch_norm_inference(x, gamma, beta, mean, var, _epsilon(n))


def _epsilon(n: Node) -> float:
    return float(np.float32(n.call.arguments["epsilon"]))


def _loss(n: Node) -> Array:
    suffix = "_backward" if n.op == "loss_backward" else ""
    logits = "_from_logits" if n.call.arguments["from_logits"] else ""
    function = getattr(reference, n.call.arguments["kind"] + logits + suffix)
    return np.asarray(function(*n.given()))


def _metric(n: Node) -> Array:
    kind, (y_true, y_pred) = n.call.arguments["kind"], n.given()
    options = {}
    if kind == "binary_accuracy":
        options["threshold"] = float(np.float32(n.call.arguments["threshold"]))
    rows = y_pred.size // y_pred.shape[-1]
    return np.asarray(getattr(reference, kind)(y_true, y_pred, **options) / rows)


def _pool(name: str, shaped: bool) -> Callable[[Node], Array]:
    function = getattr(reference, name)
    if shaped:
        return lambda n: function(n.given()[0], n.shape, **n.call.arguments)
    return lambda n: function(n.given()[0], **n.call.arguments)


# op -> its outputs, one array or several
TWINS: dict[str, Callable[[Node], Any]] = {
    "conv2d": _conv,
    "conv2d_backward_data": _conv_data,
    "conv2d_backward_weights": _conv_weights,
    "conv2d_transpose": lambda n: reference.conv2d_transpose(*n.inputs[:3], **n.call.arguments),
    "dense": lambda n: reference.dense(*n.inputs[:3]),
    "dense_backward_data": lambda n: reference.dense_backward_data(*n.given()[:2]),
    "dense_backward_weights": _flat_rows,
    "bias_backward": lambda n: reference.bias_backward(n.given()[0]),
    "max_pool2d": _pool("max_pool2d", False),
    "max_pool2d_backward": _max_pool_backward,
    "avg_pool2d": _pool("avg_pool2d", False),
    "avg_pool2d_backward": _pool("avg_pool2d_backward", True),
    "global_avg_pool2d": _pool("global_avg_pool2d", False),
    "global_avg_pool2d_backward": _pool("global_avg_pool2d_backward", True),
    "reshape": lambda n: n.given()[0].reshape(n.shape),
    "add": lambda n: reference.add(*n.given()),
    "concatenate": lambda n: reference.concatenate(n.given()),
    "slice_channels": lambda n: reference.slice_channels(n.given()[0], **n.call.arguments),
    "slice_channels_backward": _pool("slice_channels_backward", True),
    "upsample2d": lambda n: reference.upsample2d(n.given()[0], **n.call.arguments),
    "upsample2d_backward": lambda n: reference.upsample2d_backward(
        n.given()[0], **n.call.arguments
    ),
    "activation": _activation,
    "activation_backward": _activation_backward,
    "softmax": lambda n: reference.softmax(n.given()[0]),
    "softmax_backward": lambda n: reference.softmax_backward(*n.given()),
    "dropout": _dropped,
    "dropout_backward": _dropped,
    "batch_norm_training": lambda n: reference.batch_norm_training(*n.given(), _epsilon(n)),
    "batch_norm_inference": _norm,
    "batch_norm_backward": lambda n: reference.batch_norm_backward(*n.given(), _epsilon(n)),
    "loss": _loss,
    "loss_backward": _loss,
    "metric": _metric,
}
PRODUCTS = {op for op in TWINS if op.startswith(("conv2d", "dense"))}


def outputs_of(node: Node) -> list[Array]:
    """What the node computes, in float64."""
    with np.errstate(all="ignore"):
        result = TWINS[node.op](node)
    arrays = result if isinstance(result, tuple) else (result,)
    return [np.asarray(array, np.float64) for array in arrays]


# --- how exact ------------------------------------------------------------------------------------


def bounds_of(node: Node, outputs: Sequence[Array], rng: np.random.Generator) -> list[Array]:
    """The largest error of each output: of sums of products as stated, of others measured."""
    if node.op in PRODUCTS:
        magnitude = outputs_of(node.like([_absolute(x) for x in node.inputs]))[0]
        ones = [None if x is None else np.ones_like(x) for x in node.inputs]
        terms = outputs_of(node.like(ones))[0]
        return [(terms + 2) * (UNIT * magnitude + TINY)]
    if node.op in COPIES:
        return [np.abs(y) * UNIT for y in outputs]  # subnormals are zero, see finite_and_normal
    if node.op == "max_pool2d_backward":  # where it goes is exact
        arg, dy, x = node.given()
        magnitude = outputs_of(node.like([arg, np.abs(dy), x]))[0]
        return [ROUNDINGS * UNIT * magnitude]
    return _measured(node, outputs, rng)


def _absolute(x: Array | None) -> Array | None:
    return None if x is None else np.abs(x)


def _measured(node: Node, outputs: Sequence[Array], rng: np.random.Generator) -> list[Array]:
    bounds = [ROUNDINGS * (UNIT * np.abs(y) + TINY) for y in outputs]
    if node.op == "loss_backward":  # of a sure prediction it is a difference: p - t
        bounds[0] = bounds[0] + 4 * UNIT * np.abs(outputs[0]).max(initial=0)
    if node.op == "loss" and node.call.arguments["kind"] != "mean_squared_error":
        terms = _terms_of_crossentropy(node.call.arguments["kind"], *node.given())
        bounds[0] = bounds[0] + 8 * UNIT * terms
    if node.op == "batch_norm_backward":
        bounds[0] = bounds[0] + ROUNDINGS * UNIT * _terms_of_norm(*node.given(), _epsilon(node))
    for _ in range(4):
        moved = outputs_of(node.like([_moved(x, rng, UNIT) for x in node.inputs]))
        for bound, near, y in zip(bounds, moved, outputs, strict=True):
            bound += ROUNDINGS * np.abs(near - y)
    return bounds


def _terms_of_crossentropy(kind: str, t: Array, p: Array) -> float:
    """What is added up, and what a rounded q or 1 - p beside 1 costs each of them."""
    if kind == "sparse_categorical_crossentropy":
        return 1.0
    if kind == "categorical_crossentropy":
        return float(np.abs(t).sum(axis=-1).mean())
    p = np.clip(p, 1e-7, 1 - 1e-7)
    sizes = np.abs(t * np.log(p)) + np.abs(1 - t) * (np.abs(np.log(1 - p)) + 1)
    return ROUNDINGS / 8 * float(sizes.mean())


def _terms_of_norm(
    x: Array, gamma: Array, mean: Array, var: Array, dy: Array, epsilon: float
) -> Array:
    """The three terms of dx, which cancel where there are few rows."""
    rows = tuple(range(x.ndim - 1))
    r = 1 / np.sqrt(var + epsilon)
    y = np.abs(x - mean) * r
    sizes = np.abs(dy) + np.abs(dy).mean(axis=rows) + y * (np.abs(dy) * y).mean(axis=rows)
    return np.abs(gamma) * r * sizes


def _moved(x: Array | None, rng: np.random.Generator, unit: float) -> Array | None:
    if x is None or x.dtype.kind != "f":
        return x
    return x * (1 + unit * rng.choice([-1.0, 1.0], x.shape))


# --- whole numbers --------------------------------------------------------------------------------


def grain_of(node: Node, grains: Sequence[int | None], outputs: Sequence[Array]) -> int | None:
    """The grain of the first output: None where rounding may show."""
    if any(grain is None for grain in grains):
        return None
    known = [grain for grain in grains if grain is not None]
    if node.op in COPIES:
        return min(known)
    if node.op in PRODUCTS:
        grain = min(known[0] + known[1], *known[2:], 0)
        return _if_small(grain, outputs_of(node.like([_absolute(x) for x in node.inputs]))[0])
    if node.op in SUMS:
        return _if_small(min(known), outputs_of(node.like([_absolute(x) for x in node.inputs]))[0])
    if node.op == "max_pool2d_backward":
        arg, dy, x = node.given()
        return _if_small(known[1], outputs_of(node.like([arg, np.abs(dy), x]))[0])
    if node.op == "loss_backward":
        count = outputs[0].size
        if node.call.arguments["kind"] == "mean_squared_error" and count & (count - 1) == 0:
            return _if_small(min(known) + 2 - count.bit_length(), np.abs(outputs[0]))
    if node.op in ("activation", "activation_backward"):
        return _activation_grain(node, known)
    return None


def _activation_grain(node: Node, known: Sequence[int]) -> int | None:
    kind = node.call.arguments["kind"]
    if kind in ("linear", "relu", "step", "relu6"):
        return 0 if kind == "step" else known[-1]
    return None


def _if_small(grain: int, magnitude: Array) -> int | None:
    most = float(magnitude.max(initial=0))
    return grain if most < math.ldexp(1.0, 24 + grain) else None


# --- whole graphs ---------------------------------------------------------------------------------


def finite_and_normal(arrays: Sequence[Array]) -> bool:
    """Whether float32 holds all of them, and a few products of them, without its edges."""
    for array in arrays:
        size = np.abs(array[array != 0]) if array.dtype.kind == "f" else np.zeros(0)
        if not np.isfinite(size).all() or (size.size and (size.max() > 1e9 or size.min() < 1e-9)):
            return False
    return True


def evaluate(
    nodes: Mapping[int, tuple[Node, list[int | None], list[int]]],
    given: Mapping[int, Array],
    rng: np.random.Generator | None = None,
) -> dict[int, Array]:
    """Every value of a graph from its inputs and parameters; with rng, slightly wrong everywhere.

    nodes: (node without arrays, values it reads, values it makes) in order.
    """
    values = dict(given)
    for node, reads, makes in nodes.values():
        outputs = outputs_of(node.like([None if i is None else values.get(i) for i in reads]))
        for value, output in zip(makes, outputs, strict=False):
            if rng is not None:
                size = np.abs(output).max(initial=0)
                output = output + 2.0**-20 * size * rng.standard_normal(output.shape)
            values[value] = output
    return values
