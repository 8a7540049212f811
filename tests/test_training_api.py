# SPDX-License-Identifier: Apache-2.0
"""compile, fit, evaluate, predict: what Keras promises, and repeatability."""

from __future__ import annotations

import math

import numpy as np
import pytest
from toys import blobs, classifier, linear, same_weights

import pycnn
from pycnn import callbacks, losses, metrics, optimizers, reference
from pycnn.layers import BatchNormalization, Conv2D, Dense, Dropout, Flatten, Input
from pycnn.models import Model, Sequential


@pytest.fixture(autouse=True)
def _seed():
    pycnn.set_seed(0)


# --- fit ----------------------------------------------------------------------------------------


def test_fit_learns_and_returns_the_history():
    x, y = blobs()
    model = classifier(optimizer=optimizers.Adam(0.05))
    history = model.fit(x, y, epochs=8, batch_size=16, validation_split=0.2, verbose=0)
    assert list(history.history) == ["loss", "accuracy", "val_loss", "val_accuracy"]
    assert history.epoch == list(range(8))
    assert all(len(values) == 8 for values in history.history.values())
    assert history.history["loss"][-1] < history.history["loss"][0] / 2
    assert model.evaluate(x, y, verbose=0)[1] > 0.95
    assert model.optimizer.iterations == 8 * 5  # 72 samples: 4 batches of 16 and one of 8


def test_validation_split_is_the_end_before_shuffling():
    x, y = np.zeros((10, 2)), np.arange(10.0)
    model = linear(optimizers.SGD(0.0))
    history = model.fit(x, y, validation_split=0.3, verbose=0)
    bias = model.get_weights()[1]
    assert history.history["loss"] == pytest.approx([np.mean((np.arange(7) - bias) ** 2)])
    assert history.history["val_loss"] == pytest.approx([np.mean((np.arange(7, 10) - bias) ** 2)])


def test_validation_data():
    x, y = blobs()
    model = classifier()
    history = model.fit(x, y, validation_data=(x[:7], y[:7]), verbose=0)
    got = [history.history["val_loss"][0], history.history["val_accuracy"][0]]
    assert got == model.evaluate(x[:7], y[:7], verbose=0)


def test_epoch_values_are_means_over_samples_not_batches():
    x = np.zeros((5, 2))
    y = np.array([0.0, 0, 0, 0, 10])
    model = linear(optimizers.SGD(0.0), metrics=["mse"])
    history = model.fit(x, y, batch_size=4, shuffle=False, verbose=0)
    assert history.history["loss"] == pytest.approx([20.0])
    assert history.history["mse"] == pytest.approx([20.0])
    assert model.evaluate(x, y, batch_size=4, verbose=0) == pytest.approx([20.0, 20.0])


