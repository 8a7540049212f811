# SPDX-License-Identifier: Apache-2.0
"""Optimizers that users write: traced, with slots, in the step and in files."""

from __future__ import annotations

import numpy as np
import pytest

import pycnn
from pycnn import Sequential, layers, ops, optimizers
from pycnn.errors import NumericError

RNG = np.random.default_rng(0)
X = RNG.standard_normal((16, 8, 8, 2)).astype(np.float32)
Y = RNG.integers(0, 3, 16)


@pycnn.register_serializable("tests")
class RMSprop(optimizers.Optimizer):
    all_slots = ("velocity",)

    def __init__(self, learning_rate=0.01, rho=0.9):
        super().__init__(learning_rate)
        self.rho = rho

    def update(self, gradient, weight, slots, learning_rate, step):
        v = self.rho * slots["velocity"] + (1 - self.rho) * gradient**2
        return weight - learning_rate * gradient * ops.rsqrt(v + 1e-7), {"velocity": v}


class AdamW(optimizers.Optimizer):
    all_slots = ("m", "v")

    def update(self, gradient, weight, slots, learning_rate, step):
        m = 0.9 * slots["m"] + 0.1 * gradient
        v = 0.999 * slots["v"] + 0.001 * gradient**2
        rate = learning_rate * ops.sqrt(1 - 0.999**step) / (1 - 0.9**step)
        weight = weight - learning_rate * 0.01 * weight
        return weight - rate * m / (ops.sqrt(v) + 1e-7), {"m": m, "v": v}


class Lion(optimizers.Optimizer):
    all_slots = ("m",)

    def update(self, gradient, weight, slots, learning_rate, step):
        m = slots["m"]
        direction = ops.sign(0.9 * m + 0.1 * gradient)
        return weight - learning_rate * direction, {"m": 0.99 * m + 0.01 * gradient}


class PlainSgd(optimizers.Optimizer):
    def update(self, gradient, weight, slots, learning_rate, step):
        return weight - learning_rate * gradient


def network() -> Sequential:
    pycnn.set_seed(1)
    return Sequential(
        [
            pycnn.Input((8, 8, 2)),
            layers.Conv2D(5, 3, activation="relu"),
            layers.Flatten(),
            layers.Dense(3, activation="softmax"),
        ]
    )


def trained(optimizer, steps=5):
    model = network()
    model.compile(optimizer, "sparse_categorical_crossentropy")
    for _ in range(steps):
        model.train_on_batch(X, Y)
    return model


def assert_same_weights(a, b, tolerance):
    for u, v in zip(a.get_weights(), b.get_weights(), strict=True):
        np.testing.assert_allclose(u, v, rtol=tolerance, atol=tolerance)


def test_the_ones_we_have_written_again():
    """Kernels are packed, and their updates run on them as they lie."""
    assert_same_weights(trained(PlainSgd(0.1)), trained(optimizers.SGD(0.1)), 1e-6)
    ours = trained(optimizers.Adam(0.01, weight_decay=0.01))
    assert_same_weights(trained(AdamW(0.01)), ours, 2e-5)


@pytest.mark.parametrize("kind", [RMSprop, Lion, AdamW])
def test_they_learn_and_keep_their_arrays(kind):
    model = network()
    model.compile(kind(0.01), "sparse_categorical_crossentropy")
    history = model.fit(X, Y, epochs=20, batch_size=8, verbose=0).history
    assert history["loss"][-1] < 0.5 * history["loss"][0]
    kernel = model.layers[0].weights[0]
    for slot in kind.all_slots:
        array = model.optimizer.state.get(kernel.core, slot)
        assert array.shape == kernel.shape and np.abs(array).max() > 0
    assert model.optimizer.iterations == 40


def test_rmsprop_is_its_formula():
    x = RNG.standard_normal((6, 4)).astype(np.float32)
    y = RNG.standard_normal((6, 2)).astype(np.float32)
    model = Sequential([pycnn.Input((4,)), layers.Dense(2, use_bias=False)])
    model.compile(RMSprop(0.05, rho=0.8), "mse")
    w = np.float64(model.get_weights()[0])
    v = np.zeros_like(w)
    for _ in range(4):
        model.train_on_batch(x, y)
        g = 2 * x.T @ (x @ w - y) / y.size
        v = 0.8 * v + 0.2 * g * g
        w -= 0.05 * g / np.sqrt(v + 1e-7)
    np.testing.assert_allclose(model.get_weights()[0], w, rtol=1e-4, atol=1e-5)


def test_the_same_bits_on_any_number_of_threads():
    results = []
    for count in (1, 2):
        pycnn.set_num_threads(count)
        results.append(trained(AdamW(0.01)).get_weights())
    pycnn.set_num_threads(0)
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_resumed_training_is_the_same(tmp_path):
    whole = trained(RMSprop(0.01), 6)
    half = trained(RMSprop(0.01), 3)
    half.save(tmp_path / "m.pycnn")
    again = pycnn.load_model(tmp_path / "m.pycnn")
    assert type(again.optimizer) is RMSprop and again.optimizer.iterations == 3
    for _ in range(3):
        again.train_on_batch(X, Y)
    for a, b in zip(whole.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_rate_may_change():
    model = trained(PlainSgd(0.1), 1)
    before = model.get_weights()
    model.optimizer.learning_rate = 0.0
    model.train_on_batch(X, Y)
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_an_update_that_overflows_changes_nothing():
    class Explodes(optimizers.Optimizer):
        all_slots = ("m",)

        def update(self, gradient, weight, slots, learning_rate, step):
            return weight * 1e38 * 1e38, {"m": gradient}

    model = network()
    model.compile(Explodes(0.1), "sparse_categorical_crossentropy")
    before = model.get_weights()
    with pytest.raises(NumericError):
        model.train_on_batch(X, Y)
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert model.optimizer.iterations == 0


def test_bad_optimizers():
    class Nothing(optimizers.Optimizer):
        pass

    class NoSlots(optimizers.Optimizer):
        all_slots = ("m",)

        def update(self, gradient, weight, slots, learning_rate, step):
            return weight

    class Numpy(optimizers.Optimizer):
        def update(self, gradient, weight, slots, learning_rate, step):
            return np.zeros(3)

    for kind, error, message in (
        (Nothing, NotImplementedError, r"Nothing: an optimizer needs update\(self"),
        (NoSlots, ValueError, r"NoSlots: update\(\) must return new arrays for the slots \('m',\)"),
        (Numpy, TypeError, r"Numpy: update\(\) must return tensors, got ndarray"),
    ):
        model = network()
        model.compile(kind(0.1), "sparse_categorical_crossentropy")
        with pytest.raises(error, match=message):
            model.train_on_batch(X, Y)
