# SPDX-License-Identifier: Apache-2.0
"""Layers that users write: traced, trained, nested, called on arrays, saved by registered name."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
from user_layers import Fails, Linear, Mlp, Scale

import pycnn
from pycnn import Model, Sequential, layers, ops
from pycnn.engine.traced import Array
from pycnn.errors import ModelFormatError, ShapeError
from pycnn.files import topology

RNG = np.random.default_rng(0)


def reference_mlp(model: Model, x):
    kernels = model.get_weights()
    for w, b in (kernels[:2], kernels[2:4]):
        x = np.maximum(x @ w + b, 0)
    return x @ kernels[4] + kernels[5]


def test_weights_and_values():
    x = pycnn.Input((4,))
    layer = Linear(3)
    model = Model(x, layer(x))
    assert layer.built and [v.name for v in layer.weights] == ["w", "b"]
    assert model.count_params() == 15 and model.output_shape == (None, 3)
    given = RNG.standard_normal((5, 4)).astype(np.float32)
    w, b = layer.get_weights()
    np.testing.assert_allclose(model.predict(given), given @ w + b, rtol=1e-5, atol=1e-6)
    layer.set_weights([2 * w, b + 1])
    np.testing.assert_allclose(model.predict(given), given @ (2 * w) + b + 1, rtol=1e-5, atol=1e-5)


def test_it_learns():
    x = RNG.standard_normal((256, 4)).astype(np.float32)
    y = x @ RNG.standard_normal((4, 2)).astype(np.float32) + 0.5
    model = Sequential([pycnn.Input((4,)), Linear(2)])
    model.compile(pycnn.optimizers.Adam(0.05), "mse")
    before = model.evaluate(x, y, verbose=0)
    model.fit(x, y, epochs=30, verbose=0)
    assert model.evaluate(x, y, verbose=0) < 1e-3 * before


def test_gradients_are_those_of_the_same_layer_in_one_piece():
    """Linear is Dense, written out: a step changes both alike."""
    x = RNG.standard_normal((8, 4)).astype(np.float32)
    y = RNG.standard_normal((8, 3)).astype(np.float32)
    models = [Sequential([pycnn.Input((4,)), layer]) for layer in (Linear(3), layers.Dense(3))]
    models[1].set_weights(models[0].get_weights())
    for model in models:
        model.compile(pycnn.optimizers.SGD(0.1), "mse")
        model.train_on_batch(x, y)
    for a, b in zip(models[0].get_weights(), models[1].get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_training_is_passed():
    x, y = np.ones((4, 2), np.float32), np.zeros((4, 2), np.float32)
    model = Sequential([pycnn.Input((2,)), Scale()])
    model.compile(pycnn.optimizers.SGD(0.0), "mse")
    assert model.train_on_batch(x, y) == 4  # (2 * 1) ** 2
    assert model.test_on_batch(x, y) == 1
    scale = Scale()
    assert scale(x, training=True).tolist() == [[2, 2]] * 4
    assert scale(x).tolist() == [[1, 1]] * 4
    inside = pycnn.Input((2,))
    always = Model(inside, scale(inside, training=True))
    assert always.predict(x).tolist() == [[2, 2]] * 4


def test_layers_inside_a_layer():
    model = Sequential([pycnn.Input((4,)), Mlp(name="mlp")])
    paths = list(model.network.variables)
    assert paths == [
        *("mlp/dense/kernel", "mlp/dense/bias", "mlp/dense_1/kernel", "mlp/dense_1/bias"),
        *("mlp/linear/w", "mlp/linear/b"),
    ]
    x = RNG.standard_normal((5, 4)).astype(np.float32)
    np.testing.assert_allclose(model.predict(x), reference_mlp(model, x), rtol=1e-5, atol=1e-5)
    assert model.count_params() == sum(v.size for v in model.layers[0].weights) == 93
    y = RNG.standard_normal((5, 3)).astype(np.float32)
    model.compile("sgd", "mse")
    before = model.get_weights()
    model.train_on_batch(x, y)
    assert all((a != b).any() for a, b in zip(before, model.get_weights(), strict=True))


def test_frozen_layers_inside_a_layer():
    layer = Mlp()
    model = Sequential([pycnn.Input((4,)), layer])
    layer.blocks[0].trainable = False
    assert len(model.trainable_weights) == 4
    model.compile("sgd", "mse")
    before = model.get_weights()
    model.train_on_batch(np.ones((2, 4)), np.ones((2, 3)))
    changed = [(a != b).any() for a, b in zip(before, model.get_weights(), strict=True)]
    assert changed[:2] == [False, False] and all(changed[2:4])
    layer.trainable = False
    assert not model.trainable_weights and not layer.head.trainable


def test_a_layer_used_twice_shares_its_weights():
    x, y = pycnn.Input((4,)), pycnn.Input((4,))
    layer = Linear(2)
    model = Model([x, y], layer(x) - layer(y))
    assert model.count_params() == 10
    given = RNG.standard_normal((3, 4)).astype(np.float32)
    np.testing.assert_array_equal(model.predict([given, given]), np.zeros((3, 2)))


class TwoEnds(layers.Layer):
    """Several inputs, and results in a dict."""

    def call(self, a, b, factor=1.0):
        return {"sum": (a + b) * factor, "largest": [ops.maximum(a, b), ops.argmax(a, -1)]}


def test_several_inputs_and_outputs():
    x, y = pycnn.Input((3,)), pycnn.Input((3,))
    made = TwoEnds()(x, y, factor=2.0)
    assert made["largest"][1].dtype == "int32" and made["sum"].shape == (None, 3)
    model = Model([x, y], [made["sum"], *made["largest"]])
    a, b = RNG.standard_normal((2, 5, 3)).astype(np.float32)
    total, largest, place = model.predict([a, b])
    np.testing.assert_allclose(total, 2 * (a + b), rtol=1e-6)
    np.testing.assert_array_equal(largest, np.maximum(a, b))
    np.testing.assert_array_equal(place, a.argmax(-1))
    assert place.dtype == np.int32
    at_once = TwoEnds()(a, b)
    np.testing.assert_array_equal(at_once["largest"][0], np.maximum(a, b))
    assert isinstance(at_once["sum"], Array)


class Activity(layers.Layer):
    def call(self, x):
        self.add_loss(0.5 * ops.sum(ops.square(x)))
        return x


def test_losses_that_layers_add():
    x = RNG.standard_normal((4, 3)).astype(np.float32)
    model = Sequential([pycnn.Input((3,)), layers.Dense(2, use_bias=False), Activity()])
    y = np.zeros((4, 2), np.float32)
    (w,) = model.get_weights()
    model.compile(pycnn.optimizers.SGD(0.1), "mse")
    loss = model.train_on_batch(x, y)
    z = x @ w
    np.testing.assert_allclose(loss, (z**2).mean() + 0.5 * (z**2).sum(), rtol=1e-5)
    gradient = x.T @ (2 * z / z.size + z)
    np.testing.assert_allclose(model.get_weights()[0], w - 0.1 * gradient, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        model.test_on_batch(x, model.predict(x)), 0.5 * np.sum(model.predict(x) ** 2), rtol=1e-5
    )


def test_files(tmp_path):
    x = pycnn.Input((4,), name="x")
    y = ops.gelu(Linear(3, name="first")(x)[:, ::2] * np.float32([1, 2]), approximate=False)
    model = Model(x, Scale(name="second")(y))
    model.save(tmp_path / "m.pycnn")
    again = pycnn.load_model(tmp_path / "m.pycnn")
    given = RNG.standard_normal((5, 4)).astype(np.float32)
    np.testing.assert_array_equal(again.predict(given), model.predict(given))
    assert type(again.get_layer("first")) is Linear and again.get_layer("first").units == 3
    np.testing.assert_array_equal(copy.deepcopy(model).predict(given), model.predict(given))


def test_files_name_registered_classes_only(tmp_path):
    model = Sequential([pycnn.Input((4,)), Mlp()])
    with pytest.raises(ValueError, match="is not a layer of pycnn and not registered"):
        model.save(tmp_path / "m.pycnn")
    model = Sequential([pycnn.Input((4,)), Linear(3)])
    with pytest.raises(ModelFormatError, match="is not registered: decorate it"):
        made_again(model, "tests>Linear", "tests>Absent")


def made_again(model: Model, old: str, new: str) -> Model:
    """The model of its description, with a change."""
    text = json.dumps(topology.describe(model, model.network), separators=(",", ":"))
    assert old in text
    return topology.make_model(json.loads(text.replace(old, new)))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"function":"gelu"', '"function":"eval"', "unknown function"),
        ('"approximate":false', '"approximation":false', "approximation"),
        ('"tensor":0', '"tensor":7', "input 7 of 1"),
        ('"tensor":0', '"tensor":-1', "input -1 of 1"),
        ('"tensor":0', '"tensoR":0', "unknown argument"),
        ('"dtype":"float32"', '"dtype":"object"', "unknown argument"),
        ('"args":[', '"more":1,"args":[', "expected function, args, kwargs and name"),
    ],
)
def test_hostile_operations(old, new, message):
    x = pycnn.Input((4,))
    model = Model(x, ops.gelu(layers.Dense(2)(x), approximate=False))
    with pytest.raises((ModelFormatError, ValueError, TypeError), match=message):
        made_again(model, old, new)


def test_it_is_data_without_python():
    """The graph of a user's layer holds ops alone: a C program needs no Python to run it."""
    x = pycnn.Input((4,))
    program = Model(x, Mlp()(x)).program()
    assert json.loads(json.dumps(program)) == program
    known = set(pycnn._core.ops())
    assert {node["op"] for node in program["nodes"]} <= known


