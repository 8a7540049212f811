# SPDX-License-Identifier: Apache-2.0
"""conv2d_transpose, its gradients and its epilogue against the reference."""

from __future__ import annotations

import signal
import sys

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
    stored,
    sum_bound,
)
from hypothesis import given, settings
from strategies import TransposedShape, random_array, seeds, small_integers, transposed_shapes

from pycnn import _core, reference
from pycnn.errors import ShapeError

PICKED = [
    TransposedShape((2, 3, 4, C), (2, 2, K, C), (2, 2), "same")
    for C, K in zip(CHANNELS, (*CHANNELS[7:], *CHANNELS[:7]), strict=True)
]
PICKED += [
    TransposedShape((2, 7, 5, 24), (3, 3, 17, 24), (2, 2), "same"),
    TransposedShape((2, 7, 5, 9), (3, 3, 8, 9), (2, 2), "same", (1, 1)),
    TransposedShape((2, 7, 5, 9), (2, 2, 8, 9), (2, 2), "same", (0, 1)),
    TransposedShape((2, 5, 6, 7), (4, 4, 6, 7), (2, 2), "same"),
    TransposedShape((1, 5, 6, 7), (5, 5, 6, 7), (3, 2)),
    TransposedShape((2, 5, 6, 7), (2, 1, 6, 7), (3, 3)),  # pixels that no tap reaches
    TransposedShape((2, 5, 6, 7), (1, 1, 6, 7), (3, 2), "same", (2, 0)),
    TransposedShape((2, 5, 6, 7), (3, 2, 6, 7), (2, 3), (1, 0, 2, 1), (1, 2)),
    TransposedShape((2, 5, 6, 7), (3, 3, 6, 7), (2, 2), "same", None, (2, 3)),
    TransposedShape((2, 1, 5, 1), (1, 5, 1, 1)),  # few channels, columns side by side
    TransposedShape((2, 5, 30, 3), (3, 3, 2, 3), (2, 1), "same"),
    TransposedShape((2, 9, 14, 16), (3, 3, 4, 16)),
    TransposedShape((3, 9, 8, 5), (1, 1, 6, 5)),  # a 1x1 convolution
    TransposedShape((1, 1, 1, 33), (7, 7, 9, 33)),  # one pixel
    TransposedShape((1, 40, 33, 16), (2, 2, 8, 16), (2, 2), "same"),
    TransposedShape((1, 1, 1, 3), (2, 2, 4, 3), (2, 2), (1, 1, 1, 1), None, (2, 2)),  # no tap
]
NAMES = ("y", "dx", "dw", "db")


def arrays(case: TransposedShape, seed: int, make=small_integers) -> tuple[Array, Array, Array]:
    """x, w, b"""
    shapes = (case.x_shape, case.w_shape, case.w_shape[2:3])
    x, w, b = (rounded(make(shape, seed, i)) for i, shape in enumerate(shapes))
    return x, w, b


def engine_passes(case: TransposedShape, x: Array, w: Array, b: Array, seed: int, setting: Setting):
    """y, dx, dw, db of the engine for the gradient that a probe passes back, and that gradient."""
    expected = reference.conv2d_transpose(x, w, b, **case.arguments)
    probe = Probe.of(np.round(expected), seed)

    def build(graph: _core.Graph, v: dict[str, int]) -> list[int]:
        y = graph.conv2d_transpose(v["x"], v["w"], v["b"], **case.arguments)
        ids = graph.gradients(probe.loss(graph, v, y), [v["x"], v["w"], v["b"]])
        return [y, *(i for i in ids if i is not None)]

    parameters = {"w": w, "b": b, **probe.parameters}
    return run(build, {"x": x, **probe.inputs}, parameters, setting), probe.dy


def expected_passes(case: TransposedShape, x: Array, w: Array, b: Array, dy: Array) -> list[Array]:
    return [
        reference.conv2d_transpose(x, w, b, **case.arguments),
        reference.conv2d_transpose_backward_data(dy, w, case.x_shape, **case.arguments),
        reference.conv2d_transpose_backward_weights(x, dy, case.w_shape, **case.arguments),
        reference.bias_backward(dy),
    ]


def check_integers(case: TransposedShape, seed: int, setting: Setting) -> None:
    x, w, b = arrays(case, seed)
    results, dy = engine_passes(case, x, w, b, seed, setting)
    for name, got, wanted in zip(NAMES, results, expected_passes(case, x, w, b, dy), strict=True):
        assert_equal(got, wanted, name)


