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
    a, b = Input((8,)), Input((1600,))
    first, second = Model(a, layer(a)), Model(b, layer(b))
    first.get_weights()
    with pytest.raises(ShapeError, match=MISFIT):
        second.predict(np.ones((2, 1600), np.float32))
    assert first.predict(np.ones((2, 8))).shape == (2, 4)


def test_a_later_model_does_not_rename_the_layers_of_an_earlier_one():
    x, layer, last = Input((3,)), Dense(3), Dense(3)
    first = Model(x, last(layer(x)))
    assert [each.name for each in first.layers[1:]] == ["dense", "dense_1"]
    Model(x, layer(Dense(3)(x)))  # the new layer makes way
    assert [each.name for each in first.layers[1:]] == ["dense", "dense_1"]
    assert len(first.get_weights()) == 4
    stack = Sequential([Dense(3, input_dim=3)])
    with pytest.raises(ValueError, match="layer names must be unique, got 'dense' twice"):
        stack.add(layer)


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
    before = whole.network.store.parameters.get("dense/kernel", "m")
    assert before.any()
    part.compile("adam", "mse")
    part.evaluate(data, data, verbose=0)
    after = whole.network.store.parameters.get("dense/kernel", "m")
    np.testing.assert_array_equal(after, before)


def test_an_optimizer_trains_one_model():
    adam = optimizers.Adam()
    first, second = two_towers()
    first.compile(adam, "mse")
    first.compile(adam, "mse")  # again is fine
    with pytest.raises(ValueError, match=r"model: the optimizer Adam already trains another model"):
        second.compile(adam, "mse")
    assert not second.is_compiled
    first.compile("sgd", "mse")  # lets go of it
    second.compile(adam, "mse")
