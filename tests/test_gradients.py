# SPDX-License-Identifier: Apache-2.0
"""Graph.gradients of whole networks: values used twice, every layer, against float64 NumPy.

The expected gradients are central differences of the same network composed of reference ops, so
they know nothing of the engine's rules.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from engine import Array, Net, Setting, rounded, run
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import random_array, seeds

from pycnn import _core, reference

EPSILON = float(np.float32(1e-3))
KEY = {"seed": 3, "step": 2}


@dataclass
class Pair:
    """A value in both worlds: its id in the graph, and its float64 array."""

    id: int
    array: Array


@dataclass
class Worlds:
    """Builds the same network as a graph and as NumPy arrays; parameters come from `values`."""

    values: dict[str, Array]
    graph: _core.Graph = field(default_factory=_core.Graph)
    ids: dict[str, int] = field(default_factory=dict)
    dropouts: int = 0

    def parameter(self, name: str, shape: tuple[int, ...], scale: float = 1.0) -> Pair:
        if name not in self.values:
            self.values[name] = rounded(scale * random_array(shape, len(self.values), 7))
        if name not in self.ids:
            self.ids[name] = self.graph.parameter(name, self.values[name].shape)
        return Pair(self.ids[name], self.values[name])

    def conv(self, x: Pair, name: str, K: int, size: int = 3, **options: Any) -> Pair:
        groups = options.get("groups", 1)
        C = x.array.shape[3] // groups
        w = self.parameter(name, (size, size, C, K), 1 / np.sqrt(size * size * C))
        b = self.parameter(name + ".b", (K,), 0.3)
        options = {"padding": "same", **options}
        y = reference.conv2d(x.array, w.array, b.array, **options)
        return Pair(self.graph.conv2d(x.id, w.id, b.id, **options, name=name), y)

    def conv_transpose(self, x: Pair, name: str, K: int, size: int = 2, **options: Any) -> Pair:
        C = x.array.shape[3]
        w = self.parameter(name, (size, size, K, C), 1 / np.sqrt(size * size * C))
        b = self.parameter(name + ".b", (K,), 0.3)
        y = reference.conv2d_transpose(x.array, w.array, b.array, **options)
        return Pair(self.graph.conv2d_transpose(x.id, w.id, b.id, **options, name=name), y)

    def concatenate(self, pairs: list[Pair]) -> Pair:
        y = reference.concatenate([pair.array for pair in pairs])
        return Pair(self.graph.concatenate([pair.id for pair in pairs]), y)

    def upsample(self, x: Pair, size: tuple[int, int]) -> Pair:
        return Pair(self.graph.upsample2d(x.id, size=size), reference.upsample2d(x.array, size))

    def slice(self, x: Pair, first: int, count: int) -> Pair:
        y = reference.slice_channels(x.array, first, count)
        return Pair(self.graph.slice_channels(x.id, first=first, count=count), y)

    def dense(self, x: Pair, name: str, K: int) -> Pair:
        C = x.array.shape[-1]
        w, b = self.parameter(name, (C, K), 1 / np.sqrt(C)), self.parameter(name + ".b", (K,), 0.3)
        y = reference.dense(x.array, w.array, b.array)
        return Pair(self.graph.dense(x.id, w.id, b.id, name=name), y)

    def activation(self, x: Pair, kind: str) -> Pair:
        y = reference.activation(kind, x.array, 0.25 if kind in ("leaky_relu", "elu") else None)
        alpha = 0.25 if kind in ("leaky_relu", "elu") else None
        return Pair(self.graph.activation(x.id, kind, alpha=alpha), y)

    def add(self, a: Pair, b: Pair) -> Pair:
        return Pair(self.graph.add(a.id, b.id), reference.add(a.array, b.array))

    def batch_norm(self, x: Pair, name: str, frozen: bool = False) -> Pair:
        C = x.array.shape[-1:]
        gamma, beta = self.parameter(name + ".gamma", C), self.parameter(name + ".beta", C)
        if frozen:
            mean = self.parameter(name + ".mean", C)
            self.values.setdefault(name + ".var", np.linspace(0.5, 2, C[0], dtype=np.float32))
            var = self.parameter(name + ".var", C)
            pairs = (x, gamma, beta, mean, var)
            y = reference.batch_norm_inference(*(pair.array for pair in pairs), EPSILON)
            ids = (pair.id for pair in pairs)
            return Pair(self.graph.batch_norm_inference(*ids, epsilon=EPSILON, name=name), y)
        y = reference.batch_norm_training(x.array, gamma.array, beta.array, EPSILON)[0]
        ids = self.graph.batch_norm_training(x.id, gamma.id, beta.id, epsilon=EPSILON, name=name)
        return Pair(ids[0], y)

    def pool(self, x: Pair, kind: str, size: int, stride: int, padding: Any = "valid") -> Pair:
        options = {"pool_size": (size, size), "strides": (stride, stride), "padding": padding}
        y = getattr(reference, kind)(x.array, **options)
        return Pair(getattr(self.graph, kind)(x.id, **options), y)

    def global_pool(self, x: Pair) -> Pair:
        return Pair(self.graph.global_avg_pool2d(x.id), reference.global_avg_pool2d(x.array))

    def flatten(self, x: Pair) -> Pair:
        return Pair(self.graph.flatten(x.id), reference.reshape(x.array))

    def softmax(self, x: Pair) -> Pair:
        return Pair(self.graph.softmax(x.id), reference.softmax(x.array))

    def dropout(self, x: Pair, rate: float) -> Pair:
        stream, self.dropouts = self.dropouts, self.dropouts + 1
        y = reference.dropout(x.array, rate, stream=stream, **KEY)
        return Pair(self.graph.dropout(x.id, rate=rate, stream=stream), y)


Network = Callable[[Worlds, Pair], Pair]


def plain(w: Worlds, x: Pair) -> Pair:
    h = w.activation(w.conv(x, "c1", 5), "relu")
    h = w.pool(h, "max_pool2d", 2, 2)
    return w.softmax(w.dense(w.flatten(h), "d1", 3))


def residual(w: Worlds, x: Pair) -> Pair:
    """The skip connection is used three times, and its kernel twice."""
    h = w.activation(w.conv(x, "c0", 4), "tanh")
    a = w.conv(w.activation(w.conv(h, "c1", 4), "relu6"), "c2", 4)
    h = w.activation(w.add(a, h), "relu")
    h = w.add(h, w.conv(h, "c1", 4))
    return w.dense(w.global_pool(w.add(h, h)), "d1", 3)


def normalized(w: Worlds, x: Pair) -> Pair:
    h = w.activation(w.batch_norm(w.conv(x, "c1", 6, strides=(2, 2)), "bn1"), "elu")
    h = w.pool(h, "avg_pool2d", 3, 1, "same")
    return w.dense(w.flatten(w.batch_norm(h, "bn2")), "d1", 3)


def frozen(w: Worlds, x: Pair) -> Pair:
    """Fine-tuning: the normalisation runs on stored statistics, its scale and shift still learn."""
    h = w.activation(w.batch_norm(w.conv(x, "c1", 6), "bn1", frozen=True), "sigmoid")
    h = w.batch_norm(w.conv(h, "c2", 9, groups=3), "bn2", frozen=True)
    return w.dense(w.flatten(w.pool(h, "max_pool2d", 3, 2, "same")), "d1", 3)


def dropped(w: Worlds, x: Pair) -> Pair:
    h = w.dropout(w.activation(w.conv(x, "c1", 5, dilation=(2, 1)), "leaky_relu"), 0.25)
    h = w.dropout(w.activation(w.dense(w.flatten(h), "d1", 9), "relu"), 0.5)
    return w.dense(h, "d2", 3)


def attention(w: Worlds, x: Pair) -> Pair:
    """Softmax in the middle, dense over the last of several axes, one value into two layers."""
    s = w.softmax(w.dense(x, "d0", 4))
    h = w.add(w.dense(s, "d1", 5), w.dense(x, "d2", 5))
    return w.dense(w.flatten(h), "d3", 3)


def multibranch(w: Worlds, x: Pair) -> Pair:
    a = w.pool(x, "max_pool2d", 3, 1, (1, 1, 1, 1))
    b = w.pool(x, "avg_pool2d", 3, 1, "same")
    h = w.add(w.conv(a, "c1", 4, size=1), w.conv(b, "c2", 4, size=1))
    h = w.add(h, w.add(w.conv(x, "c3", 4, padding=(2, 0, 1, 1)), w.conv(x, "c4", 4, size=5)))
    return w.dense(w.global_pool(w.activation(h, "relu")), "d1", 3)


def hourglass(w: Worlds, x: Pair) -> Pair:
    """Down, up again, and the skip connections of a U-Net; some channels of one."""
    h = w.activation(w.conv(x, "c1", 5), "relu")
    low = w.activation(w.conv(w.pool(h, "max_pool2d", 2, 2, "same"), "c2", 4), "tanh")
    low = w.add(low, w.upsample(w.pool(low, "avg_pool2d", 3, 3), (3, 3)))
    up = w.conv_transpose(low, "t1", 3, strides=(2, 2), padding=(0, 0, 1, 0))
    h = w.concatenate([up, h, w.slice(h, 1, 3)])
    h = w.activation(w.conv_transpose(h, "t2", 3, size=3, padding="same"), "relu")
    return w.dense(w.global_pool(h), "d1", 3)


NETWORKS = (plain, residual, normalized, frozen, dropped, attention, multibranch, hourglass)
LOSSES = (
    ("mean_squared_error", False),
    ("binary_crossentropy", True),
    ("categorical_crossentropy", True),
    ("sparse_categorical_crossentropy", True),
)
SHAPE = (3, 6, 5, 3)


def target(kind: str, seed: int) -> Array:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, SHAPE[0])
    return labels.astype(np.int32) if kind.startswith("sparse") else np.eye(3)[labels]


def numpy_loss(
    network: Network, kind: str, logits: bool, values: dict[str, Array], x: Array, t: Array
) -> float:
    worlds = Worlds(values)
    y = network(worlds, Pair(worlds.graph.input("x", (None, *x.shape[1:])), x))
    return float(getattr(reference, kind + ("_from_logits" if logits else ""))(t, y.array))


@dataclass
class Case:
    """A network with its arrays, and the engine's loss and gradients."""

    values: dict[str, Array]
    x: Array
    t: Array
    loss: float
    gradients: dict[str, Array]


