# SPDX-License-Identifier: Apache-2.0
"""Layers in more than one model: shared weights, names that stay, shapes that must fit."""

from __future__ import annotations

import numpy as np
import pytest

from pycnn import optimizers
from pycnn.errors import ShapeError
from pycnn.layers import Add, Dense, Flatten, Input
from pycnn.models import Model, Sequential

MISFIT = r"dense: used twice with different inputs: kernel of shape \(8, 4\) .* \(1600, 4\) now"


def two_towers():
    """Two models that share a layer, each with a layer of its own."""
    x, shared = Input((3,)), Dense(3)
    return Model(x, Dense(2)(shared(x))), Model(x, Dense(2)(shared(x)))


def test_a_built_layer_refuses_another_input_size_when_called():
    layer = Dense(4)
    a = Input((8,))
    Model(a, layer(a)).get_weights()
    with pytest.raises(ShapeError, match=MISFIT):
        layer(Input((1600,)))


def test_models_that_share_a_layer_must_agree_on_its_shape():
    layer = Dense(4)
    a = Input((8,))
    first = Model(a, layer(a))
    with pytest.raises(ShapeError, match=MISFIT):
        Sequential([Input((1600,)), layer])
    assert first.predict(np.ones((2, 8))).shape == (2, 4)


def test_a_later_model_does_not_rename_the_layers_of_an_earlier_one():
    x, layer, last = Input((3,)), Dense(3), Dense(3)
    first = Model(x, last(layer(x)))
    assert [each.name for each in first.layers[1:]] == ["dense", "dense_1"]
    Model(x, layer(Dense(3)(x)))  # the new layer makes way
    assert [each.name for each in first.layers[1:]] == ["dense", "dense_1"]
    assert len(first.get_weights()) == 4
    stack = Sequential([Dense(3, input_dim=3)])
    stack.add(layer)  # two models know them as "dense": one has another name in the third
    assert [each.name for each in stack.layers] == ["dense", "dense"]
    assert stack.get_layer("dense_1") is layer
    assert stack.predict(np.ones((1, 3))).shape == (1, 3)
    layer = Dense(3, name="mine")
    with pytest.raises(ValueError, match="layer names must be unique, got 'mine' twice"):
        Sequential([Dense(3, name="mine", input_dim=3), layer])


def test_weights_outlive_a_later_model_that_is_gone():
    x = Input((3,))
    y = Dense(2)(x)
    model = Model(x, y)
    Model(x, Flatten()(y))
    assert len(model.get_weights()) == 2


def test_inputs_of_two_models_may_meet_in_a_third():
    a, b = Input((3,)), Input((3,))
    Model(a, Flatten()(a)), Model(b, Flatten()(b))
    both = Model([a, b], Add()([a, b]))
    np.testing.assert_array_equal(both.predict([np.ones((2, 3)), np.ones((2, 3))]), 2)


def test_summary_of_a_part_counts_the_part(capsys):
    x = Input((3,))
    y = Dense(2)(x)
    whole = Model(x, Dense(5)(y))
    whole.get_weights()
    Model(x, y).summary()
    assert "parameters: 8 (8 trainable, 0 not)" in capsys.readouterr().out


def test_evaluating_one_model_keeps_the_training_state_of_the_other():
    x = Input((3,))
    hidden = Dense(3)(x)
    whole, part = Model(x, Dense(1)(hidden)), Model(x, hidden)
    whole.compile("adam", "mse")
    data = np.random.default_rng(0).standard_normal((6, 3)).astype(np.float32)
    whole.fit(data, data[:, :1], verbose=0)
    kernel = whole.layers[1].weights[0].core
    before = whole.optimizer.state.get(kernel, "m")
    assert before.any()
    part.compile("adam", "mse")
    part.evaluate(data, data, verbose=0)
    np.testing.assert_array_equal(whole.optimizer.state.get(kernel, "m"), before)


def test_each_optimizer_has_its_own_slots_of_a_shared_weight():
    """Finding 15: two models, two Adams, one layer; the moments of each see its own gradients."""
    first, second = two_towers()
    data = np.random.default_rng(0).standard_normal((6, 3)).astype(np.float32)
    for model in (first, second):
        model.compile("adam", "mse")
        model.train_on_batch(data, data[:, :2])
    kernel = first.layers[1].weights[0].core
    assert second.layers[1].weights[0].core is kernel
    slots = [model.optimizer.state.get(kernel, "m") for model in (first, second)]
    assert slots[0].any() and slots[1].any() and (slots[0] != slots[1]).any()
    first.compile("adam", "mse")  # does not touch the other's
    np.testing.assert_array_equal(second.optimizer.state.get(kernel, "m"), slots[1])
    assert (first.optimizer.iterations, second.optimizer.iterations) == (0, 1)


def test_an_optimizer_may_train_two_models():
    adam = optimizers.Adam()
    first, second = two_towers()
    data = np.random.default_rng(0).standard_normal((6, 3)).astype(np.float32)
    for model in (first, second):
        model.compile(adam, "mse")
        model.train_on_batch(data, data[:, :2])
    assert adam.iterations == 2
