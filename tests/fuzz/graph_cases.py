# SPDX-License-Identifier: Apache-2.0
"""Random forward graphs: mostly well formed, with odd shapes and arguments among them."""

from __future__ import annotations

import math
import random
from typing import Any

from twins import Call

from pycnn import _core

EXTENTS = (1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 13, 16, 17)
CHANNELS = (1, 1, 2, 3, 4, 5, 7, 8, 9, 12, 15, 16, 17, 24, 31, 33)
HUGE = (0, -1, 255, 4096, 2**16, 2**29, 2**31 - 1, 2**31, 2**32, 2**62, 2**63 - 1, -(2**63))
KINDS = _core.ops()["activation"]["attributes"]["kind"]["choices"]
WHOLE_KINDS = ("linear", "relu", "relu6", "step", "relu")
REFUSALS = (ValueError, TypeError, MemoryError, ArithmeticError, RuntimeError)

Extents = tuple[int | None, ...]


class Maker:
    """Grows one graph; remembers what it asked for, by the names of the nodes."""

    def __init__(self, rng: random.Random, whole: bool, odd: float) -> None:
        """whole: only ops that keep whole numbers; odd: the share of senseless arguments."""
        self.rng, self.whole, self.odd = rng, whole, odd
        self.graph = _core.Graph()
        self.calls: dict[str, Call] = {}
        self.calls_of_values: dict[int, Call] = {}  # where the name does not tell
        self.log: list[str] = []
        self.refused = 0
        self.inputs: dict[str, tuple[Extents, str]] = {}
        self.parameters: dict[str, tuple[int, ...]] = {}
        self.values: list[int] = []  # float32 values with a batch axis
        self.truths: dict[int, tuple[str, int]] = {}  # of losses: (kind, classes)
        self.ids: dict[str, int] = {}  # of inputs and parameters
        self.statistics: list[int] = []
        self.gradients: tuple[int, list[tuple[int, int]]] | None = None  # of a loss, by value

    # ---- calls ----

    def call(self, method: str, *values: Any, op: str = "", **arguments: Any) -> Any:
        """A method of the graph under a name of its own; None where it refuses."""
        name = f"n{len(self.calls)}"
        shown = ", ".join([*map(repr, values), *(f"{k}={v!r}" for k, v in arguments.items())])
        try:
            result = getattr(self.graph, method)(*values, **arguments, name=name)
        except REFUSALS as error:
            self.refused += 1
            self.log.append(f"{method}({shown}) -> {type(error).__name__}: {error}")
            return None
        self.log.append(f"{method}({shown}) -> {result}")
        self.calls[name] = Call(op or method, arguments)
        return result

    def keep(self, result: Any) -> int | None:
        if isinstance(result, int):
            self.values.append(result)
        return result

    def shape(self, value: int) -> Extents:
        return self.graph.shape(value)

    # ---- numbers ----

    def pick(self, choices: Any) -> Any:
        return self.rng.choice(choices)

    def maybe_odd(self, value: int) -> int:
        return self.pick(HUGE) if self.rng.random() < self.odd / 8 else value

    def pair(self, choices: Any) -> tuple[int, int]:
        first = self.pick(choices)
        second = first if self.rng.random() < 0.6 else self.pick(choices)
        return self.maybe_odd(first), self.maybe_odd(second)

    def padding(self, window: tuple[int, int], dilation: tuple[int, int]) -> Any:
        if self.rng.random() < 0.6:
            return self.pick(("valid", "same"))
        reach = [min(max((w - 1) * d, 0), 40) for w, d in zip(window, dilation, strict=True)]
        pads = [self.rng.randint(0, reach[i // 2] + (self.rng.random() < 0.1)) for i in range(4)]
        return tuple(self.maybe_odd(pad) for pad in pads)

    # ---- leaves ----

    def input(self, shape: Extents, dtype: str = "float32") -> int | None:
        name = f"x{len(self.inputs)}"
        try:
            value = self.graph.input(name, shape, dtype)
        except REFUSALS as error:
            self.log.append(f"input({name!r}, {shape}) -> {type(error).__name__}: {error}")
            self.refused += 1
            return None
        self.log.append(f"input({name!r}, {shape}, {dtype!r}) -> {value}")
        self.inputs[name], self.ids[name] = (shape, dtype), value
        if dtype == "float32":
            self.values.append(value)
        return value

    def parameter(self, *shape: int) -> int | None:
        """A new one, or one of that shape that others use too."""
        known = [name for name, other in self.parameters.items() if other == shape]
        if known and self.rng.random() < 0.3:
            return self.ids[self.pick(known)]
        name = f"p{len(self.parameters)}"
        try:
            value = self.graph.parameter(name, shape, self.rng.random() < 0.9)
        except REFUSALS as error:
            self.log.append(f"parameter({name!r}, {shape}) -> {type(error).__name__}: {error}")
            self.refused += 1
            return None
        self.log.append(f"parameter({name!r}, {shape}) -> {value}")
        self.parameters[name], self.ids[name] = shape, value
        return value

    def extents(self, rank: int) -> Extents:
        inner = [self.maybe_odd(self.pick(EXTENTS)) for _ in range(rank - 2)]
        return (None, *inner, self.maybe_odd(self.pick(CHANNELS)))

    def images(self) -> int | None:
        """A value of rank 4."""
        return self.of_rank(4)

    def of_rank(self, *ranks: int) -> int | None:
        fitting = [v for v in self.values if len(self.shape(v)) in ranks]
        if fitting and self.rng.random() < 0.9:
            late = fitting[-4:] if self.rng.random() < 0.7 else fitting
            return self.pick(late)
        return self.input(self.extents(self.pick(ranks)))

    def any_value(self) -> int:
        if self.rng.random() < self.odd:
            return self.rng.randint(-1, 40)
        return self.of_rank(2, 3, 4) or 0

    # ---- growing ----

    def grow(self, steps: int) -> None:
        makers = [
            (conv, 6),
            (transposed, 3),
            (dense, 3),
            (pool, 4),
            (joined, 4),
            (activated, 4),
            (channels, 3),
            (enlarged, 2),
            (reshaped, 1),
            (backward_alone, 2),
        ]
        if not self.whole:
            makers += [(normalized, 4), (averaged, 3), (noisy, 3)]
        functions, weights = zip(*makers, strict=True)
        for _ in range(steps):
            self.rng.choices(functions, weights)[0](self)


def conv_arguments(m: Maker, window: tuple[int, int], groups: bool) -> dict[str, Any]:
    dilation = m.pair((1, 1, 1, 2, 3))
    arguments = {
        "strides": m.pair((1, 1, 1, 2, 2, 3, 5)),
        "padding": m.padding(window, dilation),
        "dilation": dilation,
    }
    return {**arguments, "groups": 1} if groups else arguments


def conv(m: Maker) -> None:
    x = m.images()
    if x is None:
        return
    C = m.shape(x)[3] or 1
    window = m.pair((1, 1, 2, 3, 3, 5))
    arguments = conv_arguments(m, window, groups=True)
    divisors = [g for g in (1, 2, 3, 4, 5, C) if C % g == 0]
    G = m.pick(divisors) if m.rng.random() < 0.4 else 1
    K = C if G == C and m.rng.random() < 0.7 else G * m.pick((1, 2, 3, 5, 8, 9, 17))
    arguments["groups"] = m.maybe_odd(G)
    w = m.parameter(*window, C // G, m.maybe_odd(K))
    if w is None:
        return
    bias = m.parameter(K) if m.rng.random() < 0.5 else None
    m.keep(m.call("conv2d", x, w, bias, **arguments))


def transposed(m: Maker) -> None:
    x = m.images()
    if x is None:
        return
    window = m.pair((1, 2, 2, 3, 4, 5))
    arguments = conv_arguments(m, window, groups=False)
    arguments["output_padding"] = None
    if m.rng.random() < 0.3:
        most = [max(s - 1, 0) for s in arguments["strides"]]
        arguments["output_padding"] = tuple(m.rng.randint(0, min(s, 8)) for s in most)
    K = m.pick((1, 2, 3, 5, 8, 17))
    w = m.parameter(*window, K, m.shape(x)[3] or 1)
    if w is None:
        return
    bias = m.parameter(K) if m.rng.random() < 0.5 else None
    m.keep(m.call("conv2d_transpose", x, w, bias, **arguments))


def dense(m: Maker) -> None:
    x = m.any_value()
    try:
        C = m.shape(x)[-1] or 1
    except ValueError:
        return
    K = m.pick(CHANNELS)
    w = m.parameter(m.maybe_odd(C), K)
    if w is not None:
        bias = m.parameter(K) if m.rng.random() < 0.5 else None
        m.keep(m.call("dense", x, w, bias))


def pool(m: Maker) -> None:
    x = m.images()
    if x is None:
        return
    window = m.pair((1, 2, 2, 3, 5))
    strides = window if m.rng.random() < 0.5 else m.pair((1, 2, 3, 4))
    padding = m.padding(window, (1, 1))
    kind = "max_pool2d" if m.whole or m.rng.random() < 0.6 else "avg_pool2d"
    m.keep(m.call(kind, x, pool_size=window, strides=strides, padding=padding))


def joined(m: Maker) -> None:
    a = m.any_value()
    try:
        shape = m.shape(a)
    except ValueError:
        return
    same = [v for v in m.values if m.shape(v) == shape]
    if m.rng.random() < 0.5:
        m.keep(m.call("add", a, m.pick(same or [a])))
        return
    rows = [v for v in m.values if m.shape(v)[:-1] == shape[:-1]]
    m.keep(m.call("concatenate", [a, *(m.pick(rows or [a]) for _ in range(m.rng.randint(1, 3)))]))


def activated(m: Maker) -> None:
    kind = m.pick(WHOLE_KINDS if m.whole else KINDS)
    alpha = None
    if kind in ("leaky_relu", "elu") and m.rng.random() < 0.5:
        alpha = m.pick((0.0, 0.25, 0.3, 1.0, 2.0))
    m.keep(m.call("activation", m.any_value(), kind=kind, alpha=alpha))


def channels(m: Maker) -> None:
    x = m.any_value()
    try:
        C = m.shape(x)[-1] or 1
    except ValueError:
        return
    first = m.rng.randint(0, C - 1)
    count = m.maybe_odd(m.rng.randint(1, C - first))
    m.keep(m.call("slice_channels", x, first=m.maybe_odd(first), count=count))


def enlarged(m: Maker) -> None:
    x = m.images()
    if x is not None:
        m.keep(m.call("upsample2d", x, size=m.pair((1, 2, 2, 3))))


def reshaped(m: Maker) -> None:
    x = m.any_value()
    if m.rng.random() < 0.5:
        m.keep(m.call("flatten", x, op="reshape"))
        return
    try:
        count = math.prod(m.shape(x)[1:])
    except ValueError:
        return
    divisors = [d for d in (1, 2, 3, 4, 6, 8) if count % d == 0]
    first = m.pick(divisors)
    m.keep(m.call("reshape", x, shape=(None, m.maybe_odd(first), count // first)))


def normalized(m: Maker) -> None:
    x = m.any_value()
    try:
        C = m.shape(x)[-1] or 1
    except ValueError:
        return
    vectors = [m.parameter(C) for _ in range(4)]
    if None in vectors:
        return
    if m.rng.random() < 0.5:
        m.keep(m.call("batch_norm_inference", x, *vectors, epsilon=1e-2))
        return
    result = m.call("batch_norm_training", x, *vectors[:2], epsilon=1e-2)
    if result is not None:
        m.values.append(result[0])
        m.statistics += result[1:]


def averaged(m: Maker) -> None:
    x = m.images()
    if x is not None:
        m.keep(m.call("global_avg_pool2d", x))


def noisy(m: Maker) -> None:
    if m.rng.random() < 0.5:
        rate = m.pick((0.0, 0.1, 0.5, 0.9, 1.0 if m.rng.random() < m.odd else 0.3))
        m.keep(m.call("dropout", m.any_value(), rate=rate, stream=m.rng.randint(0, 5)))
    else:
        m.keep(m.call("softmax", m.any_value()))


def backward_alone(m: Maker) -> None:
    """The backward ops of products, which are ops of the graph too."""
    x = m.images()
    if x is None:
        return
    if m.rng.random() < 0.3:
        m.call("bias_backward", x)
        return
    window = m.pair((1, 2, 3))
    arguments = conv_arguments(m, window, groups=True)
    C = m.shape(x)[3] or 1
    w = m.parameter(*window, C, m.pick(CHANNELS))
    y = None if w is None else m.call("conv2d", x, w, None, **arguments)
    if y is None:
        return
    dy = m.input(m.shape(y))
    if m.rng.random() < 0.5:
        m.call("conv2d_backward_weights", x, dy, w, **arguments)
    else:
        m.keep(m.call("conv2d_backward_data", dy, w, x, **arguments))