def check_real(case: TransposedShape, seed: int, setting: Setting) -> None:
    """The forward pass lies within the promised bound."""
    x, w, b = arrays(case, seed, random_array)

    def build(graph: _core.Graph, v: dict[str, int]) -> list[int]:
        return [graph.conv2d_transpose(v["x"], v["w"], v["b"], **case.arguments)]

    (y,) = run(build, {"x": x}, {"w": w, "b": b}, setting)
    magnitude = reference.conv2d_transpose(abs(x), abs(w), abs(b), **case.arguments)
    terms = int(np.prod(case.w_shape)) // case.w_shape[2] + 1
    expected = reference.conv2d_transpose(x, w, b, **case.arguments)
    assert_within(y, expected, sum_bound(terms, magnitude), "y")


@pytest.mark.parametrize("case", PICKED, ids=str)
def test_picked_integers(case, isa):
    check_integers(case, 0, Setting(isa))


@given(transposed_shapes(), seeds)
def test_integers(isa, case, seed):
    check_integers(case, seed, Setting(isa))


@given(transposed_shapes(), seeds)
def test_real_values(isa, case, seed):
    check_real(case, seed, Setting(isa))


def check_epilogues(case: TransposedShape, seed: int, setting: Setting) -> None:
    """Bias, residual add and activation inside the op: the same values, one step."""
    x, w, b = arrays(case, seed)
    plain = reference.conv2d_transpose(x, w, b, **case.arguments)
    residual = small_integers(plain.shape, seed, 9)
    for kind in ("linear", "relu", "relu6"):

        def build(graph: _core.Graph, v: dict[str, int], kind=kind) -> list[int]:
            y = graph.conv2d_transpose(v["x"], v["w"], v["b"], **case.arguments)
            y = graph.add(y, v["residual"])
            return [y if kind == "linear" else graph.activation(y, kind)]

        net = Net(build, {"x": x, "residual": residual}, {"w": w, "b": b}, setting)
        assert net.steps() == ["conv2d_transpose"]
        assert_equal(net.run()[0], reference.activation(kind, plain + residual), kind)


@given(transposed_shapes(max_size=5), seeds)
def test_epilogues(isa, case, seed):
    check_epilogues(case, seed, Setting(isa))


CHECKS = [
    Check(check_integers, transposed_shapes(), PICKED),
    Check(check_real, transposed_shapes()),
    Check(check_epilogues, transposed_shapes(max_size=5), PICKED[-6:]),
]


@pytest.mark.parametrize("memory", GUARDS)
def test_no_byte_outside(memory, isa):
    assert_guarded(__name__, memory, isa)


@pytest.mark.parametrize("case", PICKED[-16:], ids=str)
def test_threads_and_batch_change_no_bit(case, isa):
    x, w, b = arrays(case, 2, random_array)

    def build(graph: _core.Graph, v: dict[str, int]) -> list[int]:
        y = graph.conv2d_transpose(v["x"], v["w"], v["b"], **case.arguments)
        loss = graph.loss("mean_squared_error", graph.input("t", graph.shape(y)), y)
        return [y, *(i for i in graph.gradients(loss, [v["x"], v["w"], v["b"]]) if i is not None)]

    results = []
    for count in (1, 2, 3):
        net = Net(build, {"x": x}, {"w": w, "b": b}, Setting(isa, threads=count))
        y_shape = (len(x), *(extent or 0 for extent in net.graph.shape(net.outputs[0])[1:]))
        net.inputs.append(random_array(y_shape, 5).astype(np.float32))
        results.append(net.run())
    for parallel in results[1:]:
        for name, a, c in zip(NAMES, results[0], parallel, strict=True):
            np.testing.assert_array_equal(a, c, err_msg=name)
    single = net.make_plan(1)
    for i in range(len(x)):
        single.run(net.inputs, start=i)
        np.testing.assert_array_equal(single.output(0)[0], results[0][0][i])


