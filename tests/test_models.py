# SPDX-License-Identifier: Apache-2.0
"""Models as graphs of layers: names, shapes, weights, branches, summaries."""

from __future__ import annotations

import copy
import gc
import weakref

import numpy as np
import pytest

import pycnn
from pycnn import layers, reference
from pycnn.errors import ShapeError
from pycnn.layers import Add, Conv2D, Dense, Flatten, GlobalAveragePooling2D, Input
from pycnn.models import Model, Sequential


def residual():
    x = Input((6, 6, 4), name="image")
    y = Conv2D(4, 3, padding="same", activation="relu")(x)
    y = Conv2D(4, 3, padding="same")(y)
    y = layers.Activation("relu")(Add()([x, y]))
    return Model(x, Dense(3, activation="softmax")(GlobalAveragePooling2D()(y)), name="net")


def test_names_number_the_layers_of_a_kind():
    model = Sequential([Dense(3, input_dim=2), Dense(3), Dense(3, name="last"), Dense(3)])
    assert [layer.name for layer in model.layers] == ["dense", "dense_1", "last", "dense_2"]
    assert [v.path for v in model.weights][:4] == [
        "dense/kernel", "dense/bias", "dense_1/kernel", "dense_1/bias",
    ]  # fmt: skip


def test_names_do_not_depend_on_earlier_models():
    first, second = residual(), residual()
    assert [a.name for a in first.layers] == [b.name for b in second.layers]
    assert first.layers[0].name == "image"


def test_duplicate_names_are_refused():
    with pytest.raises(ValueError, match="names must be unique, got 'a' twice"):
        Sequential([Dense(3, input_dim=2, name="a"), Dense(3, name="a")])
    x = Input((2,))
    with pytest.raises(ValueError, match="names must be unique, got 'a' twice"):
        Model(x, Dense(3, name="a")(Dense(3, name="a")(x)))


def test_sequential_grows_with_and_without_a_known_input():
    known = Sequential([Input((5, 5, 1)), Conv2D(2, 3)])
    assert known.output_shape == (None, 3, 3, 2)
    known.add(Flatten())
    assert known.output_shape == (None, 18)
    late = Sequential([Conv2D(2, 3)])
    late.add(Flatten())
    assert late.layers[0].get_weights() == []
    with pytest.raises(ValueError, match="needs at least one layer and the shape of its input"):
        late.get_weights()
    assert late.predict(np.zeros((2, 5, 5, 1))).shape == (2, 18)
    assert late.input_shape == (None, 5, 5, 1)
    with pytest.raises(ShapeError, match="expected shape"):
        late.predict(np.zeros((2, 6, 6, 1)))


def test_build_that_fails_can_be_repeated():
    model = Sequential([Conv2D(2, 3), Flatten(), Dense(2)])
    with pytest.raises(ShapeError):
        model.build((None, 2, 2, 1))
    model.build((None, 4, 4, 1))
    assert model.count_params() == 20 + 18


def test_add_that_fails_changes_nothing():
    model = Sequential([Input((5,)), Dense(3)])
    with pytest.raises(ShapeError):
        model.add(Conv2D(2, 3))
    model.add(Dense(2))
    assert model.output_shape == (None, 2)


def test_weights_survive_add_and_pop():
    model = Sequential([Dense(3, input_dim=2)])
    kernel, bias = model.get_weights()
    model.layers[0].set_weights([kernel, bias + 1])
    model.add(Dense(4))
    np.testing.assert_array_equal(model.get_weights()[0], kernel)
    np.testing.assert_array_equal(model.get_weights()[1], bias + 1)
    assert model.pop().name == "dense_1"
    assert len(model.get_weights()) == 2
    model.add(Dense(4))
    assert model.layers[-1].name == "dense_1"


def test_layers_come_and_go_after_compile_and_training():
    model = Sequential([Dense(3, input_dim=2)])
    model.compile("sgd", "mse")
    x, y = np.ones((4, 2)), np.ones((4, 3))
    model.fit(x, y, verbose=0)
    kernel = model.get_weights()[0]
    model.add(Dense(1))
    np.testing.assert_array_equal(model.get_weights()[0], kernel)
    model.fit(x, y[:, :1], verbose=0)
    assert (model.get_weights()[0] != kernel).any()
    kernel = model.get_weights()[0]
    model.pop()
    np.testing.assert_array_equal(model.get_weights()[0], kernel)
    model.fit(x, y, verbose=0)


def test_sequential_refusals():
    with pytest.raises(TypeError, match="add takes a layer, got 'Dense'"):
        Sequential(["Dense"])
    with pytest.raises(ValueError, match="the input must come first"):
        Sequential([Dense(3), Input((3,))])
    layer = Dense(3, input_dim=3)
    with pytest.raises(ValueError, match="already in the model"):
        Sequential([layer, layer])
    with pytest.raises(ValueError, match="no layer to pop"):
        Sequential().pop()


