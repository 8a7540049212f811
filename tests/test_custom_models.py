# SPDX-License-Identifier: Apache-2.0
"""Models that users write as subclasses with call()."""

from __future__ import annotations

import numpy as np
import pytest
from user_layers import Fails, Linear, Mlp

import pycnn
from pycnn import Model, Sequential, layers, ops
from pycnn.errors import ShapeError

RNG = np.random.default_rng(0)


class Residual(Model):
    """As a subclass of keras.Model is written."""

    def __init__(self):
        super().__init__()
        self.first = layers.Dense(4, activation="relu")
        self.drop = layers.Dropout(0.5)
        self.blocks = {"a": Linear(4), "b": [layers.Dense(2)]}

    def call(self, x, training=False):
        hidden = self.drop(self.first(x), training=training)
        return self.blocks["b"][0](x + self.blocks["a"](hidden))


def test_subclassed_models():
    pycnn.set_seed(1)
    model = Residual()
    with pytest.raises(ValueError, match="residual: the shape of its input is not known"):
        _ = model.weights
    model.compile(pycnn.optimizers.Adam(0.02), "mse")
    x = RNG.standard_normal((64, 4)).astype(np.float32)
    y = x[:, :2] - x[:, 2:]
    history = model.fit(x, y, epochs=40, batch_size=16, verbose=0).history
    assert history["loss"][-1] < 0.5 * history["loss"][0]
    assert [layer.name for layer in model.layers] == ["dense", "dropout", "linear", "dense_1"]
    w0, b0, w1, b1, w2, b2 = model.get_weights()
    hidden = np.maximum(x @ w0 + b0, 0)
    expected = (x + hidden @ w1 + b1) @ w2 + b2
    np.testing.assert_allclose(model.predict(x), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(model(x[:3]).numpy(), expected[:3], rtol=1e-4, atol=1e-5)
    lines = []
    model.summary(print_fn=lines.append)
    assert "50" in lines[0]


def test_subclassed_models_as_layers_and_on_shapes():
    inner = Residual()
    x = pycnn.Input((4,))
    outer = Model(x, ops.relu(inner(x)))
    assert inner.built and outer.count_params() == 50
    given = RNG.standard_normal((3, 4)).astype(np.float32)
    np.testing.assert_array_equal(outer.predict(given), np.maximum(inner.predict(given), 0))
    alone = Residual()
    alone.build((None, 4))
    with pytest.raises(ShapeError, match="residual: built for inputs of shape"):
        alone.build((None, 5))
    with pytest.raises(ShapeError):
        alone.predict(np.zeros((2, 5)))

    class Holder(layers.Layer):
        def __init__(self):
            super().__init__()
            self.model = Residual()

        def call(self, x):
            return self.model(x) * 2.0

    assert Model(x, Holder()(x)).count_params() == 50


def test_a_model_that_cannot_be_built_stays_as_it_was():
    class Picky(Model):
        def __init__(self):
            super().__init__()
            self.dense = layers.Dense(2)
            self.fails = Fails()

        def call(self, x):
            return self.dense(self.fails(x))

    model = Picky()
    with pytest.raises(ShapeError, match="expected 3 features"):
        model.predict(np.zeros((2, 4)))
    assert not model.built and not model.dense.weights and not model.fails.built
    assert model.predict(np.zeros((2, 3))).shape == (2, 2)


def test_initial_weights_follow_the_seed():
    """Those of layers inside layers, too."""
    made = []
    for _ in range(2):
        pycnn.set_seed(5)
        models = [Sequential([pycnn.Input((4,)), Mlp()]), Residual()]
        models[1].build((None, 4))
        made.append([w for model in models for w in model.get_weights()])
    for a, b in zip(*made, strict=True):
        np.testing.assert_array_equal(a, b)


def test_no_inputs_and_no_call():
    with pytest.raises(TypeError, match="Model: expected inputs and outputs, or a subclass"):
        Model()
    with pytest.raises(TypeError, match="expected inputs and outputs"):
        Model(pycnn.Input((3,)))
