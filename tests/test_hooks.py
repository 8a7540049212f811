# SPDX-License-Identifier: Apache-2.0
"""What callbacks are told and may add, which metric is meant, and which way is better."""

from __future__ import annotations

import io
import sys

import numpy as np
import pytest
from toys import blobs, classifier, linear

import pycnn
from pycnn import callbacks, losses, metrics
from pycnn.layers import BatchNormalization, Dense, Input
from pycnn.models import Sequential


@pytest.fixture(autouse=True)
def _seed():
    pycnn.set_seed(0)


HOOKS = [name for name in vars(callbacks.Callback) if name.startswith("on_")]


class Recorder(callbacks.Callback):
    """Keeps (hook, logs) of every call."""

    def __init__(self):
        self.calls = []


def _recorded(hook):
    def method(self, *arguments, **options):
        assert not options
        self.calls.append((hook, arguments[-1]))

    return method


for _hook in HOOKS:
    if not _hook.startswith("on_batch_"):
        setattr(Recorder, _hook, _recorded(_hook))


# --- hooks --------------------------------------------------------------------------------------


def test_all_hooks_get_a_dict_and_callbacks_share_it():
    """Finding 26: hooks got logs=None."""
    x, y = blobs(8)
    model = classifier()
    first, second = Recorder(), Recorder()
    model.fit(x, y, batch_size=4, verbose=0, validation_data=(x, y), callbacks=[first, second])
    model.evaluate(x, y, verbose=0, callbacks=[first, second])
    model.predict(x, callbacks=[[first], (second,)])
    assert {hook for hook, _ in first.calls} == {h for h in HOOKS if "on_batch" not in h}
    for (hook, logs), (other_hook, other) in zip(first.calls, second.calls, strict=True):
        assert hook == other_hook
        assert type(logs) is dict
        assert logs is other
    ends = dict(first.calls)
    assert set(ends["on_train_end"]) == {"loss", "accuracy", "val_loss", "val_accuracy"}
    assert ends["on_train_begin"] == {}


def test_what_callbacks_add_is_kept_and_shown(capfd):
    """Finding 26: History ran before the user's callbacks."""

    class Add(callbacks.Callback):
        def on_epoch_end(self, epoch, logs):
            logs["score"] = epoch
            logs["note\x1b[2J"] = "text\x07"

    seen = []
    after = callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(logs["score"]))
    history = linear().fit(
        np.ones((4, 2)), np.ones(4), epochs=2, verbose=2, callbacks=[Add(), after]
    )
    assert history.history["score"] == seen == [0, 1]
    out = capfd.readouterr().out
    assert "score: 1" in out
    assert "\x1b" not in out
    assert "\x07" not in out


def test_a_history_of_the_user_is_the_one_of_fit():
    history = callbacks.History()
    model = linear()
    for _ in range(2):
        assert model.fit(np.ones((4, 2)), np.ones(4), verbose=0, callbacks=history) is history
    assert history.epoch == [0]
    assert len(history.history["loss"]) == 2


def test_the_old_names_of_batch_hooks_are_called():
    """Finding 26: on_batch_begin and on_batch_end never were."""
    calls = []

    class Old(callbacks.Callback):
        def on_batch_begin(self, batch, logs=None):
            calls.append(("begin", batch, logs))

        def on_batch_end(self, batch, logs=None):
            calls.append(("end", batch, set(logs)))

    class New(Old):
        def on_train_batch_end(self, batch, logs=None):
            calls.append(("new", batch, None))

    x, y = np.ones((3, 2)), np.ones(3)
    linear().fit(x, y, batch_size=2, verbose=0, callbacks=Old())
    assert calls == [("begin", 0, {}), ("end", 0, {"loss"}), ("begin", 1, {}), ("end", 1, {"loss"})]
    calls.clear()
    linear().fit(x, y, batch_size=4, verbose=0, callbacks=New())
    assert calls == [("begin", 0, {}), ("new", 0, None)]


def test_predict_hands_its_batches_to_callbacks():
    batches = []
    model = linear()
    x = np.arange(6, dtype="f4").reshape(3, 2)
    hook = callbacks.LambdaCallback(
        on_predict_batch_end=lambda batch, logs: batches.append(logs["outputs"].copy())
    )
    y = model.predict(x, batch_size=2, callbacks=hook)
    np.testing.assert_array_equal(np.concatenate(batches), y)
    assert [len(batch) for batch in batches] == [2, 1]


def test_initial_epoch_is_checked():
    """Finding 29: initial_epoch=-2 ran."""
    model = linear()
    for value, error in ((-2, ValueError), (1.5, TypeError), (True, TypeError)):
        with pytest.raises(error, match="initial_epoch must be"):
            model.fit(np.ones((2, 2)), np.ones(2), verbose=0, initial_epoch=value)
    history = model.fit(np.ones((2, 2)), np.ones(2), epochs=4, verbose=0, initial_epoch=2)
    assert history.epoch == [2, 3]


# --- metrics ------------------------------------------------------------------------------------


def test_accuracy_of_several_labels():
    """Finding 25: with every label right it was 0.25."""
    model = Sequential([Input((3,)), Dense(3, activation="sigmoid")])
    model.compile("sgd", "binary_crossentropy", metrics=["accuracy"])
    y = np.array([[1, 1, 0], [0, 1, 1], [1, 0, 1], [0, 0, 0]], "f4")
    model.set_weights([20 * np.eye(3), -10 * np.ones(3)])
    assert model.evaluate(y, y, verbose=0)[1] == 1
    assert model.evaluate(y, 1 - y, verbose=0)[1] == 0