def test_weights_of_layers_before_anything_ran():
    model = Sequential([Input((4, 4, 1)), Conv2D(2, 3), layers.BatchNormalization()])
    shapes = [w.shape for w in model.layers[1].get_weights()]
    assert shapes == [(2,)] * 4
    assert [v.name for v in model.layers[1].weights] == [
        "gamma", "beta", "moving_mean", "moving_variance",
    ]  # fmt: skip
    assert [v.trainable for v in model.layers[1].weights] == [True, True, False, False]
    assert len(model.trainable_weights) == 4
    assert len(model.non_trainable_weights) == 2


def test_set_weights_is_all_or_nothing():
    model = Sequential([Dense(3, input_dim=2), Dense(2)])
    before = model.get_weights()
    with pytest.raises(ShapeError, match=r"dense_1/bias: expected shape \(2,\), got \(3,\)"):
        model.set_weights([w + 1 for w in before[:3]] + [np.zeros(3)])
    with pytest.raises(ValueError, match="expected 4 weights, got 3"):
        model.set_weights(before[:3])
    for got, want in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(got, want)


def test_get_weights_returns_copies():
    model = Sequential([Dense(3, input_dim=2)])
    model.get_weights()[0][...] = 7
    assert (model.get_weights()[0] != 7).all()


def test_functional_model_branches_and_joins():
    model = residual()
    assert model.input_shape == (None, 6, 6, 4)
    assert model.output_shape == (None, 3)
    x = np.random.default_rng(0).standard_normal((5, 6, 6, 4)).astype(np.float32)
    w = dict(zip([v.path for v in model.weights], model.get_weights(), strict=True))
    y = reference.conv2d(x, w["conv2d/kernel"], w["conv2d/bias"], padding="same")
    y = np.maximum(y, 0)
    y = reference.conv2d(y, w["conv2d_1/kernel"], w["conv2d_1/bias"], padding="same")
    y = np.maximum(x + y, 0).mean(axis=(1, 2))
    want = reference.softmax(y @ w["dense/kernel"] + w["dense/bias"])
    np.testing.assert_allclose(model.predict(x), want, atol=1e-5)


def test_several_inputs_and_outputs():
    a, b = Input((3,)), Input((3,))
    total = Add()([a, b])
    model = Model([a, b], [total, Flatten()(a)])
    x, y = np.ones((4, 3)), np.arange(12).reshape(4, 3)
    got = model.predict([x, y])
    np.testing.assert_array_equal(got[0], x + y)
    np.testing.assert_array_equal(got[1], x)
    with pytest.raises(ValueError, match="expected a list of 2 input arrays"):
        model.predict(x)
    with pytest.raises(ValueError, match="differ in their number of samples"):
        model.predict([x, y[:2]])
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="fit needs 1 output, got 2"):
        model.fit([x, y], x)


def test_predict_on_batch_counts_samples_not_inputs(monkeypatch):
    a, b = Input((3,)), Input((3,))
    model = Model([a, b], Add()([a, b]))
    batches = []
    prediction = Model.predict

    def predict(self, x, batch_size):
        batches.append(batch_size)
        return prediction(self, x, batch_size)

    monkeypatch.setattr(Model, "predict", predict)
    x, y = np.ones((4, 3)), np.arange(12).reshape(4, 3)
    np.testing.assert_array_equal(model.predict_on_batch([x, y]), x + y)
    assert batches == [4]


def test_a_layer_called_twice_shares_its_weights():
    x = Input((3,))
    dense = Dense(3)
    model = Model(x, dense(dense(x)))
    assert len(model.get_weights()) == 2
    kernel = np.diag([2.0, 3.0, 4.0])
    model.set_weights([kernel, np.ones(3)])
    np.testing.assert_array_equal(model.predict(np.ones((1, 3))), [[7.0, 13.0, 21.0]])
    wide = Input((4,))
    with pytest.raises(ShapeError, match="used twice with different inputs"):
        Model(wide, dense(Dense(5)(dense(wide))))


def test_part_of_a_model_shares_the_weights():
    whole = residual()
    features = Model(whole.input, whole.get_layer("global_average_pooling2d").output)
    x = np.ones((2, 6, 6, 4), np.float32)
    before = features.predict(x)
    whole.get_layer("conv2d_1").set_weights([np.zeros((3, 3, 4, 4)), np.zeros(4)])
    np.testing.assert_array_equal(features.predict(x), x.mean(axis=(1, 2)))
    assert (before != features.predict(x)).any()


