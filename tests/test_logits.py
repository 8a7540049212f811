# SPDX-License-Identifier: Apache-2.0
"""Cross-entropies behind their softmax or sigmoid are taken of the logits (finding 21)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from engine import UNIT, Array, Net, Setting, assert_within, run

import pycnn
from pycnn import _core, layers, reference
from pycnn.errors import NumericError

Y_PRED = Callable[[_core.Graph, int], int]
LOSSES = ("categorical_crossentropy", "sparse_categorical_crossentropy", "binary_crossentropy")
MANY = np.array([[[40.0, 0.0], [-40.0, 0.0]], [[1000.0, 1.0], [0.0, 88.0]], [[-3.0, 2.0], [0, 0]]])


def outputs(loss: str) -> Y_PRED:
    if loss == "binary_crossentropy":
        return lambda g, x: g.activation(x, "sigmoid")
    return lambda g, x: g.softmax(x)


def targets(loss: str, shape: tuple[int, ...]) -> Array:
    """Labels, or rows of targets that are neither one-hot nor of sum one."""
    rng = np.random.default_rng(1)
    if loss.startswith("sparse"):
        return rng.integers(0, shape[-1], shape[:-1]).astype(np.int32)
    soft = rng.random(shape).astype(np.float32).astype(np.float64)
    soft[0] = np.eye(shape[-1])[1]
    return soft


def loss_and_gradient(loss: str, y_pred: Y_PRED, x: Array, t: Array, isa: str, logits=False):
    def build(g: _core.Graph, v: dict[str, int]) -> list[int]:
        value = g.loss(loss, v["t"], y_pred(g, v["x"]), from_logits=logits)
        (dx,) = g.gradients(value, [v["x"]])
        assert dx is not None
        return [value, dx]

    return run(build, {"x": x, "t": t}, {}, Setting(isa))


@pytest.mark.parametrize("loss", LOSSES)
def test_saturated_outputs_have_the_true_loss_and_gradient(loss, isa):
    t = targets(loss, MANY.shape)
    value, dx = loss_and_gradient(loss, outputs(loss), MANY, t, isa)
    expected = getattr(reference, loss + "_from_logits")(t, MANY)
    assert_within(value, expected, 8 * UNIT * expected, loss)
    expected = getattr(reference, loss + "_from_logits_backward")(t, MANY)
    assert_within(dx, expected, 8 * UNIT * (np.abs(expected) + 1), loss)
    explicit = loss_and_gradient(loss, lambda g, x: x, MANY, t, isa, logits=True)
    for a, b in zip((value, dx), explicit, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_wrong_output_of_one_costs_its_logit(isa):
    x, t = np.array([[40.0, 0.0]]), np.array([1], np.int32)
    value, dx = loss_and_gradient(LOSSES[1], outputs(LOSSES[1]), x, t, isa)
    assert value == 40.0
    np.testing.assert_array_equal(dx, [[1.0, -1.0]])


@pytest.mark.parametrize("loss", LOSSES)
def test_reshapes_between_are_seen_through(loss, isa):
    """Where rows stay rows; else the loss is of the probabilities in their new rows."""
    x = MANY.reshape(3, 1, 1, 4)
    t = targets(loss, (3, 4))
    y_pred = outputs(loss)
    got = loss_and_gradient(loss, lambda g, v: g.flatten(y_pred(g, v)), x, t, isa)
    explicit = loss_and_gradient(loss, lambda g, v: g.flatten(v), x, t, isa, logits=True)
    for a, b in zip(got, explicit, strict=True):
        np.testing.assert_array_equal(a, b)
    if loss == "binary_crossentropy":
        return
    x = MANY.reshape(3, 1, 2, 2)
    value, _ = loss_and_gradient(loss, lambda g, v: g.flatten(g.softmax(v)), x, t, isa)
    expected = getattr(reference, loss)(t, reference.softmax(x).reshape(3, 4))
    np.testing.assert_allclose(value, expected, rtol=100 * UNIT)


@pytest.mark.parametrize("loss", LOSSES)
def test_other_outputs_are_taken_as_they_are(loss, isa):
    """A sigmoid before a categorical loss, a softmax before a binary one, a value in between."""
    x, t = MANY.reshape(3, 4) / 50, targets(loss, (3, 4))
    swapped = LOSSES[2] if loss != LOSSES[2] else LOSSES[0]
    of = reference.softmax if loss == LOSSES[2] else lambda x: reference.activation("sigmoid", x)
    value, _ = loss_and_gradient(loss, outputs(swapped), x, t, isa)
    np.testing.assert_allclose(value, getattr(reference, loss)(t, of(x)), rtol=100 * UNIT)
    y_pred = outputs(loss)
    value, _ = loss_and_gradient(loss, lambda g, v: g.activation(y_pred(g, v), "relu"), x, t, isa)
    p = reference.activation("sigmoid", x) if loss == LOSSES[2] else reference.softmax(x)
    np.testing.assert_allclose(value, getattr(reference, loss)(t, p), rtol=100 * UNIT)


def test_the_probabilities_are_not_computed_for_the_loss_alone(isa):
    def build(g: _core.Graph, v: dict[str, int]) -> list[int]:
        return [g.loss(LOSSES[1], v["t"], g.softmax(v["x"]))]

    net = Net(build, {"x": np.zeros((2, 3)), "t": np.zeros(2, np.int32)}, {}, Setting(isa))
    assert net.steps() == ["loss"]


def model(final: str | None, loss: pycnn.losses.Loss, units: int, scale: float) -> pycnn.Sequential:
    """A dense layer whose first outputs are sure of the wrong class."""
    made = pycnn.Sequential([layers.Input((3,)), layers.Dense(units, activation=final)])
    kernel = np.zeros((3, units), np.float32)
    kernel[:, -1] = scale
    made.set_weights([kernel, np.zeros(units, np.float32)])
    made.compile(pycnn.optimizers.SGD(scale / 8), loss, metrics=["accuracy"])
    return made


@pytest.mark.parametrize("scale", [40.0, 1000.0])
@pytest.mark.parametrize("final", ["softmax", "sigmoid"])
def test_saturated_models_learn(final, scale):
    """From a wrong start, in the same steps as a model of logits; metrics see probabilities."""
    x = np.ones((4, 3), np.float32) / 3
    if final == "softmax":
        y, units, loss = np.zeros(4, int), 3, pycnn.losses.SparseCategoricalCrossentropy
    else:
        y, units, loss = np.zeros((4, 1), np.float32), 1, pycnn.losses.BinaryCrossentropy
    fused, explicit = model(final, loss(), units, scale), model(None, loss(True), units, scale)
    first, accuracy = fused.evaluate(x, y, verbose=0)
    np.testing.assert_allclose(first, scale, rtol=1e-6)
    assert accuracy == 0
    for _ in range(3):
        assert fused.train_on_batch(x, y)[0] == explicit.train_on_batch(x, y)[0]
    for a, b in zip(fused.get_weights(), explicit.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    fused.fit(x, y, epochs=20, verbose=0)
    last, accuracy = fused.evaluate(x, y, verbose=0)
    assert last < 1 and accuracy == 1


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_rows_that_are_not_finite_stop_the_step(loss, bad, isa):
    """The loss is what IEEE arithmetic makes of its formula, which the reference repeats."""
    x = np.array([[0.5, bad, 1.0], [0.0, 0.0, 0.0]])
    t = np.array([1, 0], np.int32) if loss.startswith("sparse") else np.eye(3)[[1, 0]]

    def build(g: _core.Graph, v: dict[str, int]) -> list[int]:
        y = g.dense(v["x"], v["w"])
        value = g.loss(loss, v["t"], outputs(loss)(g, y))
        (dw,) = g.gradients(value, [v["w"]])
        assert dw is not None
        g.sgd(v["w"], dw)
        return [value]

    value, _ = loss_and_gradient(loss, outputs(loss), x, t, isa)
    with np.errstate(all="ignore"):
        if not loss.startswith("sparse"):  # its reference multiplies by a one-hot row of zeros
            np.testing.assert_array_equal(value, getattr(reference, loss + "_from_logits")(t, x))
    assert not np.isfinite(value)
    net = Net(build, {"x": x, "t": t}, {"w": np.eye(3)}, Setting(isa))
    with pytest.raises(NumericError):
        net.run(learning_rate=1.0, step=1)
    np.testing.assert_array_equal(net.parameters.get("w"), np.eye(3))
