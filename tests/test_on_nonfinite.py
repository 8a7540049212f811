# SPDX-License-Identifier: Apache-2.0
"""What compile(on_nonfinite=...) makes of a step whose numbers are not finite (fault row 34)."""

from __future__ import annotations

import copy
import pickle
import warnings

import numpy as np
import pytest
from toys import blobs, linear, same_weights

import pycnn
from pycnn.errors import NumericError
from pycnn.layers import BatchNormalization, Dense, Dropout
from pycnn.models import Sequential

BATCH, BAD_BATCH = 10, 2


def normalized(on_nonfinite="raise"):
    """With slots, moving averages and a random layer: all that a step changes."""
    pycnn.set_seed(5)
    hidden = [Dense(8, input_dim=3), BatchNormalization(), Dropout(0.1)]
    model = Sequential([*hidden, Dense(3, activation="softmax")])
    options = {"metrics": ["accuracy"], "on_nonfinite": on_nonfinite}
    model.compile("adam", "sparse_categorical_crossentropy", **options)
    return model


def with_a_bad_batch(bad=np.nan):
    x, y = blobs(samples=5 * BATCH)
    x[BAD_BATCH * BATCH + 3, 1] = bad
    return x, y


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_skipped_step_is_as_if_its_batch_were_not_there(bad):
    x, y = with_a_bad_batch(bad)
    model, twin = normalized("skip"), normalized()
    good = np.delete(np.arange(len(x)), np.s_[BAD_BATCH * BATCH : (BAD_BATCH + 1) * BATCH])
    with pytest.warns(RuntimeWarning, match=r"skipped 1 of 5 steps; the first: step 3: ") as caught:
        history = model.fit(x, y, BATCH, epochs=1, shuffle=False, verbose=0)
    assert [warning.filename for warning in caught] == [__file__]
    want = twin.fit(x[good], y[good], BATCH, epochs=1, shuffle=False, verbose=0)
    assert history.history == want.history
    assert model.optimizer.iterations == twin.optimizer.iterations == 4
    assert same_weights(model, twin)
    model.fit(x[good], y[good], BATCH, epochs=2, verbose=0)  # slots and random numbers, too
    twin.fit(x[good], y[good], BATCH, epochs=2, verbose=0)
    assert same_weights(model, twin)


def test_an_epoch_whose_steps_are_all_skipped_has_no_loss():
    x, y = blobs(samples=20)
    model = normalized("skip")
    before = model.get_weights()
    with pytest.warns(RuntimeWarning, match="skipped 2 of 2 steps"):
        history = model.fit(x * np.nan, y, 10, verbose=0)
    assert np.isnan(history.history["loss"]).all()
    assert np.isnan(history.history["accuracy"]).all()
    assert all(map(np.array_equal, before, model.get_weights()))
    assert model.optimizer.iterations == 0


def test_a_skipped_step_on_a_batch_has_no_loss():
    x, y = blobs(samples=20)
    model = normalized("skip")
    before = model.get_weights()
    assert np.isnan(model.train_on_batch(x * np.nan, y)).tolist() == [True, True]
    scores = model.train_on_batch(x * np.nan, y, return_dict=True)
    assert list(scores) == ["loss", "accuracy"]
    assert np.isnan(list(scores.values())).all()
    assert all(map(np.array_equal, before, model.get_weights()))


def test_where_all_is_finite_the_choice_changes_no_bit():
    x, y = blobs(samples=40)
    models = [normalized(choice) for choice in ("raise", "skip", "ignore")]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        histories = [model.fit(x, y, 10, epochs=2, verbose=0).history for model in models]
    assert histories[0] == histories[1] == histories[2]
    assert same_weights(models[0], models[1])
    assert same_weights(models[0], models[2])