def test_two_uses_of_a_kernel_add_their_gradients(isa):
    """Tied weights: a convolution and the transposed one of an autoencoder."""
    x, w = small_integers((2, 5, 4, 3), 1, limit=2), small_integers((2, 2, 3, 4), 2, limit=2)
    hidden = reference.conv2d(x, w)
    y = reference.conv2d_transpose(hidden, w)
    probe = Probe.of(y, 3)

    def build(graph: _core.Graph, v: dict[str, int]) -> list[int]:
        y = graph.conv2d_transpose(graph.conv2d(v["x"], v["w"]), v["w"])
        return [i for i in graph.gradients(probe.loss(graph, v, y), [v["w"]]) if i is not None]

    (dw,) = run(build, {"x": x, **probe.inputs}, {"w": w, **probe.parameters}, Setting(isa))
    dh = reference.conv2d_transpose_backward_data(probe.dy, w, hidden.shape)
    expected = reference.conv2d_transpose_backward_weights(hidden, probe.dy, w.shape)
    assert_equal(dw, expected + reference.conv2d_backward_weights(x, dh, w.shape), "dw")


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_weights_kept_packed_survive_the_steps_before_theirs(isa, batch):
    """What is kept from run to run has memory of its own from the first step of a run on."""
    x = small_integers((batch, 11, 2, 4), 1)
    w = [small_integers(shape, 2) for shape in ((1, 1, 5, 4), (4, 4, 3, 5), (2, 2, 2, 3))]

    def build(graph: _core.Graph, v: dict[str, int]) -> list[int]:
        y = graph.conv2d_transpose(v["x"], v["w0"], padding="same")
        y = graph.conv2d_transpose(y, v["w1"], strides=(2, 2))
        return [graph.conv2d_transpose(y, v["w2"], strides=(2, 2))]

    net = Net(build, {"x": x}, {f"w{i}": array for i, array in enumerate(w)}, Setting(isa))
    y = reference.conv2d_transpose(x, w[0], padding="same")
    y = reference.conv2d_transpose(y, w[1], strides=(2, 2))
    y = reference.conv2d_transpose(y, w[2], strides=(2, 2))
    for run_number in range(3):
        assert_equal(net.run()[0], y, f"run {run_number}")


def test_weights_kept_packed_follow_the_parameters(isa):
    """Plans without updates pack once; they see set() and the steps of a training plan."""
    x, w = small_integers((2, 5, 4, 9), 1), small_integers((3, 3, 7, 9), 2)
    options = {"strides": (2, 2), "padding": "same"}

    def build(graph: _core.Graph, v: dict[str, int]) -> list[int]:
        return [graph.conv2d_transpose(v["x"], v["w"], **options)]

    net = Net(build, {"x": x}, {"w": w}, Setting(isa))
    single = net.make_plan(1)

    def check() -> None:
        y = reference.conv2d_transpose(x, net.parameters.get("w"), **options)
        for _ in range(2):
            assert_equal(net.run()[0], y, "y")
            single.run(net.inputs, start=1)
            assert_equal(single.output(0), y[1:], "one row")

    check()
    net.parameters.set("w", stored(w[::-1]))
    check()
    graph = _core.Graph()
    values = {"x": graph.input("x", (None, 5, 4, 9)), "w": graph.parameter("w", w.shape)}
    (y,) = build(graph, values)
    loss = graph.loss("mean_squared_error", graph.input("t", graph.shape(y)), y)
    (dw,) = graph.gradients(loss, [values["w"]])
    assert dw is not None
    graph.sgd(values["w"], dw, name="w")
    training = _core.Plan(graph, net.parameters, 2)
    zeros = np.zeros((2, *(extent or 0 for extent in graph.shape(y)[1:])), np.float32)
    for _ in range(2):
        before = net.parameters.get("w")
        training.run([net.inputs[0], zeros], learning_rate=0.5)
        after = net.parameters.get("w")
        assert not np.array_equal(after, before)
        expected = reference.conv2d_transpose(x, after, **options)
        np.testing.assert_allclose(net.run()[0], expected, rtol=1e-5, atol=1e-4)


def test_kernels_are_packed_again_only_where_weights_changed(isa):
    """Two layers; a plan packs both in its first run, and after any change, and never else."""
    x, w, u = (small_integers(s, 3) for s in ((2, 3, 3, 5), (2, 2, 4, 5), (2, 2, 6, 4)))

    def build(graph: _core.Graph, v: dict[str, int]) -> list[int]:
        y = graph.conv2d_transpose(v["x"], v["w"], strides=(2, 2))
        return [graph.conv2d_transpose(y, v["u"])]

    for threads in (1, 2):
        net = Net(build, {"x": x}, {"w": w, "u": u}, Setting(isa, threads=threads))
        single = net.make_plan(1)
        counts = []
        for change in (False, False, True, False):
            if change:
                net.parameters.set("u", stored(u + 1))
            net.run()
            counts.append(net.plan.kernels_packed)
        assert counts == [2, 2, 4, 4]
        single.run(net.inputs)
        assert single.kernels_packed == 2  # each plan has its own