def differentiate(network: Network, kind: str, logits: bool, seed: int, setting: Setting) -> Case:
    x, t = rounded(random_array(SHAPE, seed)), target(kind, seed)
    worlds = Worlds({})
    input_id = worlds.graph.input("x", (None, *SHAPE[1:]))
    y = network(worlds, Pair(input_id, x))
    dtype, shape = ("int32", (None,)) if kind.startswith("sparse") else ("float32", (None, 3))
    t_id = worlds.graph.input("t", shape, dtype)
    loss = worlds.graph.loss(kind, t_id, y.id, from_logits=logits)
    names = [name for name in worlds.values if not name.endswith((".mean", ".var"))]
    ids = worlds.graph.gradients(loss, [input_id, *(worlds.ids[name] for name in names)])
    worlds.graph.mark_output(loss)
    for value in ids:
        assert value is not None
        worlds.graph.mark_output(value)
    parameters = _core.Parameters(worlds.graph, setting.isa, setting.memory)
    for name, array in worlds.values.items():
        parameters.set(name, array.astype(np.float32))
    plan = _core.Plan(worlds.graph, parameters, len(x), setting.memory)
    (value,) = plan.run([x.astype(np.float32), t.astype(dtype)], **KEY)
    arrays = [plan.output(i + 1) for i in range(len(ids))]
    return Case(worlds.values, x, t, value, dict(zip(["x", *names], arrays, strict=True)))


