# SPDX-License-Identifier: Apache-2.0
"""Sizes, strides, dilations and pads up to 2^31 - 1: right, cheap where the result is small, or
refused with a name; findings 2 and 5."""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import product

import numpy as np
import pytest
from engine import GUARDS, Array, Check, Net, Setting, assert_equal, assert_guarded, threads
from hypothesis import given
from hypothesis import strategies as st
from strategies import seeds, small_integers

import pycnn
from pycnn import _core
from pycnn import layers as L
from pycnn.errors import ShapeError

MOST = 2**31 - 1
EXTREMES = (1, 2, 3, 4, 7, 1000, 65537, 2**29, 2**30 - 1, MOST - 1, MOST)


@dataclass(frozen=True)
class Axis:
    """`size` pixels, `outputs` windows of `taps` pixels."""

    size: int
    outputs: int
    taps: int
    stride: int = 1
    dilation: int = 1
    before: int = 0
    after: int = 0

    def pairs(self) -> list[tuple[int, int, int]]:
        """(output, tap, pixel) for what lies inside the image."""
        found = []
        for o, t in product(range(self.outputs), range(self.taps)):
            pixel = o * self.stride + t * self.dilation - self.before
            if 0 <= pixel < self.size:
                found.append((o, t, pixel))
        return found


