# SPDX-License-Identifier: Apache-2.0
"""The functions of pycnn.ops, arguments for them, and what NumPy makes of these."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

RNG = np.random.default_rng(0)
X = RNG.standard_normal((3, 4, 5)).astype(np.float32)
Y = RNG.standard_normal((3, 4, 5)).astype(np.float32)
P = np.abs(X) + 0.25  # above 0
U = np.clip(X / 4, -0.9, 0.9)  # within -1..1
W = RNG.integers(-9, 10, (3, 4, 5)).astype(np.int32)
B = X > 0
erf = np.vectorize(math.erf)


def sigmoid(x):
    return 1 / (1 + np.exp(-np.float64(x)))


def softmax(x, axis=-1):
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


# (function, arguments, what NumPy makes of them)
Row = tuple[str, tuple[Any, ...], Callable[..., Any]]
UNARY = "absolute negative sign square exp exp2 expm1 sin cos tan arctan sinh cosh tanh arcsinh"
UNARY += " floor ceil trunc isfinite isinf isnan logical_not"
ROWS: list[Row] = [
    *((name, (X,), getattr(np, name)) for name in UNARY.split()),
    *((name, (P,), getattr(np, name)) for name in "sqrt log log2 log10 log1p reciprocal".split()),
    *((name, (U,), getattr(np, name)) for name in "arcsin arccos arctanh".split()),
    *(
        (name, (X, Y), getattr(np, name))
        for name in "add subtract multiply maximum minimum arctan2 hypot logaddexp divide mod "
        "equal not_equal less less_equal greater greater_equal floor_divide".split()
    ),
    *((name, (B, X > 0.5), getattr(np, name)) for name in "logical_and logical_or".split()),
    ("logical_xor", (B, X > 0.5), np.logical_xor),
    ("arccosh", (P + 1,), np.arccosh),
    ("rsqrt", (P,), lambda x: 1 / np.sqrt(x)),
    ("erf", (X,), erf),
    ("power", (P, Y), np.power),
    ("power", (X, 2), np.power),
    ("divide_no_nan", (X, np.where(B, X, 0)), lambda x, y: np.where(y == 0, 0, x / (y + (y == 0)))),
    ("where", (B, X, Y), np.where),
    ("where", (B, X, 0.5), np.where),
    ("clip", (X, -0.5, 0.25), np.clip),
    ("round", (X, 2), np.round),
    ("round", (4 * X,), np.round),
    *(
        (name, (W, np.abs(W[::-1]) + 1), getattr(np, name))
        for name in "add multiply maximum mod".split()
    ),
    ("absolute", (W,), np.absolute),
    # over axes
    *(
        (name, (X, axis, keep), lambda x, a, k, f=name: getattr(np, f)(x, axis=a, keepdims=k))
        for name in ("sum", "mean", "max", "min", "var", "std", "any", "all")
        for axis, keep in ((None, False), (1, True), ((0, 2), False), (-1, False))
    ),
    ("sum", (W, 1), lambda x, a: x.sum(a, dtype=np.int32)),
    ("argmax", (X, 1), np.argmax),
    ("argmin", (X, -1, True), lambda x, a, k: np.argmin(x, a, keepdims=k)),
    ("argmax", (X,), np.argmax),
    ("count_nonzero", (np.maximum(X, 0), 1), np.count_nonzero),
    ("average", (X, 1, P), lambda x, a, w: np.average(x, a, w)),
    ("average", (X, 1, P[0, :, :1]), lambda x, a, w: (x * w).sum(a) / (w + 0 * x).sum(a)),
    ("logsumexp", (X, (0, 2)), lambda x, a: np.log(np.exp(x).sum(a))),
    ("norm", (X, None, -1), lambda x, o, a: np.linalg.norm(x, axis=a)),
    ("norm", (X, 1, -1), lambda x, o, a: np.abs(x).sum(a)),
    ("norm", (X, math.inf, 1), lambda x, o, a: np.abs(x).max(a)),
    ("cumsum", (X, 1), np.cumsum),
    ("cumsum", (W, 2), np.cumsum),
    # that move elements
    ("reshape", (X, (3, -1)), np.reshape),
    ("reshape", (W, (3, 2, 10)), np.reshape),
    ("transpose", (X, (0, 2, 1)), np.transpose),
    ("swapaxes", (X, 1, 2), np.swapaxes),
    ("moveaxis", (X, 1, 2), np.moveaxis),
    ("expand_dims", (X, -1), np.expand_dims),
    ("expand_dims", (X, (1, 3)), np.expand_dims),
    ("squeeze", (X[:, :1], 1), np.squeeze),
    ("squeeze", (X[:, :1],), np.squeeze),
    ("concatenate", ([X, Y], -1), np.concatenate),
    ("concatenate", ([W, W], 1), np.concatenate),
    ("stack", ([X, Y], 1), np.stack),
    ("flip", (X, 1), np.flip),
    ("flip", (W, (1, 2)), np.flip),
    ("pad", (X, ((0, 0), (1, 2), (3, 0))), np.pad),
    ("pad", (X, ((0, 0), (1, 2), (3, 0)), "reflect"), np.pad),
    ("pad", (X, ((0, 0), (1, 2), (3, 0)), "constant", 2.0), None),
    ("take", (X, [2, 0, -1], 1), np.take),
    ("repeat", (X, 3, 1), np.repeat),
    ("tile", (X, (1, 2, 3)), np.tile),
    ("roll", (X, 2, 1), lambda x, s, a: np.roll(x, s, a)),
    ("broadcast_to", (X[:, :1], (3, 4, 5)), np.broadcast_to),
    ("slice", (X, (0, 1, 2), (3, 2, 3)), lambda x, s, n: x[:, 1:3, 2:5]),
    ("get_item", (X, (slice(None), 1, slice(None, None, -2))), lambda x, k: x[k]),
    ("get_item", (X, (..., None, 2)), lambda x, k: x[k]),
    ("get_item", (W, (slice(None), slice(1, 3))), lambda x, k: x[k]),
    ("one_hot", (W[:, :, 0] % 4, 4), lambda x, n: np.eye(n)[x]),
    ("one_hot", (W[:, :, 0], 4, 1), lambda x, n, a: (x[:, None] == np.arange(4)[:, None]) * 1.0),
    ("cast", (X * 9, "int32"), lambda x, d: x.astype(d)),
    ("cast", (X, "bool"), lambda x, d: x.astype(d)),
    ("full_like", (X, 0.5), np.full_like),
    ("zeros_like", (X,), np.zeros_like),
    ("ones_like", (W,), np.ones_like),
    ("stop_gradient", (X,), lambda x: x),
    ("multi_hot", (W[:, :, 0] % 4, 4), lambda x, n: np.eye(n)[x].max(-2)),
    # products
    ("matmul", (X, np.swapaxes(Y, 1, 2)), np.matmul),
    ("matmul", (X, Y[0].T), np.matmul),
    ("matmul", (X[0], Y[0].T), np.matmul),
    ("matmul", (X, Y[0, 0]), np.matmul),
    ("matmul", (Y[0, 0], np.swapaxes(X, 1, 2)), np.matmul),
    ("dot", (X, Y[0].T), np.dot),
    ("dot", (X[0, 0], Y[0, 0]), np.dot),
    # of networks
    ("relu", (X,), lambda x: np.maximum(x, 0)),
    ("relu6", (9 * X,), lambda x: np.clip(x, 0, 6)),
    ("sigmoid", (X,), sigmoid),
    ("leaky_relu", (X, 0.3), lambda x, a: np.where(x > 0, x, a * x)),
    ("elu", (X,), lambda x: np.where(x > 0, x, np.expm1(x))),
    ("celu", (X, 0.5), lambda x, a: np.where(x > 0, x, a * np.expm1(x / a))),
    ("selu", (X,), lambda x: 1.05070098 * np.where(x > 0, x, 1.67326324 * np.expm1(x))),
    ("silu", (X,), lambda x: x * sigmoid(x)),
    ("gelu", (X, False), lambda x, a: x * 0.5 * (1 + erf(x / np.sqrt(2)))),
    (
        "gelu",
        (X,),
        lambda x: x * 0.5 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
    ),
    ("mish", (X,), lambda x: x * np.tanh(np.log1p(np.exp(x)))),
    ("softplus", (X,), lambda x: np.log1p(np.exp(x))),
    ("softsign", (X,), lambda x: x / (1 + np.abs(x))),
    ("log_sigmoid", (X,), lambda x: np.log(sigmoid(x))),
    ("hard_sigmoid", (3 * X,), lambda x: np.clip(x / 6 + 0.5, 0, 1)),
    ("hard_silu", (3 * X,), lambda x: x * np.clip(x / 6 + 0.5, 0, 1)),
    ("hard_tanh", (X,), lambda x: np.clip(x, -1, 1)),
    ("soft_shrink", (X,), lambda x: np.sign(x) * np.maximum(np.abs(x) - 0.5, 0)),
    ("tanh_shrink", (X,), lambda x: x - np.tanh(x)),
    ("squareplus", (X,), lambda x: (x + np.sqrt(x * x + 4)) / 2),
    ("threshold", (X, 0.25, -2.0), lambda x, t, d: np.where(x > t, x, d)),
    ("glu", (X[..., :4],), lambda x: x[..., :2] * sigmoid(x[..., 2:])),
    ("softmax", (X,), softmax),
    ("softmax", (X, 1), softmax),
    ("log_softmax", (X,), lambda x: np.log(softmax(x))),
    ("normalize", (X,), lambda x: x / np.linalg.norm(x, axis=-1, keepdims=True)),
    ("normalize", (X, 1, 1), lambda x, a, o: x / np.abs(x).sum(1, keepdims=True)),
    (
        "binary_crossentropy",
        (B * 1.0, sigmoid(X).astype("f4")),
        lambda t, p: -(t * np.log(p) + (1 - t) * np.log(1 - p)),
    ),
    ("binary_crossentropy", (B * 1.0, X, True), lambda t, z, f: np.log1p(np.exp(z)) - z * t),
    (
        "categorical_crossentropy",
        (softmax(Y), softmax(X)),
        lambda t, p: -(t * np.log(p)).sum(-1),
    ),
    (
        "categorical_crossentropy",
        (softmax(Y), X, True),
        lambda t, z, f: -(t * np.log(softmax(z))).sum(-1),
    ),
    (
        "sparse_categorical_crossentropy",
        (np.abs(W[:, :, 0]) % 5, X, True),
        lambda t, z, f: -np.log(np.take_along_axis(softmax(z), t[..., None], -1)[..., 0]),
    ),
]
