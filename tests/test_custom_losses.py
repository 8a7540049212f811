# SPDX-License-Identifier: Apache-2.0
"""Losses and metrics that users write, ten of each kind as they are found in public examples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import pycnn
from pycnn import Sequential, layers, losses, metrics, ops
from pycnn.errors import NumericError

RNG = np.random.default_rng(0)
N, K = 12, 3
X = RNG.standard_normal((N, 4)).astype(np.float32)
T = RNG.random((N, K)).astype(np.float32)  # in 0..1
S = np.where(T > 0.5, 1, -1).astype(np.float32)


def huber(y_true, y_pred, delta=1.0):
    error = ops.abs(y_true - y_pred)
    quadratic = ops.minimum(error, delta)
    return ops.mean(0.5 * quadratic**2 + delta * (error - quadratic), axis=-1)


def mean_absolute_error(y_true, y_pred):
    return ops.mean(ops.abs(y_true - y_pred), axis=-1)


def log_cosh(y_true, y_pred):
    z = y_pred - y_true
    return ops.mean(z + ops.softplus(-2.0 * z) - ops.log(2.0), axis=-1)


def hinge(y_true, y_pred):
    return ops.mean(ops.maximum(1.0 - y_true * y_pred, 0.0), axis=-1)


def focal(y_true, y_pred, gamma=2.0, alpha=0.25):
    """Lin et al. 2017, on logits."""
    p = ops.sigmoid(y_pred)
    cross = ops.binary_crossentropy(y_true, y_pred, from_logits=True)
    p_t = y_true * p + (1 - y_true) * (1 - p)
    weight = y_true * alpha + (1 - y_true) * (1 - alpha)
    return ops.mean(weight * (1 - p_t) ** gamma * cross, axis=-1)


def dice(y_true, y_pred, smooth=1.0):
    p = ops.sigmoid(y_pred)
    overlap = ops.sum(y_true * p, axis=-1)
    return 1 - (2 * overlap + smooth) / (ops.sum(y_true, -1) + ops.sum(p, -1) + smooth)


def tversky(y_true, y_pred, alpha=0.7):
    p = ops.sigmoid(y_pred)
    hit = ops.sum(y_true * p, -1)
    missed, wrong = ops.sum(y_true * (1 - p), -1), ops.sum((1 - y_true) * p, -1)
    return 1 - (hit + 1) / (hit + alpha * missed + (1 - alpha) * wrong + 1)


def kl(y_true, y_pred):
    p = ops.softmax(y_pred)
    return ops.sum(y_true * ops.log(y_true / p), axis=-1)


def poisson(y_true, y_pred):
    return ops.mean(ops.exp(y_pred) - y_true * y_pred, axis=-1)


def cosine(y_true, y_pred):
    return -ops.sum(ops.normalize(y_true) * ops.normalize(y_pred), axis=-1)


def quantile(y_true, y_pred, q=0.8):
    error = y_true - y_pred
    return ops.mean(ops.where(error > 0, q * error, (q - 1) * error))


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def normalized(z):
    return z / np.linalg.norm(z, axis=-1, keepdims=True)


def np_huber(t, y):
    e = np.abs(t - y)
    return np.where(e < 1, e * e / 2, e - 0.5).mean()


def np_focal(t, y):
    p = sigmoid(y)
    cross = -(t * np.log(p) + (1 - t) * np.log(1 - p))
    hit = t * p + (1 - t) * (1 - p)
    return ((t * 0.25 + (1 - t) * 0.75) * (1 - hit) ** 2 * cross).mean()


def np_tversky(t, y):
    p = sigmoid(y)
    hit, missed, wrong = (t * p).sum(-1), (t * (1 - p)).sum(-1), ((1 - t) * p).sum(-1)
    return (1 - (hit + 1) / (hit + 0.7 * missed + 0.3 * wrong + 1)).mean()


# (loss, labels, the same in NumPy)
LOSSES: list[tuple[Callable[..., Any], Any, Callable[..., Any]]] = [
    (huber, 3 * T, np_huber),
    (mean_absolute_error, T, lambda t, y: np.abs(t - y).mean()),
    (log_cosh, T, lambda t, y: np.log(np.cosh(y - t)).mean()),
    (hinge, S, lambda t, y: np.maximum(1 - t * y, 0).mean()),
    (focal, (T > 0.5) * 1.0, np_focal),
    (
        dice,
        (T > 0.5) * 1.0,
        lambda t, y: (
            1 - (2 * (t * sigmoid(y)).sum(-1) + 1) / (t.sum(-1) + sigmoid(y).sum(-1) + 1)
        ).mean(),
    ),
    (tversky, (T > 0.5) * 1.0, np_tversky),
    (kl, softmax(T), lambda t, y: (t * np.log(t / softmax(y))).sum(-1).mean()),
    (poisson, T, lambda t, y: (np.exp(y) - t * y).mean()),
    (cosine, T, lambda t, y: -(normalized(t) * normalized(y)).sum(-1).mean()),
    (quantile, T, lambda t, y: np.where(t > y, 0.8 * (t - y), 0.2 * (y - t)).mean()),
]


def network() -> Sequential:
    return Sequential([pycnn.Input((4,)), layers.Dense(K)])


@pytest.mark.parametrize(("loss", "y", "numpy"), LOSSES, ids=lambda x: getattr(x, "__name__", ""))
def test_losses(loss, y, numpy):
    """The value; the gradient against differences of the weights; and it is learned from."""
    model = network()
    model.compile(pycnn.optimizers.SGD(1.0), loss)
    kernel, bias = (np.float64(w) for w in model.get_weights())

    def value(w, b):
        return numpy(np.float64(y), X @ w + b)

    np.testing.assert_allclose(model.test_on_batch(X, y), value(kernel, bias), rtol=1e-5)
    model.train_on_batch(X, y)
    gradient = kernel - model.get_weights()[0]
    for at in np.ndindex(kernel.shape):
        step = np.zeros_like(kernel)
        step[at] = 1e-5
        slope = (value(kernel + step, bias) - value(kernel - step, bias)) / 2e-5
        np.testing.assert_allclose(gradient[at], slope, rtol=2e-3, atol=2e-5)
    model.compile(pycnn.optimizers.Adam(0.03), loss)
    before = model.evaluate(X, y, verbose=0)
    model.fit(X, y, epochs=20, verbose=0)
    assert model.evaluate(X, y, verbose=0) < before


@pytest.mark.parametrize(("metric", "y", "numpy"), LOSSES, ids=lambda x: getattr(x, "__name__", ""))
def test_metrics(metric, y, numpy):
    """The same functions as metrics, over batches of unequal size."""
    model = network()
    model.compile("sgd", "mse", metrics=[metric])
    assert model.metrics_names == ["loss", metric.__name__]
    y = np.float32(y)
    scores = model.evaluate(X, y, batch_size=5, verbose=0, return_dict=True)
    parts = [numpy(np.float64(y[i : i + 5]), model.predict(X[i : i + 5])) for i in (0, 5, 10)]
    np.testing.assert_allclose(
        scores[metric.__name__], np.average(parts, weights=[5, 5, 2]), rtol=1e-4
    )


@pycnn.register_serializable("tests")
class Weighted(losses.Loss):
    def __init__(self, weight=2.0):
        super().__init__()
        self.weight = weight

    def call(self, y_true, y_pred):
        return self.weight * ops.square(y_true - y_pred)


class InRange(metrics.Metric):
    def __init__(self, width=0.5, name=None):
        super().__init__(name)
        self.width = width

    def call(self, y_true, y_pred):
        return ops.abs(y_true - y_pred) < self.width


def test_classes():
    model = network()
    model.compile("sgd", Weighted(3.0), metrics=[InRange(0.25), InRange(0.5, name="wide")])
    assert model.metrics_names == ["loss", "in_range", "wide"]
    loss, near, wide = model.test_on_batch(X, T)
    y = model.predict(X)
    np.testing.assert_allclose(loss, 3 * ((T - y) ** 2).mean(), rtol=1e-5)
    np.testing.assert_allclose([near, wide], [(abs(T - y) < w).mean() for w in (0.25, 0.5)], 1e-6)
    again = network()
    again.compile("sgd", Weighted)
    assert again.objective.loss.weight == 2.0


@pycnn.register_serializable("tests")
def half_square(y_true, y_pred):
    return 0.5 * ops.square(y_true - y_pred)


def test_files(tmp_path):
    model = network()
    for loss in (half_square, Weighted(3.0)):
        model.compile("sgd", loss, metrics=[half_square])
        model.save(tmp_path / "m.pycnn")
        again = pycnn.load_model(tmp_path / "m.pycnn")
        assert again.metrics_names == ["loss", "half_square"]
        np.testing.assert_array_equal(again.test_on_batch(X, T), model.test_on_batch(X, T))
    model.compile("sgd", huber)
    with pytest.raises(ValueError, match="huber is not registered: decorate it"):
        model.save(tmp_path / "m.pycnn")
    with pytest.raises(ValueError, match="'tests>absent' is not registered"):
        model.compile("sgd", "tests>absent")


def test_labels_of_any_shape():
    """Here: which of several outputs counts, and what it should be."""

    def chosen(y_true, y_pred):
        which = ops.one_hot(y_true[:, 0], K)
        return ops.square(ops.sum(which * y_pred, -1) - y_true[:, 1])

    place, value = RNG.integers(0, K, N), RNG.standard_normal(N)
    y = np.stack([place, value], axis=1)
    model = network()
    model.compile("sgd", chosen)
    expected = (model.predict(X)[np.arange(N), place] - value) ** 2
    np.testing.assert_allclose(model.test_on_batch(X, y), expected.mean(), rtol=1e-5)
    assert model.fit(X, y, epochs=1, verbose=0).history["loss"]
    model.compile("sgd", huber)
    model.fit(X, T, epochs=1, verbose=0)  # labels of another shape


def test_one_column_takes_labels_without_it():
    model = Sequential([pycnn.Input((4,)), layers.Dense(1)])
    model.compile("sgd", mean_absolute_error)
    flat = model.test_on_batch(X, T[:, 0])
    assert flat == model.test_on_batch(X, T[:, :1])


def test_the_same_bits_on_any_number_of_threads():
    results = []
    for count in (1, 2):
        pycnn.set_num_threads(count)
        pycnn.set_seed(3)
        model = network()
        model.compile("adam", focal, metrics=[dice])
        model.fit(np.repeat(X, 50, 0), np.repeat(T, 50, 0), epochs=3, batch_size=64, verbose=0)
        results.append([*model.get_weights(), model.evaluate(X, T, verbose=0)])
    pycnn.set_num_threads(0)
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)


def test_bad_losses():
    model = network()

    def to_numpy(y_true, y_pred):
        return np.zeros(3)

    model.compile("sgd", to_numpy)
    with pytest.raises(TypeError, match="loss: expected a tensor, got ndarray; losses and metrics"):
        model.fit(X, T, verbose=0)

    class NoCall(losses.Loss):
        pass

    model.compile("sgd", NoCall())
    with pytest.raises(NotImplementedError, match="NoCall: a loss needs call"):
        model.fit(X, T, verbose=0)
    model.compile("sgd", lambda t, y: ops.log(y - 100.0))
    before = model.get_weights()
    with pytest.raises(NumericError):
        model.fit(X, T, verbose=0)
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(TypeError, match="loss: expected a name or an object"):
        model.compile("sgd", 3)
