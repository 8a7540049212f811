# SPDX-License-Identifier: Apache-2.0
"""Models that change: what holds an earlier state of them keeps it, and nothing is left behind."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref

import numpy as np
import pytest
from toys import same_weights

from pycnn.layers import Add, BatchNormalization, Dense, Input
from pycnn.models import Model, Sequential, load_model

RNG = np.random.default_rng(0)
X = RNG.standard_normal((8, 4)).astype(np.float32)
Y = RNG.standard_normal((8, 1)).astype(np.float32)


def nested():
    """An inner model and one around it."""
    inner = Sequential([Input(4), Dense(4, activation="tanh"), Dense(4)], name="inner")
    return inner, Sequential([Input(4), inner, Dense(1)])


def add(model):
    model.add(Dense(4))


def pop(model):
    model.pop()


def replace(model):
    model.pop()
    model.add(Dense(4, activation="relu"))


# --- models inside models -------------------------------------------------------------------------


@pytest.mark.parametrize("change", [add, pop, replace])
@pytest.mark.parametrize("functional", [True, False])
def test_a_model_keeps_what_the_inner_one_was_when_it_was_called(change, functional, tmp_path):
    inner, outer = nested()
    if functional:
        x = Input(4)
        outer = Model(x, Dense(1)(inner(x)))
    want, paths = outer.predict(X), list(outer.network.variables)
    change(inner)
    lines: list[str] = []
    outer.summary(print_fn=lines.append)
    assert "45 (45 trainable, 0 not)" in lines[0]
    assert len(outer.weights) == len(outer.trainable_weights) == 6
    outer.compile("adam", "mse")
    outer.save(tmp_path / "m.pycnn")
    copies = outer, load_model(tmp_path / "m.pycnn"), copy.deepcopy(outer)
    for each in copies:
        np.testing.assert_array_equal(each.predict(X), want)
        assert list(each.network.variables) == paths
        each.fit(X, Y, verbose=0)
        assert same_weights(each, outer)
    assert (outer.predict(X) != want).any()
    assert inner.layers[0].weights[0] is outer.weights[0]  # still shared


@pytest.mark.parametrize("change", [add, pop, replace])
def test_changes_to_a_part_of_a_loaded_model_leave_the_whole_alone(change, tmp_path):
    _, outer = nested()
    outer.save(tmp_path / "m.pycnn")
    again = load_model(tmp_path / "m.pycnn")
    change(again.get_layer("inner"))
    np.testing.assert_array_equal(again.predict(X), outer.predict(X))


def test_trainable_reaches_the_layers_the_inner_model_had():
    inner, outer = nested()
    popped = inner.pop()
    outer.trainable = False
    assert popped.trainable is False and outer.trainable_weights == []
    outer.trainable = True
    assert popped.trainable is True and len(outer.trainable_weights) == 6
    popped.trainable = False
    assert len(outer.trainable_weights) == 4


def test_a_model_changed_between_its_calls_is_refused():
    inner, _ = nested()
    x = Input(4)
    first = inner(x)
    inner.add(Dense(4))
    second = inner(x)
    with pytest.raises(ValueError, match="inner was changed between its calls"):
        Model(x, Add()([first, second]))
    inner.pop()
    assert Model(x, Add()([first, inner(x)])).count_params() == 40  # as it was


def test_a_model_cannot_contain_itself():
    inner, outer = nested()
    x = Input(4)
    unbuilt = Sequential([Sequential([Dense(4)])])
    for model, layer in (
        (outer, outer), (inner, outer), (inner, Model(x, outer(x))),
        (unbuilt, unbuilt), (unbuilt.layers[0], unbuilt), (Sequential(), None),
    ):  # fmt: skip
        before = len(model.layers)
        with pytest.raises(ValueError, match="a model cannot contain itself"):
            model.add(model if layer is None else layer)
        assert len(model.layers) == before


# --- compiled models ------------------------------------------------------------------------------


def test_layers_that_come_to_a_frozen_model_are_frozen():
    model = Sequential([Dense(4, input_dim=4)])
    model.trainable = False
    model.compile("sgd", "mse")
    model.add(Dense(1))
    assert model.trainable_weights == []
    before = model.get_weights()
    model.fit(X, Y, verbose=0)
    assert all(map(np.array_equal, before, model.get_weights()))


def test_flags_of_layers_that_come_later_are_read_when_they_come():
    model = Sequential([Dense(4, input_dim=4)])
    model.compile("sgd", "mse")
    model.add(Dense(1))
    twin = copy.deepcopy(model)
    for each in (model, twin):
        each.layers[1].trainable = False  # too late
        each.fit(X, Y, verbose=0)
    assert same_weights(model, twin)
    assert model.is_trained(model.layers[1]) and twin.is_trained(twin.layers[1])
    model.add(model.pop())  # comes again, frozen
    assert not model.is_trained(model.layers[1])


# --- copies, names --------------------------------------------------------------------------------


def test_models_without_layers_can_be_copied():
    popped = Sequential([Input(4), Dense(1)])
    popped.compile("sgd", "mse")
    popped.pop()
    for model in (Sequential([Input(4)]), Sequential(), popped):
        for again in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
            assert again.built == model.built and again.is_compiled == model.is_compiled
    for each in (popped, again):
        each.add(Dense(1))
    assert again.input_shape == (None, 4)
    assert same_weights(popped, again)


def test_two_layers_whose_weights_have_one_path_are_refused():
    block = Sequential([Input(4), Dense(4, name="dense")], name="block")
    clash, x = Dense(4, name="block/dense"), Input(4)
    message = "two layers have a weight block/dense/kernel"
    stack = Sequential([Input(4), block])
    with pytest.raises(ValueError, match=message):
        stack.add(clash)
    assert len(stack.layers) == 1 and clash.holders == 0
    with pytest.raises(RuntimeError, match="got 0"):
        _ = clash.output
    stack.pop()
    stack.add(clash)
    with pytest.raises(ValueError, match=message):
        Model(x, Dense(1)(clash(block(x))))
    unbuilt = Sequential([Sequential([Dense(4, name="dense")], name="block"), copy.deepcopy(clash)])
    with pytest.raises(ValueError, match=message):
        unbuilt.predict(X)


def test_names_of_models_keep_the_rule(tmp_path):
    model = Sequential([Dense(1, input_dim=4)])
    with pytest.raises(ValueError, match="name must match"):
        model.name = "my model!"
    assert model.name == "sequential"
    model.name = "mine"
    model.save(tmp_path / "m.pycnn")
    assert load_model(tmp_path / "m.pycnn").name == "mine"
    with pytest.raises(ValueError, match="got 'mine' twice"):  # now it was chosen
        Sequential([Dense(4, name="mine", input_dim=4), model])


def test_summary_names_the_model_and_counts_what_it_would_train():
    inner = Sequential([Dense(3, input_dim=4), BatchNormalization()], name="inner")
    outer = Sequential([inner, Dense(2)], name="outer")
    outer.trainable = False
    outer.layers[1].trainable = True  # of no effect: the model is frozen
    lines: list[str] = []
    outer.summary(print_fn=lines.append)
    assert lines[0].splitlines()[0] == "Model: outer"
    assert "parameters: 35 (0 trainable, 35 not)" in lines[0]


# --- pop, and what is left ------------------------------------------------------------------------


def test_a_shared_layer_keeps_no_model_alive():
    base, gone = Dense(3), []
    for _ in range(5):
        model = Sequential([Dense(6, input_dim=2), base])
        gone.append(weakref.ref(model.layers[0]))
    del model
    gc.collect()
    assert [ref() for ref in gone] == [None] * 5
    assert base(Input(6)).shape == (None, 3)
    with pytest.raises(RuntimeError, match="needs exactly 1 call, got 6"):
        _ = base.output


def test_the_output_of_a_layer_that_was_called_by_itself_stays():
    x, layer = Input(4), Dense(3)
    layer(x)
    gc.collect()
    assert Model(x, layer.output).count_params() == 15


def test_pop_takes_the_call_back():
    layer = Dense(3)
    model = Sequential([Input(4), layer])
    model.pop()
    with pytest.raises(RuntimeError, match="got 0"):
        _ = layer.output
    model.add(layer)
    assert layer.output is model.output
    other = Sequential([Input(4), layer])
    model.pop()
    assert layer.output is other.output
    door = Sequential([Input(4)])
    assert door.pop().output.shape == (None, 4)


def test_initial_weights_are_given_once():
    built, model = Dense(3), Sequential([Dense(3, input_dim=4)])
    kernel = model.pop().get_weights()[0]
    model.add(Dense(3))
    assert (model.get_weights()[0] != kernel).any()
    late = Sequential([built])
    built(Input(4))  # before the model knows its input
    late.pop()
    late.add(Dense(2, input_dim=4))
    assert np.isfinite(late.get_weights()[0]).all()