def test_packed_kernels_share_their_memory_with_nothing(isa):
    """From run to run: the larger tensors before and after the layer would find room there."""
    x, w = small_integers((2, 16, 16, 8), 1), small_integers((2, 2, 8, 8), 2)

    def build(graph: _core.Graph, v: dict[str, int]) -> list[int]:
        small = {"pool_size": (8, 8), "strides": (8, 8)}
        h = graph.avg_pool2d(graph.activation(v["x"], "linear"), **small)
        h = graph.conv2d_transpose(h, v["w"], strides=(2, 2))
        return [
            graph.upsample2d(graph.avg_pool2d(h, pool_size=(4, 4), strides=(4, 4)), size=(8, 8))
        ]

    net = Net(build, {"x": x}, {"w": w}, Setting(isa))
    first = net.run()[0]
    assert first.any()
    for _ in range(2):
        assert_equal(net.run()[0], first, "y")
    assert net.plan.kernels_packed == 1


@pytest.mark.skipif(sys.platform == "win32", reason="needs a timer that sends signals")
def test_an_interrupted_run_packs_again():
    """What a run did not come to do, the next one has to."""
    x, w = small_integers((1, 64, 64, 64), 1), small_integers((2, 2, 4, 64), 2)
    same = np.zeros((3, 3, 64, 64))
    same[1, 1] = np.eye(64)

    def build(graph: _core.Graph, v: dict[str, int]) -> list[int]:
        h = v["x"]
        for _ in range(8):  # long enough to be interrupted
            h = graph.conv2d(h, v["same"], padding="same")
        return [graph.conv2d_transpose(h, v["w"])]

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    net = Net(build, {"x": x}, {"same": same, "w": w}, Setting("scalar"))
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        with pytest.raises(KeyboardInterrupt):
            net.run()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert net.plan.kernels_packed == 0
    assert_equal(net.run()[0], reference.conv2d_transpose(x, w), "y")
    assert net.plan.kernels_packed == 1


@settings(max_examples=25)
@given(transposed_shapes(max_size=5, max_channels=5), seeds)
def test_nan_propagates(isa, case, seed):
    x, w, b = arrays(case, seed)
    x.reshape(-1)[seed % x.size] = np.nan

    def build(graph: _core.Graph, v: dict[str, int]) -> list[int]:
        return [graph.conv2d_transpose(v["x"], v["w"], v["b"], **case.arguments)]

    (y,) = run(build, {"x": x}, {"w": w, "b": b}, Setting(isa))
    assert np.isnan(y[np.isnan(reference.conv2d_transpose(x, w, b, **case.arguments))]).all()


@pytest.mark.parametrize(
    "x, w, options, error, text",
    [
        ((None, 4, 4), (2, 2, 3, 5), {}, ShapeError, r"x must be \(None, H, W, C\)"),
        ((None, 4, 4, 5), (2, 2, 5), {}, ShapeError, r"w must have shape \(R, S, filters, C\)"),
        ((None, 4, 4, 4), (2, 2, 3, 5), {}, ShapeError, "x has 4 channels, w expects 5"),
        ((None, 4, 4, 5), (2, 2, 3, 5), {"strides": (0, 1)}, ValueError, "stride must be in 1"),
        ((None, 4, 4, 5), (2, 2, 3, 5), {"dilation": (1, 0)}, ValueError, "dilation must be in 1"),
        ((None, 4, 4, 5), (2, 2, 3, 5), {"padding": "full"}, ValueError, "padding must be 'valid'"),
        (
            (None, 4, 4, 5),
            (2, 2, 3, 5),
            {"padding": (2**62,) * 4},
            ValueError,
            "padding must be <= 2147",
        ),
        ((None, 1, 1, 5), (2, 2, 3, 5), {"padding": (1, 1, 0, 0)}, ShapeError, "output height"),
        (
            (None, 4, 4, 5),
            (2, 2, 3, 5),
            {"strides": (2, 2), "output_padding": (0, 2)},
            ValueError,
            r"output_padding must be >= 0 and less than the stride \(2, 2\), got \(0, 2\)",
        ),
        ((None, 4, 4, 5), (2, 2, 3, 5), {"output_padding": (0, -1)}, ValueError, "got .0, -1"),
        ((None, 2**20, 4, 5), (2, 2, 3, 5), {"strides": (2**20, 1)}, ShapeError, "output height"),
    ],
)
def test_bad_arguments(x, w, options, error, text):
    graph = _core.Graph()
    with pytest.raises(error, match=text):
        graph.conv2d_transpose(graph.input("x", x), graph.parameter("w", w), **options)


def test_bad_bias():
    graph = _core.Graph()
    x, w = graph.input("x", (None, 4, 4, 5)), graph.parameter("w", (2, 2, 3, 5))
    with pytest.raises(ShapeError, match=r"conv2d_transpose: b must have shape \(3,\), got"):
        graph.conv2d_transpose(x, w, graph.parameter("b", (5,)))
