# SPDX-License-Identifier: Apache-2.0
"""Batch norm folded into the weights of the convolution or dense before it, in inference plans."""

from __future__ import annotations

import numpy as np
import pytest
from engine import (
    GUARDS,
    TINY,
    UNIT,
    Array,
    Check,
    Net,
    Setting,
    assert_equal,
    assert_guarded,
    assert_within,
    rounded,
)
from hypothesis import given
from strategies import ConvShape, conv_shapes, random_array, seeds, small_integers

import pycnn
from pycnn import _core, reference
from pycnn.layers import (
    Activation,
    Add,
    BatchNormalization,
    Conv2D,
    Dense,
    Flatten,
    Input,
)

EPSILON = 1.0
NORM = ("gamma", "beta", "mean", "var")
SHAPES = conv_shapes(max_size=11, max_window=5)
PICKED = [
    *(ConvShape((2, 5, 6, 3), (3, 3, 3, K), padding="same") for K in (1, 7, 8, 15, 16, 17, 33)),
    ConvShape((1, 7, 9, 6), (3, 2, 2, 9), (2, 3), "same", (1, 2), groups=3),
    ConvShape((3, 1, 1, 13), (1, 1, 13, 31)),
    *(ConvShape((2, 6, 5, C), (3, 3, 1, C), padding="same", groups=C) for C in (2, 16, 19)),
]


def parameters_of(case: ConvShape, seed: int, exact: bool) -> tuple[Array, dict[str, Array]]:
    """x and all parameters; exact: whole numbers and scales that are powers of two."""
    K = case.w_shape[-1:]
    make = small_integers if exact else random_array
    names = ("w", "b", "gamma", "beta", "mean")
    shapes = (case.w_shape, K, K, K, K)
    arrays = {
        n: rounded(make(s, seed, i)) for i, (n, s) in enumerate(zip(names, shapes, strict=True))
    }
    if exact:
        arrays["gamma"] = 2.0 ** (np.arange(K[0]) % 4)
        arrays["var"] = np.where(np.arange(K[0]) % 2, 15.0, 3.0)
    else:
        arrays["var"] = rounded(np.abs(random_array(K, seed, 7)))
    return rounded(make(case.x_shape, seed, 9)), arrays


def network(case: ConvShape, x: Array, arrays: dict[str, Array], setting: Setting, *, twin=False):
    """relu(batch_norm(conv(x))); twin: a graph that also trains something, so nothing is folded."""

    def build(graph: _core.Graph, v: dict[str, int]) -> list[int]:
        y = graph.conv2d(v["x"], v["w"], v["b"], **case.arguments)
        y = graph.batch_norm_inference(y, *(v[n] for n in NORM), epsilon=EPSILON, name="norm")
        if twin:
            graph.moving_average(v["other"], v["b"], momentum=0.5)
        return [graph.activation(y, "relu")]

    if twin:
        arrays = {**arrays, "other": arrays["b"]}
    return Net(build, {"x": x}, arrays, setting)


def expected_of(case: ConvShape, x: Array, p: dict[str, Array]) -> tuple[Array, Array]:
    """The result without relu, and the largest error of the folded one."""
    scale = p["gamma"] / np.sqrt(p["var"] + EPSILON)
    y = reference.conv2d(x, p["w"], p["b"], **case.arguments)
    y = reference.batch_norm_inference(y, *(p[n] for n in NORM), EPSILON)
    size = reference.conv2d(np.abs(x), np.abs(p["w"]), None, **case.arguments) * np.abs(scale)
    size = size + np.abs(p["b"] * scale) + np.abs(p["mean"] * scale) + np.abs(p["beta"])
    terms = int(np.prod(case.w_shape[:3]))
    return y, (terms + 6) * (UNIT * size + TINY)


def check_exact(case: ConvShape, seed: int, setting: Setting) -> None:
    x, p = parameters_of(case, seed, exact=True)
    net = network(case, x, p, setting)
    assert net.steps() == ["conv2d"]
    assert_equal(net.run()[0], np.maximum(expected_of(case, x, p)[0], 0), "y")


def check_close(case: ConvShape, seed: int, setting: Setting) -> None:
    x, p = parameters_of(case, seed, exact=False)
    y, bound = expected_of(case, x, p)
    assert_within(network(case, x, p, setting).run()[0], np.maximum(y, 0), bound, "y")
    twin = network(case, x, p, setting, twin=True)
    assert "batch_norm_inference" in twin.steps()
    assert_within(twin.run()[0], np.maximum(y, 0), bound, "unfolded y")


ALL = (check_exact, check_close)


@pytest.mark.parametrize("check", ALL)
@pytest.mark.parametrize("case", PICKED, ids=str)
def test_picked_shapes(check, case, isa):
    check(case, 0, Setting(isa))


@pytest.mark.parametrize("check", ALL)
@given(SHAPES, seeds)
def test_drawn_shapes(isa, check, case, seed):
    check(case, seed, Setting(isa))


CHECKS = [Check(check, SHAPES, PICKED) for check in ALL]


@pytest.mark.parametrize("memory", GUARDS)
def test_no_byte_outside(memory, isa):
    assert_guarded(__name__, memory, isa)


def test_threads_and_batches_change_no_bit(isa):
    case = ConvShape((5, 13, 11, 7), (3, 3, 7, 33), padding="same")
    x, p = parameters_of(case, 3, exact=False)
    y = network(case, x, p, Setting(isa)).run()[0]
    for count in (2, 5):
        assert_equal(network(case, x, p, Setting(isa, threads=count)).run()[0], y, "threads")
    net = network(case, x, p, Setting(isa))
    single = net.make_plan(1)
    for i in range(len(x)):
        single.run(net.inputs, start=i)
        assert_equal(single.output(0)[0], y[i], "batch")