def test_ignored_numbers_reach_the_weights_and_later_steps():
    x, y = with_a_bad_batch()
    model = normalized("ignore")
    history = model.fit(x, y, BATCH, epochs=1, shuffle=False, verbose=0)
    assert np.isnan(history.history["loss"]).all()
    assert model.optimizer.iterations == 5
    assert np.isnan(model.get_weights()[0]).any()
    model.compile("adam", "sparse_categorical_crossentropy")
    with pytest.raises(NumericError, match="step 1: the loss or a gradient is not finite"):
        model.fit(*blobs(samples=20), verbose=0)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", pycnn.optimizers.SGD(1.0, momentum=0.5)])
def test_an_update_that_overflows_can_be_ignored_and_mended(optimizer):
    """Finite gradients, but weights beyond the largest float; then the bounds are found anew."""
    x, y = np.full((4, 2), 1e18, np.float32), np.zeros((4, 1), np.float32)
    model = linear(optimizer, on_nonfinite="ignore")
    start = [np.full((2, 1), 1e-18, np.float32), np.zeros(1, np.float32)]
    model.set_weights(start)
    model.optimizer.learning_rate = 3e38
    with np.errstate(all="ignore"):
        model.train_on_batch(x, y)
        model.train_on_batch(x, y)
    assert not np.isfinite(model.get_weights()[0]).all()
    model.compile("sgd", "mse")
    model.set_weights(start)
    model.train_on_batch(x * 1e-18, y)
    assert np.isfinite(model.get_weights()[0]).all()
    model.optimizer.learning_rate = 3e38
    with pytest.raises(NumericError, match="the update would make dense"):
        model.train_on_batch(x, y)


def test_steps_raise_where_nothing_else_is_asked_for():
    x, y = with_a_bad_batch()
    model = normalized()
    with pytest.raises(NumericError, match="step 3: the loss or a gradient is not finite"):
        model.fit(x, y, BATCH, shuffle=False, verbose=0)
    assert model.optimizer.iterations == 2


@pytest.mark.parametrize("choice", ["Skip", "", None, 0, True])
def test_other_choices_are_refused(choice):
    with pytest.raises(ValueError, match="on_nonfinite must be one of"):
        linear(on_nonfinite=choice)


@pytest.mark.parametrize("choice", ["raise", "skip", "ignore"])
def test_copies_and_files_keep_the_choice(choice, tmp_path):
    model = linear(on_nonfinite=choice)
    assert model.on_nonfinite == choice
    model.save(tmp_path / "m.pycnn")
    assert pycnn.load_model(tmp_path / "m.pycnn").on_nonfinite == choice
    assert (b"on_nonfinite" in (tmp_path / "m.pycnn").read_bytes()) == (choice != "raise")
    assert copy.deepcopy(model).on_nonfinite == choice
    assert pickle.loads(pickle.dumps(model)).on_nonfinite == choice
    unbuilt = Sequential([Dense(1)])
    unbuilt.compile("sgd", "mse", on_nonfinite=choice)
    assert copy.deepcopy(unbuilt).on_nonfinite == choice


@pytest.mark.parametrize("metrics", [None, ["mse"], ["mse", "accuracy"]])
def test_only_the_loss_is_judged_not_what_is_measured_beside_it(metrics):
    """A metric that overflows stopped the training of a loss that does not."""
    loss = pycnn.losses.BinaryCrossentropy(from_logits=True)
    model = linear("sgd", loss, metrics=metrics)
    model.set_weights([np.full((2, 1), 1e25), np.zeros(1)])
    values = model.train_on_batch(np.ones((4, 2)), np.ones((4, 1)), return_dict=True)
    assert values["loss"] == 0
    assert metrics is None or np.isinf(values["mse"])
    assert model.optimizer.iterations == 1


def test_steps_that_change_no_weight_are_judged_as_well():
    x, y = np.full((4, 2), np.nan), np.zeros((4, 1))
    model = linear()
    model.trainable = False
    for choice, counted in (("raise", 0), ("skip", 0), ("ignore", 1)):
        model.compile("sgd", "mse", on_nonfinite=choice)
        if choice == "raise":
            with pytest.raises(NumericError, match="step 1: the loss or a gradient"):
                model.train_on_batch(x, y)
        else:
            assert np.isnan(model.train_on_batch(x, y))
        assert model.optimizer.iterations == counted