def test_every_sample_is_seen_once_an_epoch():
    seen = []

    class Watch(callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            seen.append(self.model.get_weights()[1][0])

    x, y = np.zeros((8, 2)), 2.0 ** np.arange(8)
    model = linear(optimizers.SGD(0.5))  # gradient 2 * (b - y): each step sets the bias to y
    model.fit(x, y, batch_size=1, verbose=0, callbacks=[Watch()])
    assert sorted(seen) == list(y)
    assert seen != list(y)
    seen.clear()
    model.fit(x, y, batch_size=1, verbose=0, callbacks=[Watch()], shuffle=False)
    assert seen == list(y)


def test_orders_differ_from_epoch_to_epoch_and_repeat_from_run_to_run():
    first, again = classifier(), None
    x, y = blobs()
    order = pycnn.ground.seeding.epoch_permutation(90, first.seed, 0)
    assert sorted(order) == list(range(90))
    assert (order != pycnn.ground.seeding.epoch_permutation(90, first.seed, 3)).any()
    first.fit(x, y, epochs=3, verbose=0)
    pycnn.set_seed(0)
    again = classifier()
    again.fit(x, y, epochs=3, verbose=0)
    assert same_weights(first, again)


def test_two_fits_are_one_longer_fit():
    x, y = blobs()
    whole, parts = classifier(), classifier()
    parts.restore_seed(whole.seed)
    parts.set_weights(whole.get_weights())
    whole.fit(x, y, epochs=4, verbose=0)
    parts.fit(x, y, epochs=1, verbose=0)
    history = parts.fit(x, y, epochs=4, initial_epoch=1, verbose=0)
    assert history.epoch == [1, 2, 3]
    assert same_weights(whole, parts)


def test_fit_takes_lists_and_any_number_type():
    x, y = blobs(12)
    results = []
    for convert in (
        np.asarray,
        np.ndarray.tolist,
        lambda a: a.astype(np.float64),
        np.asfortranarray,
    ):
        pycnn.set_seed(0)
        model = classifier()
        model.fit(convert(x), convert(y), verbose=0)
        results.append(model.get_weights()[0])
    for other in results[1:]:
        np.testing.assert_array_equal(results[0], other)


def test_labels_of_rank_1_fit_an_output_of_1():
    x, y = blobs(20, classes=2)
    model = Sequential([Dense(1, activation="sigmoid", input_dim=2)])
    model.compile("sgd", "binary_crossentropy", metrics=["accuracy"])
    flat = model.evaluate(x, y, verbose=0)
    assert flat == model.evaluate(x, y[:, None], verbose=0)
    assert flat == model.evaluate(x, y.astype(bool), verbose=0)
    p = model.predict(x)
    assert flat[0] == pytest.approx(reference.binary_crossentropy(y[:, None], p))
    assert flat[1] == pytest.approx(((p[:, 0] > 0.5) == y).mean())


def test_one_hot_and_class_numbers_agree():
    x, y = blobs()
    sparse = classifier()
    dense = classifier(loss="categorical_crossentropy")
    dense.restore_seed(sparse.seed)
    dense.set_weights(sparse.get_weights())
    a = sparse.fit(x, y, epochs=2, verbose=0).history
    b = dense.fit(x, np.eye(3)[y], epochs=2, verbose=0).history
    assert a["accuracy"] == b["accuracy"]
    assert a["loss"] == pytest.approx(b["loss"], rel=1e-6)
    column = sparse.evaluate(x, y[:, None], verbose=0)
    assert column == sparse.evaluate(x, y, verbose=0)


def test_losses_from_logits():
    x, y = blobs()
    for name, labels in (
        ("SparseCategoricalCrossentropy", y),
        ("CategoricalCrossentropy", np.eye(3)[y]),
        ("BinaryCrossentropy", np.eye(3)[y]),
    ):
        loss = getattr(losses, name)(from_logits=True)
        model = Sequential([Dense(3, input_dim=3)])
        model.compile("sgd", loss)
        want = getattr(reference, f"{loss.kind}_from_logits")(labels, model.predict(x))
        assert model.evaluate(x, labels, verbose=0) == pytest.approx(want, rel=1e-5)


def test_zero_epochs_do_nothing():
    x, y = blobs()
    model = classifier()
    before = model.get_weights()
    assert model.fit(x, y, epochs=0, verbose=0).history == {}
    np.testing.assert_array_equal(model.get_weights()[0], before[0])


# --- steps --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("optimizer", "step"),
    [
        (optimizers.SGD(0.1), lambda w, g: w - 0.1 * g),
        (optimizers.SGD(0.1, weight_decay=0.5), lambda w, g: w - 0.05 * w - 0.1 * g),
        (optimizers.SGD(0.1, momentum=0.9), lambda w, g: w - 0.1 * g),
        (optimizers.SGD(0.1, 0.9, nesterov=True), lambda w, g: w - 0.19 * g),
        (optimizers.Adam(0.01), lambda w, g: w - 0.01 * np.sign(g)),
    ],
)
def test_first_step_of_the_optimizers(optimizer, step):
    x, y = np.array([[1.0, 2.0], [3.0, -1.0]]), np.array([[4.0], [-2.0]])
    model = linear(optimizer)
    w, b = (values.astype(float) for values in model.get_weights())
    dy = 2 * (x @ w + b - y) / 2
    loss = model.train_on_batch(x, y)
    assert loss == pytest.approx(np.mean((x @ w + b - y) ** 2), rel=1e-5)
    got = model.get_weights()
    np.testing.assert_allclose(got[0], step(w, x.T @ dy), rtol=2e-5, atol=1e-6)
    np.testing.assert_allclose(got[1], step(b, dy.sum(0)), rtol=2e-5, atol=1e-6)