def slopes(f: Callable[[], float], array: Array, direction: Array) -> list[float]:
    """Central differences along a direction, at two step sizes: kinks make them disagree."""
    original, results = array.copy(), []
    for step in (1e-6, 3e-7):
        sides = []
        for sign in (1, -1):
            array[...] = original + sign * step * direction
            sides.append(f())
        results.append((sides[0] - sides[1]) / (2 * step))
    array[...] = original
    return results


def check(network: Network, kind: str, logits: bool, seed: int, setting: Setting) -> None:
    case = differentiate(network, kind, logits, seed, setting)
    values = {name: array.astype(np.float64) for name, array in case.values.items()}

    def f() -> float:
        return numpy_loss(network, kind, logits, values, case.x, case.t)

    assert case.loss == pytest.approx(f(), rel=2e-5, abs=2e-6)
    rng, compared = np.random.default_rng(seed), 0
    for name, gradient in case.gradients.items():
        array = case.x if name == "x" else values[name]
        direction = rng.choice([-1.0, 1.0], array.shape)
        coarse, fine = slopes(f, array, direction)
        if abs(coarse - fine) > 1e-5 * (1 + abs(fine)):
            continue  # a maximum or a relu changed sides in between
        compared += 1
        size = float(np.abs(gradient).sum())  # terms of both signs are added
        bound = 3e-5 * size + 2e-5
        assert abs(np.vdot(gradient, direction) - fine) <= bound, name
    assert compared > len(case.gradients) // 2