@dataclass(frozen=True)
class Layer:
    """A convolution with few pixels on both sides, whatever lies between them."""

    h: Axis
    w: Axis
    batch: int = 1
    C: int = 1
    K: int = 1
    groups: int = 1

    @property
    def arguments(self):
        return {
            "strides": (self.h.stride, self.w.stride),
            "padding": (self.h.before, self.h.after, self.w.before, self.w.after),
            "dilation": (self.h.dilation, self.w.dilation),
        }

    @property
    def x_shape(self):
        return (self.batch, self.h.size, self.w.size, self.C)

    @property
    def y_shape(self):
        return (self.batch, self.h.outputs, self.w.outputs, self.K)

    @property
    def w_shape(self):
        return (self.h.taps, self.w.taps, self.C // self.groups, self.K)


@st.composite
def axes(draw) -> Axis:
    size, taps = draw(st.integers(1, 5)), draw(st.sampled_from((1, 2, 3, 3, 5)))
    stride, dilation = draw(st.sampled_from(EXTREMES)), draw(st.sampled_from(EXTREMES))
    extent = (taps - 1) * dilation + 1
    outputs = draw(st.integers(1, 4))
    pads = (outputs - 1) * stride + extent - size
    if not 0 <= pads <= 2 * MOST:  # give way to what the image or the pads allow
        outputs, dilation, pads = 1, min(dilation, MOST // 8), 0
        extent = (taps - 1) * dilation + 1
        pads = max(0, extent - size)
        outputs = (size + pads - extent) // stride + 1
    room = outputs * stride - (size + pads - extent) - 1  # before another window would fit
    pads += draw(st.integers(0, min(room, 2 * MOST - pads, 3)))
    least = max(0, pads - MOST)
    usual = st.integers(least, min(pads, MOST))
    near = st.integers(-3, 3).map(lambda i: min(max(least, pads // 2 + i), min(pads, MOST)))
    before = draw(st.one_of(usual, near, st.sampled_from((least, min(pads, MOST)))))
    return Axis(size, outputs, taps, stride, dilation, before, pads - before)


@st.composite
def layers(draw) -> Layer:
    C = draw(st.sampled_from((1, 2, 5, 17)))
    groups = draw(st.sampled_from((1, 1, C)))
    K = groups * draw(st.sampled_from((1, 1, 3, 17) if groups == 1 else (1, 1, 2)))
    return Layer(draw(axes()), draw(axes()), draw(st.integers(1, 2)), C, K, groups)


ONE = Axis(1, 1, 1)
PICKED = [
    Layer(ONE, Axis(1, 3, 1, stride=2**29, before=2**29, after=2**29)),
    Layer(Axis(1, 3, 2, 2**29, 1, 2**29, 2**29 + 1), Axis(1, 3, 2, 2**29, 1, 2**29, 2**29 + 1)),
    Layer(ONE, Axis(1, 1, 2, 1, MOST, MOST, 0), C=5, K=17),
    Layer(Axis(1, 1, 2, 1, MOST, 0, MOST), ONE, C=5, K=17),
    Layer(Axis(2, 1, 9, 1, 1, 4, 3), Axis(1, 1, 9, 1, 1, 2, 6), 2, 17, 9),  # unread columns of taps
    Layer(Axis(2, 2, 3, 1, 1, 1, 1), Axis(1, 1, 3, 1, 1, 1, 1), 2, 6, 9, 3),
    Layer(Axis(1, 2, 1, 1000, 1, 999, 1), Axis(1, 2, 1, 1000, 1, 999, 1), 1, 5, 5, 5),
    Layer(Axis(5, 1, 2, 1000, 4), Axis(5, 1, 2, 1000, 4), 2, 2, 3),
    Layer(Axis(5, 4, 3, 1, 1000, 1000, 999), Axis(5, 4, 3, 2, 1000, 998, 1004), 2, 2, 18),
    Layer(Axis(5, 4, 3, 1, 1000, 1000, 999), Axis(5, 4, 3, 2, 1000, 998, 1004), 2, 9, 18, 9),
]


def sums(layer: Layer, x: Array, w: Array, dy: Array) -> list[Array]:
    """y, dx, dw by the definition, tap by tap."""
    G = layer.groups
    x, dy = (a.reshape(*a.shape[:3], G, -1) for a in (x, dy))  # n h w g c, n p q g k
    w = w.reshape(*w.shape[:3], G, -1)  # r s c g k
    y, dx, dw = np.zeros(dy.shape), np.zeros(x.shape), np.zeros(w.shape)
    for (p, r, i), (q, s, j) in product(layer.h.pairs(), layer.w.pairs()):
        y[:, p, q] += np.einsum("ngc,cgk->ngk", x[:, i, j], w[r, s])
        dx[:, i, j] += np.einsum("ngk,cgk->ngc", dy[:, p, q], w[r, s])
        dw[r, s] += np.einsum("ngc,ngk->cgk", x[:, i, j], dy[:, p, q])
    shapes = (layer.y_shape, layer.x_shape, layer.w_shape)
    return [a.reshape(shape) for a, shape in zip((y, dx, dw), shapes, strict=True)]


def check_layer(layer: Layer, seed: int, setting: Setting) -> None:
    """All passes equal the definition, in little memory."""
    x, dy = small_integers(layer.x_shape, seed, 1), small_integers(layer.y_shape, seed, 2)
    w = small_integers(layer.w_shape, seed, 3)
    options = {**layer.arguments, "groups": layer.groups}

    def build(graph: _core.Graph, v: dict[str, int]) -> list[int]:
        return [
            graph.conv2d(v["x"], v["w"], **options),
            graph.conv2d_backward_data(v["dy"], v["w"], v["x"], **options),
            graph.conv2d_backward_weights(v["x"], v["dy"], v["w"], **options),
        ]

    net = Net(build, {"x": x, "dy": dy}, {"w": w}, setting)
    assert net.plan.arena_bytes + net.plan.scratch_bytes < 2**21
    for name, got, expected in zip(
        ("y", "dx", "dw"), net.run(), sums(layer, x, w, dy), strict=True
    ):
        assert_equal(got, expected, name)


def check_transposed(layer: Layer, seed: int, setting: Setting) -> None:
    """y with its bias, where most pixels of y may lie between the taps."""
    if layer.groups > 1:
        return
    x, w = small_integers(layer.y_shape, seed, 2), small_integers(layer.w_shape, seed, 3)
    b = small_integers((layer.C,), seed, 4)
    arguments = layer.arguments
    extra = []
    for axis in (layer.h, layer.w):
        whole = (axis.outputs - 1) * axis.stride + (axis.taps - 1) * axis.dilation + 1
        extra.append(axis.size - (whole - axis.before - axis.after))
    arguments["output_padding"] = tuple(extra)

    def build(graph: _core.Graph, v: dict[str, int]) -> list[int]:
        return [graph.conv2d_transpose(v["x"], v["w"], v["b"], **arguments)]

    net = Net(build, {"x": x}, {"w": w, "b": b}, setting)
    assert net.plan.arena_bytes + net.plan.scratch_bytes < 2**21
    _, y, _ = sums(layer, np.zeros(layer.x_shape), w, x)
    for _ in range(2):  # the second run uses what the first one packed
        assert_equal(net.run()[0], y + b, "y")


@pytest.mark.parametrize("check", [check_layer, check_transposed])
@pytest.mark.parametrize("layer", PICKED, ids=str)
def test_picked_layers(layer, check, isa):
    check(layer, 1, Setting(isa))
    check(layer, 2, Setting(isa, threads=3))


@given(layers(), seeds)
def test_layers(isa, layer, seed):
    check_layer(layer, seed, Setting(isa))


@given(layers(), seeds)
def test_transposed_layers(isa, layer, seed):
    check_transposed(layer, seed, Setting(isa))


CHECKS = [Check(check_layer, layers(), PICKED), Check(check_transposed, layers(), PICKED)]


@pytest.mark.parametrize("memory", GUARDS)
def test_no_byte_outside(memory, isa):
    assert_guarded(__name__, memory, isa)


# --- anything at all ------------------------------------------------------------------------------

SIZES = st.sampled_from((1, 2, 3, 5, 64, 1000, 2**20, 2**30, MOST, 2**31, 2**40, 2**60))
PAIRS = st.tuples(SIZES, SIZES)
PADS = st.one_of(
    st.sampled_from(("same", "valid")),
    st.tuples(*[st.sampled_from((0, 1, 5, 1000, 2**29, MOST, 2**40))] * 4),
)
LEAST = 2**26  # bytes and multiply-adds that a plan may need here


def add_op(graph: _core.Graph, x: int, draw) -> int:
    kind = draw(
        st.sampled_from(("conv2d", "transpose", "max", "avg", "upsample", "join", "global"))
    )
    channels = graph.shape(x)[3] or 1
    if kind in ("conv2d", "transpose"):
        window = draw(st.sampled_from(((1, 1), (2, 1), (3, 3), (1, 9), (200, 1))))
        filters = draw(st.sampled_from((1, 3, 16)))
        both = (channels, filters) if kind == "conv2d" else (filters, channels)
        if channels > 1000:
            return x  # the kernel would be large, which plans do not decide
        w = graph.parameter(f"w{len(graph.nodes())}", (*window, *both))
        op = graph.conv2d if kind == "conv2d" else graph.conv2d_transpose
        return op(x, w, strides=draw(PAIRS), padding=draw(PADS), dilation=draw(PAIRS))
    if kind in ("max", "avg"):
        op = graph.max_pool2d if kind == "max" else graph.avg_pool2d
        return op(x, pool_size=draw(PAIRS), strides=draw(PAIRS), padding=draw(PADS))
    if kind == "upsample":
        return graph.upsample2d(x, size=draw(PAIRS))
    return graph.concatenate([x, x, x]) if kind == "join" else graph.activation(x, "relu")


@given(st.data(), st.sampled_from((1, 2, 64, 2**31, 2**40)), st.integers(1, 3))
def test_a_plan_works_or_is_refused_by_name(data, batch, ops):
    draw = data.draw
    graph = _core.Graph()
    try:
        shape = (None, draw(SIZES), draw(SIZES), draw(SIZES))
        x = graph.input("x", shape)
        for _ in range(ops):
            x = add_op(graph, x, draw)
        graph.mark_output(x)
        parameters = _core.Parameters(graph, "scalar")
        limits = {"max_arena_bytes": LEAST, "max_scratch_bytes": LEAST, "max_operations": LEAST}
        with threads(2):
            plan = _core.Plan(graph, parameters, batch, **limits)
            plan.run([np.ones((batch, *(extent or 0 for extent in shape[1:])), np.float32)])
    except (MemoryError, ShapeError, ValueError) as error:
        assert str(error)
        return
    assert np.isfinite(plan.output(0)).all()


def test_scratch_of_many_threads_does_not_wrap():
    """Finding 2: 2^58 bytes for each of 64 threads are 0 modulo 2^64."""
    options = {"strides": (1, 1431655765), "dilation_rate": (4095, 1), "use_bias": False}
    model = pycnn.Sequential(
        [
            L.Input((1, 1, 4096)),
            L.UpSampling2D((4096, 2)),
            L.Conv2D(1, (2, 1), padding=((0, 0), (MOST, MOST)), **options),
        ]
    )
    model.set_weights([np.ones((2, 1, 4096, 1), np.float32)])
    with threads(64):
        y = model.predict(np.ones((1, 1, 1, 4096), np.float32))
    assert y.shape == (1, 1, 4, 1)
    assert y.sum() == 2 * 4096 * np.isin(np.arange(4) * 1431655765 - MOST, (0, 1)).sum()


def test_plans_state_what_they_need_and_keep_limits():
    graph = _core.Graph()
    x = graph.input("x", (None, 64, 64, 8))
    graph.mark_output(graph.conv2d(x, graph.parameter("w", (3, 3, 8, 16)), padding="same"))
    parameters = _core.Parameters(graph)
    plan = _core.Plan(graph, parameters, 2)
    assert plan.operations == 2 * 64 * 64 * 9 * 8 * 16
    assert plan.arena_bytes == 2 * 64 * 64 * (8 + 16) * 4
    assert 0 < plan.scratch_bytes < 2**20
    with threads(1):
        exact = {"max_arena_bytes": plan.arena_bytes, "max_operations": plan.operations}
        scratch = {"max_scratch_bytes": plan.scratch_bytes + 3 * 4096}
        _core.Plan(graph, parameters, 2, **exact, **scratch)
        for limit, value in (*exact.items(), ("max_scratch_bytes", plan.scratch_bytes)):
            with pytest.raises(MemoryError, match=rf"needs [0-9.e+]+, {limit} is"):
                _core.Plan(graph, parameters, 2, **{limit: value - 1})
        with pytest.raises(ValueError, match="max_arena_bytes must be >= 0, got -1"):
            _core.Plan(graph, parameters, 2, max_arena_bytes=-1)
        small = _core.Plan(graph, parameters, 2, **exact, **scratch)
    with threads(64), pytest.raises(MemoryError, match="max_scratch_bytes"):
        small.run([np.zeros((2, 64, 64, 8), np.float32)])
    with threads(1):
        small.run([np.zeros((2, 64, 64, 8), np.float32)])


def test_models_keep_the_limits_of_the_package(monkeypatch):
    model = pycnn.Sequential([L.Input((64, 64, 8)), L.Conv2D(16, 3)])
    x = np.zeros((1, 64, 64, 8), np.float32)
    assert pycnn.limits.max_arena_bytes is None or pycnn.limits.max_arena_bytes >= 2**28
    monkeypatch.setattr(pycnn.limits, "max_arena_bytes", 1000)
    with pytest.raises(MemoryError, match="max_arena_bytes is 1000"):
        model.predict(x)
    with pytest.raises(MemoryError, match="max_arena_bytes is 1000"):
        pycnn.Predictor(model)
    monkeypatch.setattr(pycnn.limits, "max_arena_bytes", None)
    monkeypatch.setattr(pycnn.limits, "max_operations", 1e6)
    with pytest.raises(MemoryError, match=r"needs 4.42829e\+06, max_operations is 1e\+06"):
        model.predict(x)
    monkeypatch.undo()
    model.predict(x)


@pytest.mark.parametrize("layer", [L.Conv2DTranspose(1, 1, strides=1000), None], ids=str)
def test_no_work_per_stride_phase(layer):
    """Finding 5: one tap in a million pixels; once a pass for each of them, in 1.5 GB."""
    start = time.process_time()
    if layer is not None:
        model = pycnn.Sequential([L.Input((1, 1, 1)), layer])
        y = model.predict(np.ones((1, 1, 1, 1), np.float32))
        assert np.count_nonzero(y) == 1
    graph = _core.Graph()
    x, dy = graph.input("x", (None, 1000, 1000, 3)), graph.input("dy", (None, 1, 1, 3))
    groups = 1 if layer is not None else 3
    w = graph.parameter("w", (1, 1, 3 // groups, 3))
    graph.mark_output(graph.conv2d_backward_data(dy, w, x, strides=(1000, 1000), groups=groups))
    plan = _core.Plan(graph, _core.Parameters(graph), 1)
    assert plan.arena_bytes < 2.1 * 4 * 3e6 and plan.scratch_bytes < 2**20
    plan.run([np.ones((1, 1000, 1000, 3), np.float32), np.ones((1, 1, 1, 3), np.float32)])
    assert time.process_time() - start < 1


def test_rows_too_wide_for_scratch_are_cut():
    graph = _core.Graph()
    x = graph.input("x", (None, 1, 2**16, 16))
    w = graph.parameter("w", (1, 3, 16, 8))
    graph.mark_output(graph.conv2d(x, w, padding="same"))
    parameters = _core.Parameters(graph)
    parameters.set("w", small_integers((1, 3, 16, 8), 1).astype(np.float32))
    plan = _core.Plan(graph, parameters, 1)
    assert plan.scratch_bytes < 2**21
    images = small_integers((1, 1, 2**16, 16), 2).astype(np.float32)
    plan.run([images])
    padded = np.pad(images, ((0, 0), (0, 0), (1, 1), (0, 0)))
    kernel = parameters.get("w")[0]
    expected = sum(padded[:, :, s : s + 2**16] @ kernel[s] for s in range(3))
    assert_equal(plan.output(0), expected, "y")


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("groups", [1, 8])
def test_no_work_per_tap_that_lies_outside(axis, groups):
    """Finding 5: kernels far wider than the image took the square of their width: 13 s."""
    S, pads, shape = 16_384, [0, 0, 0, 0], [None, 5, 5, 8]
    pads[2 * axis : 2 * axis + 2] = (S, S)
    shape[2 - axis], window = 1, [1, 1]
    window[axis] = S
    options = {"padding": tuple(pads), "groups": groups}
    for op in ("conv2d", "conv2d_backward_data", "conv2d_backward_weights"):
        graph = _core.Graph()
        x, w = graph.input("x", shape), graph.parameter("w", (*window, 8 // groups, 8))
        y = graph.conv2d(x, w, **options)
        inputs = [x, w] if op == "conv2d" else [y, w, x] if op.endswith("data") else [x, y, w]
        graph.mark_output(getattr(graph, op)(*inputs, **options))
        plan = _core.Plan(graph, _core.Parameters(graph), 1)
        start = time.process_time()
        plan.run([np.ones((1, *shape[1:]), np.float32)])
        assert time.process_time() - start < 0.5, op