def test_train_and_test_on_batch():
    x, y = blobs(10)
    model = classifier()
    before = model.test_on_batch(x, y)
    assert before == model.evaluate(x, y, batch_size=10, verbose=0)
    loss, accuracy = model.train_on_batch(x, y)
    assert 0 <= accuracy <= 1
    assert loss > 0
    named = model.train_on_batch(x, y, return_dict=True)
    assert list(named) == ["loss", "accuracy"]
    assert model.optimizer.iterations == 2


def test_learning_rate_may_change_during_a_fit():
    class Stop(callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.optimizer.learning_rate = 0.0
            self.kept = self.model.get_weights()

    x, y = blobs()
    model, stop = classifier(), Stop()
    model.fit(x, y, epochs=3, verbose=0, callbacks=stop)
    assert model.optimizer.learning_rate == 0.0
    np.testing.assert_array_equal(stop.kept[0], model.get_weights()[0])


def test_recompiling_keeps_weights_and_resets_the_optimizer():
    x, y = blobs()
    model = classifier()
    model.fit(x, y, verbose=0)
    before = model.get_weights()
    model.compile("adam", "sparse_categorical_crossentropy")
    np.testing.assert_array_equal(model.get_weights()[0], before[0])
    assert model.optimizer.iterations == 0
    fresh = classifier(metrics=None)
    fresh.restore_seed(model.seed)
    fresh.set_weights(before)
    model.fit(x, y, verbose=0)
    fresh.fit(x, y, verbose=0)
    assert same_weights(model, fresh)


def test_frozen_layers_stay_as_they_are():
    x, y = blobs()
    model = Sequential([Dense(4, input_dim=3), BatchNormalization(), Dense(3)])
    model.layers[0].trainable = model.layers[1].trainable = False
    model.compile("sgd", losses.SparseCategoricalCrossentropy(from_logits=True))
    before = model.get_weights()
    model.fit(x, y, verbose=0)
    changed = [(a != b).any() for a, b in zip(before, model.get_weights(), strict=True)]
    assert changed == [False] * 6 + [True, True]


def test_batch_normalization_keeps_moving_averages():
    x = np.random.default_rng(0).normal(3, 2, (16, 2)).astype(np.float32)
    model = Sequential([Input((2,)), BatchNormalization(momentum=0.75)])
    model.compile(optimizers.SGD(0.0), "mse")
    model.train_on_batch(x, x)
    _, _, mean, variance = model.get_weights()
    np.testing.assert_allclose(mean, 0.25 * x.mean(0), rtol=1e-5)
    np.testing.assert_allclose(variance, 0.75 + 0.25 * x.var(0), rtol=1e-5)


def test_dropout_acts_in_training_only():
    model = Sequential([Input((50,)), Dropout(0.5)])
    model.compile(optimizers.SGD(0.0), "mse")
    x = np.ones((4, 50))
    assert model.evaluate(x, x, verbose=0) == 0
    losses_of_steps = {model.train_on_batch(x, x) for _ in range(3)}
    assert min(losses_of_steps) > 0
    np.testing.assert_array_equal(model.predict(x), x)


def test_a_rest_of_one_sample_trains():
    x, y = blobs(33)
    model = classifier()
    model.fit(x, y, batch_size=16, verbose=0)
    assert model.optimizer.iterations == 3


# --- predict and evaluate -----------------------------------------------------------------------


def test_predictions_do_not_depend_on_the_batch():
    model = Sequential([Input((9, 9, 2)), Conv2D(5, 3, padding="same"), Flatten(), Dense(7)])
    x = np.random.default_rng(0).standard_normal((11, 9, 9, 2))
    want = model.predict(x)
    for batch in (1, 2, 4, 11, 100):
        np.testing.assert_array_equal(model.predict(x, batch_size=batch), want)
    np.testing.assert_array_equal(model.predict_on_batch(x[3:5]), want[3:5])
    np.testing.assert_array_equal(model(x[:1]), want[:1])


def test_predictor_predicts_the_same():
    model = Sequential([Input((9, 9, 2)), Conv2D(5, 3, padding="same"), Flatten(), Dense(7)])
    x = np.random.default_rng(0).standard_normal((2, 9, 9, 2)).astype(np.float32)
    predictor = pycnn.Predictor(model, batch=2)
    np.testing.assert_array_equal(predictor(x), model.predict(x))


def test_predict_accepts_verbose(capsys):
    model = classifier()
    model.predict(np.zeros((3, 3)), verbose=0)
    assert capsys.readouterr().out == ""
    model.predict(np.zeros((3, 3)), verbose=1)
    assert capsys.readouterr().out.startswith("Predict - 0.")


def test_predict_of_nothing():
    assert classifier().predict(np.zeros((0, 3))).shape == (0, 3)


def test_evaluate_forms():
    x, y = blobs()
    model = classifier(metrics=None)
    assert isinstance(model.evaluate(x, y, verbose=0), float)
    model = classifier()
    named = model.evaluate(x, y, verbose=0, return_dict=True)
    assert named == dict(zip(["loss", "accuracy"], model.evaluate(x, y, verbose=0), strict=True))
    assert model.metrics_names == ["loss", "accuracy"]


# --- compile ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("loss", "units", "kind"),
    [
        ("binary_crossentropy", 1, "binary_accuracy"),
        ("binary_crossentropy", 4, "binary_accuracy"),  # several labels: each counts
        ("categorical_crossentropy", 4, "categorical_accuracy"),
        ("sparse_categorical_crossentropy", 4, "sparse_categorical_accuracy"),
        ("mse", 1, "binary_accuracy"),
        ("mse", 4, "categorical_accuracy"),
    ],
)
def test_accuracy_suits_the_loss_and_the_output(loss, units, kind):
    model = Sequential([Dense(units, input_dim=2)])
    model.compile("sgd", loss, metrics=["accuracy", metrics.get(kind)])
    assert model.metrics_names == ["loss", "accuracy", kind]
    assert model.objective.metrics[0].kind == kind


