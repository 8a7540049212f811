# SPDX-License-Identifier: Apache-2.0
"""conv2d, its gradients and its epilogues against the reference: whole numbers exactly."""

from __future__ import annotations

import numpy as np
import pytest
from engine import (
    CHANNELS,
    GUARDS,
    Array,
    Check,
    Net,
    Probe,
    Setting,
    assert_equal,
    assert_guarded,
    assert_within,
    rounded,
    run,
    sum_bound,
)
from hypothesis import given
from hypothesis import strategies as st
from strategies import ConvShape, conv_shapes, random_array, seeds, small_integers

from pycnn import _core, reference


def around_tiles() -> list[ConvShape]:
    """Channels in and out, and runs of columns, around the sizes of tiles."""
    shapes = [
        ConvShape((2, 4, 5, C), (3, 3, C, K), padding="same")
        for C, K in zip(CHANNELS, (*CHANNELS[7:], *CHANNELS[:7]), strict=True)
    ]
    shapes += [ConvShape((1, 3, W, 5), (2, 3, 5, 17), padding="same") for W in CHANNELS]
    shapes += [ConvShape((1, 2, W + 2, 3), (1, 3, 3, 9), (1, 2)) for W in CHANNELS]
    return shapes


WIDENED = ConvShape((3, 28, 28, 1), (5, 5, 1, 6), padding="same")  # columns fill a vector
PICKED = [
    *around_tiles(),
    ConvShape((4, 40, 33, 3), (3, 3, 3, 6)),  # weight gradients in several chunks
    ConvShape((3, 30, 41, 17), (1, 1, 17, 9)),  # 1x1: chunks of a flat row
    ConvShape((3, 7, 11, 33), (1, 1, 33, 31)),  # 1x1 with a short last row
    ConvShape((2, 9, 7, 6), (1, 1, 6, 13), (2, 2)),
    ConvShape((1, 3, 5, 1024), (1, 1, 1024, 5)),  # pixels 4 KB apart
    ConvShape((1, 5, 6, 512), (1, 1, 512, 3), (2, 2)),
    ConvShape((1, 9, 9, 64), (3, 3, 64, 128), padding="same"),  # weights larger than L2 blocks
    ConvShape((2, 24, 24, 33), (5, 5, 33, 8), padding="same"),  # staged rows do not all fit
    ConvShape((2, 11, 12, 40), (3, 3, 40, 25), (2, 2), "same"),
    ConvShape((2, 11, 12, 40), (3, 3, 40, 25), dilation=(2, 3)),  # taps of a row are not merged
    ConvShape((2, 13, 14, 5), (3, 3, 5, 7), (2, 3), (2, 1, 1, 2), (2, 2)),
    ConvShape((2, 13, 14, 5), (2, 2, 5, 7), (4, 3)),  # pixels that no window sees
    ConvShape((1, 1, 1, 7), (7, 7, 7, 9), padding=(3, 3, 3, 3)),  # one pixel, mostly padding
    ConvShape((1, 2, 2, 3), (2, 2, 3, 4), padding=(1, 1, 1, 1), dilation=(3, 3)),
    ConvShape((2, 8, 9, 24), (3, 3, 1, 24), padding="same", groups=24),  # depthwise
    ConvShape((2, 8, 9, 6), (3, 3, 1, 18), (2, 2), "same", groups=6),
    ConvShape((2, 8, 9, 34), (3, 2, 17, 18), padding="same", groups=2),
    ConvShape((1, 1, 200, 3), (1, 5, 3, 16), padding="same"),
    WIDENED,
    ConvShape((8, 11, 34, 2), (3, 3, 2, 1)),  # y and dx: many columns in one
    ConvShape((2, 20, 126, 3), (3, 4, 3, 2), (1, 2), (1, 0, 2, 2)),  # each the stride apart
    ConvShape((4, 40, 96, 3), (2, 3, 3, 3), (2, 3), "same", (2, 1)),
    ConvShape((8, 16, 16, 3), (3, 3, 3, 40), padding="same"),  # dx only
    ConvShape((1, 30, 4, 8), (2, 5, 8, 12), padding=(7, 0, 1, 0)),  # windows wholly in padding
]