def test_a_new_head_on_a_trained_model_shares_its_layers():
    base = residual()
    base.compile("sgd", "sparse_categorical_crossentropy")
    x, y = np.random.default_rng(0).standard_normal((4, 6, 6, 4)), np.arange(4) % 2
    base.fit(x, y, verbose=0)
    pooled = base.get_layer("global_average_pooling2d")
    new = Model(base.input, Dense(2, activation="softmax")(pooled.output))
    np.testing.assert_array_equal(new.get_weights()[0], base.get_weights()[0])
    new.compile("sgd", "sparse_categorical_crossentropy")
    before = base.get_weights()
    new.fit(x, y, verbose=0)
    assert (base.get_weights()[0] != before[0]).any()
    np.testing.assert_array_equal(new.get_weights()[0], base.get_weights()[0])
    np.testing.assert_array_equal(base.get_weights()[-1], before[-1])  # the old head


def test_graphs_that_do_not_hold_together():
    x, other = Input((3,), name="x"), Input((3,), name="other")
    y = Dense(2)(x)
    with pytest.raises(ValueError, match="disconnected: <Tensor other"):
        Model(x, Add()([x, other]))
    with pytest.raises(ValueError, match=r"input <Tensor other .* is not used"):
        Model([x, other], y)
    with pytest.raises(ValueError, match=r"inputs must come from Input\(\)"):
        Model(y, Dense(2)(y))
    with pytest.raises(ValueError, match="an input is listed twice"):
        Model([x, x], y)
    with pytest.raises(ValueError, match="at least one input"):
        Model([], [])


def test_deep_models_need_no_recursion():
    x = y = Input((4,))
    for _ in range(3000):
        y = layers.Activation("relu")(y)
    model = Model(x, y)
    np.testing.assert_array_equal(model.predict([[1.0, -1.0, 2.0, 0.0]]), [[1, 0, 2, 0]])
    assert model.layers[-1].name == "activation_2999"


def test_get_layer():
    model = residual()
    assert model.get_layer("dense").units == 3
    assert model.get_layer(index=0).name == "image"
    with pytest.raises(ValueError, match=r"expected the name of a layer \(image, conv2d, "):
        model.get_layer("no")
    with pytest.raises(ValueError, match="a name or an index"):
        model.get_layer()


def test_summary_shows_shapes_parameters_and_macs():
    lines: list[str] = []
    residual().summary(print_fn=lines.append)
    text = "\n".join(lines)
    assert "conv2d (Conv2D)" in text
    assert "(None, 6, 6, 4)" in text
    row = next(line for line in text.splitlines() if line.startswith("conv2d_1 "))
    assert row.split()[-3:] == ["148", "5,184", "conv2d"]
    assert "parameters: 311 (311 trainable, 0 not)" in text
    assert f"MACs a sample: {2 * 5184 + 12:,}" in text
    assert max(map(len, text.splitlines())) <= 120


def test_summary_counts_a_frozen_layer_as_not_trainable(capsys):
    model = Sequential([Dense(3, input_dim=2, trainable=False), layers.BatchNormalization()])
    model.summary()
    assert "parameters: 21 (6 trainable, 15 not)" in capsys.readouterr().out


def test_seed_decides_the_initial_weights():
    def weights(seed):
        pycnn.set_seed(seed)
        return [model.get_weights()[0] for model in (residual(), residual())]

    first, second = weights(1)
    again, _ = weights(1)
    other, _ = weights(2)
    np.testing.assert_array_equal(first, again)
    assert (first != second).any()
    assert (first != other).any()
    for bad in (-1, 2**32, 1.5, None, "1"):
        with pytest.raises(ValueError, match="set_seed: seed must be an integer"):
            pycnn.set_seed(bad)
    pycnn.set_seed(0)


def test_variables():
    model = Sequential([Dense(3, input_dim=2)])
    kernel = model.weights[0]
    assert (kernel.path, kernel.name, kernel.shape) == ("dense/kernel", "kernel", (2, 3))
    kernel.assign([[1, 2, 3], [4, 5, 6]])
    np.testing.assert_array_equal(np.asarray(kernel), [[1, 2, 3], [4, 5, 6]])
    with pytest.raises(ShapeError, match=r"dense/kernel: expected shape \(2, 3\), got \(3,\)"):
        kernel.assign([1, 2, 3])


def test_models_are_freed():
    model = residual()
    model.predict(np.zeros((1, 6, 6, 4)))
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None


def test_copied_layers_have_weights_of_their_own():
    model = Sequential([Dense(3, input_dim=2)])
    before = model.get_weights()
    layer = copy.deepcopy(model.layers[0])
    assert repr(layer) == "Dense(units=3)"
    for got, want in zip(layer.get_weights(), before, strict=True):
        np.testing.assert_array_equal(got, want)
    layer.set_weights([w + 1 for w in before])
    np.testing.assert_array_equal(model.get_weights()[0], before[0])
    other = Sequential([Input((2,)), layer])
    np.testing.assert_array_equal(other.get_weights()[0], before[0] + 1)
    with pytest.raises(ShapeError, match="used twice with different inputs"):
        Sequential([Input((5,)), copy.deepcopy(layer)])