def test_metrics_that_need_other_labels_are_refused():
    model = classifier(metrics=["categorical_accuracy"])
    with pytest.raises(ValueError, match="metric categorical_accuracy: expected labels as"):
        model.fit(*blobs(), verbose=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"optimizer": "lion"}, "optimizer: expected one of sgd, adam, got 'lion'"),
        ({"loss": "hinge"}, "loss: expected one of mean_squared_error"),
        ({"loss": 3}, "loss: expected a name or an object, got 3"),
    ],
)
def test_compile_refuses_unknown_names(arguments, message):
    with pytest.raises((ValueError, TypeError), match=message):
        classifier(**arguments)


def test_compile_comes_first():
    with pytest.raises(RuntimeError, match=r"sequential: call compile\(\) first"):
        Sequential([Dense(1, input_dim=2)]).fit(np.zeros((3, 2)), np.zeros(3))


@pytest.mark.parametrize(
    "make",
    [
        lambda: optimizers.SGD(math.nan),
        lambda: optimizers.SGD(-0.1),
        lambda: optimizers.Adam(math.inf),
        lambda: optimizers.SGD(0.1, momentum=1.5),
        lambda: optimizers.SGD(0.1, weight_decay=-1.0),
        lambda: optimizers.Adam(epsilon=0.0),
        lambda: optimizers.Adam(epsilon=1e-38),  # 0 to the engine
        lambda: optimizers.Adam(1e39),
        lambda: optimizers.SGD(0.1, weight_decay=1e39),
        lambda: optimizers.Adam(beta_1=1.0),
        lambda: optimizers.Adam(beta_2=math.nan),
        lambda: setattr(optimizers.Adam(), "learning_rate", math.nan),
    ],
)
def test_bad_numbers_of_optimizers_are_refused(make):
    with pytest.raises(ValueError, match=r"(SGD|Adam): \w+ must be"):
        make()


def test_functional_models_train():
    inputs = Input((3,))
    hidden = Dense(8, activation="relu")(inputs)
    model = Model(inputs, Dense(3, activation="softmax")(hidden))
    model.compile(optimizers.Adam(0.05), "sparse_categorical_crossentropy", metrics=["acc"])
    history = model.fit(*blobs(), epochs=8, verbose=0)
    assert history.history["acc"][-1] > 0.9