class NoCall(layers.Layer):
    pass


class NoInit(layers.Layer):
    def __init__(self):
        self.units = 3

    def call(self, x):
        return x


class Returns(layers.Layer):
    def call(self, x):
        return np.zeros(3)


class Leaks(layers.Layer):
    kept = None

    def call(self, x):
        before, self.kept = self.kept, x
        return x if before is None else x + before


def test_bad_layers():
    x = pycnn.Input((4,))
    with pytest.raises(NotImplementedError, match="NoCall: a layer needs call"):
        NoCall()(x)
    with pytest.raises(RuntimeError, match="__init__ must call super"):
        NoInit()(x)
    with pytest.raises(TypeError, match=r"returns: call\(\) must return tensors, got ndarray"):
        Returns()(x)
    leaks = Leaks()
    leaks(x)
    with pytest.raises(ValueError, match="a tensor of another call is used here"):
        leaks(x)
    with pytest.raises(TypeError, match="unexpected keyword argument 'factor'"):
        Linear(2)(x, factor=3)
    with pytest.raises(TypeError, match="dense: has no argument 'factor'"):
        layers.Dense(2)(x, factor=3)
    with pytest.raises(ValueError, match="has a weight 'w' already"):
        layer = Linear(2)
        layer(x)
        layer.add_weight((2,), name="w")


def test_a_refused_call_leaves_nothing():
    layer = Fails()
    model = Sequential([layer])
    with pytest.raises(ShapeError, match="expected 3 features"):
        model.build((None, 4))
    assert not layer.built and not layer.weights
    model.build((None, 3))
    assert model.count_params() == 3


def test_a_weight_of_another_layer():
    class Tied(layers.Layer):
        def __init__(self, other):
            super().__init__()
            self._other = other

        def call(self, y):
            return ops.sum(ops.expand_dims(y, 1) * self._other.w, axis=-1)

    x = pycnn.Input((4,))
    first = Linear(3)
    hidden = first(x)
    with pytest.raises(ValueError, match="a weight of a layer that has not been called before"):
        Tied(first)(hidden)