def test_metrics_of_equal_names_are_told_apart():
    """Finding 19: they lost a value, and one named "loss" replaced the loss."""
    strict = metrics.BinaryAccuracy(threshold=0.9)
    model = linear(metrics=[metrics.BinaryAccuracy(), strict, "mse", "mse", "binary_accuracy"])
    names = ["binary_accuracy", "binary_accuracy_1", "mse", "mse_1", "binary_accuracy_2"]
    assert model.metrics_names == ["loss", *names]
    model.set_weights([np.full((2, 1), 0.3), np.zeros(1)])
    x, y = np.ones((4, 2)), np.ones(4)
    scores = model.evaluate(x, y, verbose=0, return_dict=True)
    assert list(scores) == ["loss", *names]
    assert (scores["binary_accuracy"], scores["binary_accuracy_1"]) == (1, 0)
    assert scores["loss"] == pytest.approx(0.16)
    history = model.fit(x, y, verbose=0, validation_data=(x, y)).history
    assert set(history) == {*scores, *(f"val_{name}" for name in scores)}


@pytest.mark.parametrize("names", [["loss"], ["val_loss"], ["a", "val_a"]])
def test_metrics_that_would_hide_other_values_are_refused(names):
    model = linear(metrics=[metrics.BinaryAccuracy(name) for name in names])
    with pytest.raises(ValueError, match=f"metric {names[-1]}: the logs have another value"):
        model.fit(np.ones((2, 2)), np.ones(2), verbose=0)


# --- which way is better ------------------------------------------------------------------------


def fitted(monitor, made=callbacks.EarlyStopping, **options):
    callback = made(monitor=monitor, **options)
    score = metrics.CategoricalAccuracy("score")
    model = Sequential([Dense(2, activation="softmax", input_dim=2)])
    model.compile("sgd", losses.CategoricalCrossentropy(), metrics=[score, "mse"])
    x = np.eye(2)
    model.fit(x, x, verbose=0, validation_data=(x, x), callbacks=callback)
    return callback.mode


@pytest.mark.parametrize(
    ("monitor", "mode"),
    [("loss", "min"), ("val_loss", "min"), ("val_score", "max"), ("score", "max"), ("mse", "min")],
)
def test_auto_mode_follows_the_metric(monitor, mode, tmp_path):
    """Finding 25: EarlyStopping("val_score") guessed min and restored the worst weights."""
    assert fitted(monitor) == mode
    file = tmp_path / "m.pycnn"
    made = callbacks.ModelCheckpoint
    assert fitted(monitor, lambda monitor: made(file, monitor, save_best_only=True)) == mode
    assert file.exists()


def test_auto_mode_does_not_guess():
    """Finding 25, as in Keras 3."""
    with pytest.raises(ValueError, match=r"cannot tell whether .* 'val_f1' is better"):
        fitted("val_f1")
    with pytest.warns(UserWarning, match="val_f1 is not among"):
        assert fitted("val_f1", mode="max") == "max"


# --- the last batch, and no console -------------------------------------------------------------


def norm():
    model = Sequential([Input((3,)), BatchNormalization(), Dense(1)])
    model.compile("sgd", "mse")
    return model


def test_a_last_batch_of_one_sample_trains_batch_normalization():
    """Finding 30: the whole fit was refused; its variance is 0, as in Keras."""
    x = np.random.default_rng(0).standard_normal((5, 3)).astype("f4")
    model = norm()
    model.fit(x, x[:, 0], batch_size=2, epochs=2, verbose=0)
    assert model.optimizer.iterations == 6
    assert all(np.isfinite(w).all() for w in model.get_weights())


def test_the_statistics_of_one_sample():
    x = np.array([[1, 2, 3], [3, 2, 1], [5, 5, 5]], "f4")
    model = norm()
    model.fit(x, np.zeros(3), batch_size=2, shuffle=False, verbose=0)
    mean, variance = model.get_weights()[2:4]
    two = 0.01 * np.array([2, 2, 2])
    np.testing.assert_allclose(mean, 0.99 * two + 0.01 * 5, rtol=1e-5)
    after_two = 0.99 + 0.01 * np.array([1, 0, 1])
    np.testing.assert_allclose(variance, 0.99 * after_two, rtol=1e-5)


def test_batches_that_all_have_one_value_are_refused():
    model = norm()
    x = np.ones((4, 3))
    for samples, batch in ((1, 2), (4, 1)):
        with pytest.raises(ValueError, match="needs batches of >= 2 samples, got 1"):
            model.fit(x[:samples], x[:samples, 0], batch_size=batch, verbose=0)
    with pytest.raises(ValueError, match="needs batches of >= 2 samples, got 1"):
        model.train_on_batch(x[:1], x[:1, 0])
    assert model.optimizer.iterations == 0


class Minimal:
    """A stream as some programs set it: it can only write."""

    def write(self, text):
        return len(text)

    def flush(self):
        pass


@pytest.mark.parametrize("stream", [None, Minimal(), io.StringIO()])
@pytest.mark.parametrize("closed", [False, True])
def test_fit_without_a_console(stream, closed, monkeypatch):
    """Finding 30: sys.stderr = None broke fit."""
    if closed and isinstance(stream, io.StringIO):
        stream.close()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(sys, "stdout", None if closed else stream)
    stop = callbacks.EarlyStopping("loss", verbose=1)
    x, y = blobs(8)
    model = classifier()
    model.fit(x, y, epochs=2, callbacks=stop)
    model.evaluate(x, y)
    model.predict(x, verbose=1)
    model.summary()