def arrays(case: ConvShape, seed: int, make=small_integers) -> tuple[Array, Array, Array, Array]:
    """x, w, b, dy"""
    shapes = (case.x_shape, case.w_shape, case.w_shape[3:], case.y_shape)
    x, w, b, dy = (rounded(make(shape, seed, i)) for i, shape in enumerate(shapes))
    return x, w, b, dy


def all_passes(case: ConvShape, x: Array, w: Array, b: Array, dy: Array, setting: Setting):
    """y, dx, dw, db of the engine, all in one plan."""

    def build(graph: _core.Graph, v: dict[str, int]) -> list[int]:
        return [
            graph.conv2d(v["x"], v["w"], v["b"], **case.arguments),
            graph.conv2d_backward_data(v["dy"], v["w"], v["x"], **case.arguments),
            graph.conv2d_backward_weights(v["x"], v["dy"], v["w"], **case.arguments),
            graph.bias_backward(v["dy"]),
        ]

    return run(build, {"x": x, "dy": dy}, {"w": w, "b": b}, setting)


def expected_passes(case: ConvShape, x: Array, w: Array, b: Array, dy: Array) -> list[Array]:
    return [
        reference.conv2d(x, w, b, **case.arguments),
        reference.conv2d_backward_data(dy, w, case.x_shape, **case.arguments),
        reference.conv2d_backward_weights(x, dy, case.w_shape, **case.arguments),
        reference.bias_backward(dy),
    ]


NAMES = ("y", "dx", "dw", "db")


def check_integers(case: ConvShape, seed: int, setting: Setting) -> None:
    """Equal to the reference, and <conv(x), dy> = <x, dx> = <w, dw> exactly."""
    x, w, b, dy = arrays(case, seed)
    results = all_passes(case, x, w, b, dy, setting)
    for name, got, expected in zip(NAMES, results, expected_passes(case, x, w, b, dy), strict=True):
        assert_equal(got, expected, name)
    y, dx, dw, db = (result.astype(np.float64) for result in results)
    product = np.vdot(y, dy) - np.vdot(b, db)
    assert product == np.vdot(x, dx) == np.vdot(w, dw)