def test_changed_parameters_are_folded_again(isa):
    """Each parameter, in plans of two batch sizes that share the folded weights."""
    case = PICKED[0]
    x, p = parameters_of(case, 0, exact=True)
    net = network(case, x, p, Setting(isa))
    single = net.make_plan(1)
    for name in ("w", "b", *NORM):
        p[name] = p[name] * 4 + 3 if name == "var" else p[name] * 2
        if name == "var":
            p[name] = np.where(p[name] > 20, 63.0, 15.0)
        net.parameters.set(name, p[name].astype(np.float32))
        y = np.maximum(expected_of(case, x, p)[0], 0)
        assert_equal(net.run()[0], y, name)
        single.run(net.inputs)
        assert_equal(single.output(0)[0], y[0], name)


def test_what_must_stay(isa):
    """The convolution read twice, an activation or a reshape between, gradients, no convolution."""

    def steps(build, shape=(1, 3, 3, 4)) -> list[str]:
        p = {"w": np.ones((1, 1, 4, 4)), "u": np.ones((4, 4)), **{n: np.ones(4) for n in NORM}}
        return Net(build, {"x": np.ones(shape)}, p, Setting(isa)).steps()

    def norm(g, v, y):
        return g.batch_norm_inference(y, *(v[n] for n in NORM), epsilon=EPSILON)

    def conv(g, v):
        return g.conv2d(v["x"], v["w"])

    assert "batch_norm_inference" in steps(lambda g, v: [norm(g, v, v["x"])])
    assert "batch_norm_inference" in steps(
        lambda g, v: [norm(g, v, g.activation(conv(g, v), "relu"))]
    )

    def read_twice(g, v):
        y = conv(g, v)
        return [y, norm(g, v, y)]

    assert "batch_norm_inference" in steps(read_twice)
    twice = steps(lambda g, v: [norm(g, v, norm(g, v, conv(g, v)))])
    assert twice == ["conv2d", "batch_norm_inference"]

    def reshaped(g, v):
        return [norm(g, v, g.flatten(g.dense(v["x"], v["u"])))]

    assert steps(reshaped, (2, 4)) == ["dense", "batch_norm_inference"]

    def gradients(g, v):
        y = norm(g, v, conv(g, v))
        loss = g.loss("mean_squared_error", v["x"], y)
        return [y, *g.gradients(loss, [v["gamma"], v["w"]])]

    # dgamma reads what the convolution made, and dw goes through a norm without beta and mean
    kept = steps(gradients)
    assert kept[:2] == ["conv2d", "batch_norm_inference"] and "batch_norm_backward" in kept
    assert kept.count("batch_norm_inference") == 2


def test_scales_that_are_not_finite_stay_in_their_channel(isa):
    case = PICKED[2]
    x, p = parameters_of(case, 0, exact=True)
    clean = network(case, x, p, Setting(isa)).run()[0]
    p["gamma"][1], p["mean"][4] = np.nan, np.inf
    outputs = network(case, x, p, Setting(isa)).run()[0]
    untouched = np.setdiff1d(np.arange(8), (1, 4))
    assert_equal(outputs[..., untouched], clean[..., untouched], "other channels")
    twin = network(case, x, p, Setting(isa), twin=True).run()[0]
    assert_equal(outputs[..., [1, 4]], twin[..., [1, 4]], "channels that are not finite")


def residual_model() -> pycnn.Model:
    """conv-bn-relu-conv-bn, an Add with the input, relu; a dense with a batch norm."""
    x = Input((8, 8, 16))
    h = Activation("relu")(BatchNormalization()(Conv2D(16, 3, padding="same", use_bias=False)(x)))
    h = BatchNormalization()(Conv2D(16, 3, padding="same")(h))
    h = Activation("relu")(Add()([h, x]))
    model = pycnn.Model(x, BatchNormalization()(Dense(3)(Flatten()(h))))
    model.compile("sgd", "mse")
    return model


def test_weights_that_are_set_are_folded_again():
    """In the plans that a model and its predictors have made before."""
    model, other = residual_model(), residual_model()
    x = np.random.default_rng(0).standard_normal((3, 8, 8, 16)).astype(np.float32)
    predictor = pycnn.Predictor(model)
    before = model.predict(x, verbose=0)
    np.testing.assert_array_equal(predictor(x[:1])[0], before[0])
    model.set_weights(other.get_weights())
    after = model.predict(x, verbose=0)
    assert (after != before).all()
    np.testing.assert_array_equal(after, other.predict(x, verbose=0))
    np.testing.assert_array_equal(predictor(x[:1])[0], after[0])


def test_models_fold_and_follow_training():
    """predict, evaluate and Predictor see every step of fit() and set_weights()."""
    model = residual_model()
    rng = np.random.default_rng(0)
    x = rng.standard_normal((12, 8, 8, 16)).astype(np.float32)
    y = rng.standard_normal((12, 3)).astype(np.float32)
    predictor = pycnn.Predictor(model)
    plan, _ = model.prediction_plan(1)
    work = [step for step in plan.steps() if step not in ("input", "output")]
    assert work == ["conv2d", "conv2d", "dense"]
    previous = None
    for _ in range(3):
        model.fit(x, y, batch_size=4, verbose=0)
        predicted = model.predict(x, verbose=0)
        assert previous is None or not np.array_equal(predicted, previous)
        fresh = residual_model()
        fresh.set_weights(model.get_weights())
        np.testing.assert_array_equal(fresh.predict(x, verbose=0), predicted)
        np.testing.assert_array_equal(predictor(x[:1])[0], predicted[0])
        loss = model.evaluate(x, y, verbose=0)
        np.testing.assert_allclose(loss, np.mean((predicted - y) ** 2), rtol=1e-5)
        previous = predicted