@pytest.mark.parametrize("network", NETWORKS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("kind, logits", LOSSES)
def test_gradients(network, kind, logits, isa):
    for seed in (1, 2):
        check(network, kind, logits, seed, Setting(isa))


@pytest.mark.parametrize("kind", ["categorical_crossentropy", "binary_crossentropy"])
def test_gradients_through_probabilities(kind, isa):
    check(plain, kind, False, 1, Setting(isa))


@given(st.sampled_from(NETWORKS), st.sampled_from(LOSSES), seeds)
@settings(max_examples=20)
def test_guarded_memory_and_threads_change_no_bit(isa, network, loss, seed):
    """Buffers that share memory in the arena hold the same values as buffers of their own."""
    expected = differentiate(network, *loss, seed, Setting(isa))
    for memory in ("guard_end", "guard_begin"):
        case = differentiate(network, *loss, seed, Setting(isa, memory))
        assert case.loss == expected.loss
        for name, gradient in case.gradients.items():
            np.testing.assert_array_equal(gradient, expected.gradients[name], err_msg=name)


def test_what_the_loss_does_not_see_has_no_gradient():
    graph = _core.Graph()
    x, unused = graph.input("x", (None, 3)), graph.parameter("unused", (3, 2))
    w = graph.parameter("w", (3, 3))
    graph.dense(x, unused)
    loss = graph.loss("mean_squared_error", x, graph.dense(x, w))
    dw, none = graph.gradients(loss, [w, unused])
    assert dw is not None and none is None
    with pytest.raises(ValueError, match="gradient: expected a loss, a value of shape"):
        graph.gradients(w, [x])


def test_labels_are_constants(isa):
    """y_true may be computed from the input: no gradient flows through it."""

    def build(graph: _core.Graph, v: dict[str, int]) -> list[int]:
        t = graph.dense(v["x"], v["w"])
        loss = graph.loss("mean_squared_error", t, graph.dense(v["x"], v["u"]))
        dw, du = graph.gradients(loss, [v["w"], v["u"]])
        assert dw is None and du is not None
        return [du]

    x, w, u = np.array([[1.0, 2.0]]), np.ones((2, 1)), np.array([[1.0], [2.0]])
    (du,) = run(build, {"x": x}, {"w": w, "u": u}, Setting(isa))
    np.testing.assert_array_equal(du, [[4.0], [8.0]])  # 2 * (5 - 3) * x


def test_two_losses_share_a_network(isa):
    """Gradients of two losses, one after the other, do not mix."""
    x, t = random_array((4, 5), 1), random_array((4, 3), 2)

    def build(graph: _core.Graph, v: dict[str, int]) -> list[int]:
        y = graph.activation(graph.dense(v["x"], v["w"]), "relu")
        losses = [graph.loss("mean_squared_error", v[name], y) for name in ("t", "s")]
        return [g for loss in losses for g in graph.gradients(loss, [v["w"]]) if g is not None]

    inputs = {"x": x, "t": t, "s": 2 * t}
    net = Net(build, inputs, {"w": random_array((5, 3), 3)}, Setting(isa))
    both = net.run()
    w = net.parameters.get("w").astype(np.float64)
    x = rounded(x)
    y = reference.activation("relu", reference.dense(x, w))
    for got, target_array in zip(both, (rounded(t), rounded(2 * t)), strict=True):
        dy = reference.mean_squared_error_backward(target_array, y)
        dw = reference.dense_backward_weights(x, reference.activation_backward("relu", y, dy))
        np.testing.assert_allclose(got, dw, rtol=1e-5, atol=1e-6)