def check_real(case: ConvShape, seed: int, setting: Setting) -> None:
    """Each result lies within the promised bound."""
    R, S, C, K = case.w_shape
    pixels = int(np.prod(case.y_shape[:3]))
    terms = (R * S * C, R * S * (K // case.groups), pixels, pixels)
    values = arrays(case, seed, random_array)
    results = all_passes(case, *values, setting)
    expected = expected_passes(case, *values)
    magnitudes = expected_passes(case, *(np.abs(value) for value in values))
    for i, name in enumerate(NAMES):
        assert_within(results[i], expected[i], sum_bound(terms[i], magnitudes[i]), name)


@pytest.mark.parametrize("case", PICKED, ids=str)
def test_picked_integers(case, isa):
    check_integers(case, 0, Setting(isa))


@given(conv_shapes(), seeds)
def test_integers(isa, case, seed):
    check_integers(case, seed, Setting(isa))


@pytest.mark.parametrize("case", PICKED, ids=str)
def test_picked_real_values(case, isa):
    check_real(case, 1, Setting(isa))


@given(conv_shapes(), seeds)
def test_real_values(isa, case, seed):
    check_real(case, seed, Setting(isa))


@pytest.mark.parametrize("case", PICKED[-22:], ids=str)
def test_threads_change_no_bit(case, isa):
    values = arrays(case, 2, random_array)
    serial = all_passes(case, *values, Setting(isa))
    for count in (2, 3):
        parallel = all_passes(case, *values, Setting(isa, threads=count))
        for name, a, b in zip(NAMES, serial, parallel, strict=True):
            np.testing.assert_array_equal(a, b, err_msg=f"{name} with {count} threads")


EPILOGUES = [(r, kind) for r in (False, True) for kind in ("linear", "relu", "relu6")]


def check_epilogues(case: ConvShape, seed: int, setting: Setting) -> None:
    """Bias, residual add and activation inside the convolution: the same values, one step."""
    x, w, b, residual = arrays(case, seed)
    plain = reference.conv2d(x, w, b, **case.arguments)
    for with_residual, kind in EPILOGUES:

        def build(graph: _core.Graph, v: dict[str, int], r=with_residual, kind=kind) -> list[int]:
            y = graph.conv2d(v["x"], v["w"], v["b"], **case.arguments)
            y = graph.add(y, v["residual"]) if r else y
            return [y if kind == "linear" else graph.activation(y, kind)]

        net = Net(build, {"x": x, "residual": residual}, {"w": w, "b": b}, setting)
        assert net.steps() == ["conv2d"]
        expected = reference.activation(kind, plain + residual if with_residual else plain)
        assert_equal(net.run()[0], expected, f"{kind} residual={with_residual}")


@given(conv_shapes(), seeds)
def test_epilogues(isa, case, seed):
    check_epilogues(case, seed, Setting(isa))


def check_gates(case: ConvShape, seed: int, setting: Setting) -> None:
    """The gradient of relu and relu6 inside backward_data: the same values, one step less."""
    x, w, b, _ = arrays(case, seed)
    w0 = small_integers((1, 1, case.x_shape[3], case.x_shape[3]), seed, 5, limit=1)
    for kind in ("relu", "relu6"):
        hidden = reference.activation(kind, reference.conv2d(x, w0))
        probe = Probe.of(reference.conv2d(hidden, w, b, **case.arguments), seed)

        def build(graph: _core.Graph, v: dict[str, int], kind=kind, probe=probe) -> list[int]:
            h = graph.activation(graph.conv2d(v["x"], v["w0"]), kind)
            loss = probe.loss(graph, v, graph.conv2d(h, v["w"], v["b"], **case.arguments))
            return [i for i in graph.gradients(loss, [v["w0"], v["x"]]) if i is not None]

        parameters = {"w": w, "b": b, "w0": w0, **probe.parameters}
        net = Net(build, {"x": x, **probe.inputs}, parameters, setting)
        assert "activation_backward" not in net.steps()
        dh = reference.conv2d_backward_data(probe.dy, w, case.x_shape, **case.arguments)
        gated = reference.activation_backward(kind, hidden, dh)
        dw0, dx = net.run()
        assert_equal(dw0, reference.conv2d_backward_weights(x, gated, w0.shape), f"{kind} dw0")
        assert_equal(dx, reference.conv2d_backward_data(gated, w0, case.x_shape), f"{kind} dx")


# fewer products per sum: three layers of whole numbers must stay below 2^24
GATED = conv_shapes(max_size=8, max_channels=17, max_window=3)


@given(GATED, seeds)
def test_gates(isa, case, seed):
    check_gates(case, seed, Setting(isa))


def test_widened_batches_change_no_bit(isa):
    """A batch of three has enough pixels to be widened, one image has not."""
    x, w, b, dy = arrays(WIDENED, 3, random_array)
    together = all_passes(WIDENED, x, w, b, dy, Setting(isa))
    one = ConvShape((1, *WIDENED.x_shape[1:]), WIDENED.w_shape, padding=WIDENED.padding)
    for i in range(3):
        alone = all_passes(one, x[i : i + 1], w, b, dy[i : i + 1], Setting(isa))
        np.testing.assert_array_equal(together[0][i], alone[0][0])
        np.testing.assert_array_equal(together[1][i], alone[1][0])


@pytest.mark.parametrize("check", [check_epilogues, check_gates])
def test_widened(check, isa):
    for case in (WIDENED, ConvShape((4, 12, 44, 3), (3, 3, 3, 2), padding="same")):
        check(case, 0, Setting(isa, threads=2))


POOLS = ((2, 2), (3, 3), (2, 3), (1, 2), (3, 1), (1, 1))


def check_pooled(case: ConvShape, seed: int, setting: Setting) -> None:
    """A disjoint max pool behind the convolution, which the plan may make part of it."""
    x, w, b, _ = arrays(case, seed)
    pool = {"pool_size": POOLS[seed % 6], "strides": POOLS[seed % 6]}
    if any(p > size for p, size in zip(pool["pool_size"], case.y_shape[1:3], strict=True)):
        return
    for kind in ("linear", "relu", "relu6"):
        hidden = reference.activation(kind, reference.conv2d(x, w, b, **case.arguments))
        expected = reference.max_pool2d(hidden, **pool)
        probe = Probe.of(expected, seed)

        def build(graph: _core.Graph, v: dict[str, int], kind=kind, probe=probe) -> list[int]:
            h = graph.conv2d(v["x"], v["w"], v["b"], **case.arguments)
            h = h if kind == "linear" else graph.activation(h, kind)
            y = graph.max_pool2d(h, **pool)
            loss = probe.loss(graph, v, y)
            ids = graph.gradients(loss, [v["x"], v["w"], v["b"]])
            return [y, *(i for i in ids if i is not None)]

        parameters = {"w": w, "b": b, **probe.parameters}
        y, dx, dw, db = run(build, {"x": x, **probe.inputs}, parameters, setting)
        dh = reference.max_pool2d_backward(hidden, probe.dy, **pool)
        dy = reference.activation_backward(kind, hidden, dh)
        assert_equal(y, expected, f"{kind} y")
        _, *backward = expected_passes(case, x, w, b, dy)
        for name, got, wanted in zip(NAMES[1:], (dx, dw, db), backward, strict=True):
            assert_equal(got, wanted, f"{kind} {name}")


POOLED = [
    ConvShape((2, 9, 10, C), (3, 3, C, K), padding="same")
    for C, K in zip(CHANNELS, CHANNELS[::-1], strict=True)
]
POOLED += [case for case in PICKED[-22:] if case.w_shape[3] < 64 and case.x_shape[0] < 4]


@pytest.mark.parametrize("case", POOLED, ids=str)
@pytest.mark.parametrize("pool", range(6))
def test_picked_pools(case, pool, isa):
    check_pooled(case, pool, Setting(isa, threads=1 + pool % 2))


@given(conv_shapes(max_size=15, max_window=5), seeds)
def test_pools(isa, case, seed):
    check_pooled(case, seed, Setting(isa))


CHECKS = [
    Check(check_pooled, conv_shapes(max_size=15, max_window=5), POOLED),
    Check(check_integers, conv_shapes(), PICKED),
    Check(check_real, conv_shapes()),
    Check(check_epilogues, conv_shapes(max_size=9), [WIDENED, *PICKED[:5]]),
    Check(check_gates, GATED, [WIDENED]),
]


@pytest.mark.parametrize("memory", GUARDS)
def test_no_byte_outside(memory, isa):
    assert_guarded(__name__, memory, isa)


@given(st.sampled_from(["x", "w", "b"]), conv_shapes(max_size=5, max_channels=9), seeds)
def test_nan_propagates(isa, where, case, seed):
    x, w, b, dy = arrays(case, seed)
    target = {"x": x, "w": w, "b": b}[where]
    target.reshape(-1)[seed % target.size] = np.nan
    y = all_passes(case, x, w, b, dy, Setting(isa))[0]
    seen = np.isnan(reference.conv2d(x, w, b, **case.arguments))
    assert np.isnan(y[seen]).all()
    if where == "b":
        np.testing.assert_array_equal(np.isnan(y), seen)
