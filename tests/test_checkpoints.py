# SPDX-License-Identifier: Apache-2.0
"""Checkpoints and early stopping: what cannot work fails before the first epoch is paid for."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from toys import linear

import pycnn
from pycnn import callbacks, metrics, optimizers
from pycnn.layers import Dense
from pycnn.models import Sequential

X, Y = np.ones((4, 2), "f4"), np.ones(4, "f4")


def fit(model, *used, **options):
    return model.fit(X, Y, verbose=0, callbacks=list(used), **options)


# --- names of files -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["new/deep/m.pycnn", "new/{epoch}/m.pycnn", "{{new}}/m.pycnn"])
def test_missing_folders_are_made(name, tmp_path):
    """As in Keras; the first epoch was lost."""
    fit(linear(), callbacks.ModelCheckpoint(tmp_path / name), epochs=2)
    assert list(tmp_path.rglob("m.pycnn"))


def test_a_folder_is_made_before_the_first_epoch(tmp_path):
    checkpoint = callbacks.ModelCheckpoint(tmp_path / "new" / "m.pycnn")
    fit(linear(), checkpoint, epochs=0)
    assert (tmp_path / "new").is_dir()
    (tmp_path / "file").write_text("")
    model = linear()
    with pytest.raises(OSError, match="file"):
        fit(model, callbacks.ModelCheckpoint(tmp_path / "file" / "m.pycnn"))
    assert model.optimizer.iterations == 0


@pytest.mark.parametrize("name", ["k{}.pycnn", "k{0}.pycnn", "k{epoch.pycnn", "k}.pycnn", "{!r}.p"])
def test_templates_that_cannot_be_filled_are_refused_when_made(name):
    with pytest.raises(ValueError, match=r"ModelCheckpoint: filepath '.*': "):
        callbacks.ModelCheckpoint(name)


def test_names_that_no_log_will_have_are_refused_at_once(tmp_path):
    """{val_loss} without validation was a KeyError after the first epoch."""
    model = linear(metrics=["mse"])
    checkpoint = callbacks.ModelCheckpoint(tmp_path / "k-{epoch}-{mse:.1f}-{val_loss:.2f}.pycnn")
    message = "ModelCheckpoint: filepath '.*': val_loss is not among epoch, loss, mse$"
    with pytest.raises(ValueError, match=message):
        fit(model, callbacks.EarlyStopping("loss"), checkpoint)
    assert model.optimizer.iterations == 0
    fit(model, checkpoint, validation_data=(X, Y))
    assert len(list(tmp_path.iterdir())) == 1


def test_callbacks_may_add_the_names(tmp_path):
    class Add(callbacks.Callback):
        def on_epoch_end(self, epoch, logs):
            logs["score"] = 0.5
            logs["epoch"] = 99  # the number of the epoch wins

    checkpoint = callbacks.ModelCheckpoint(tmp_path / "{epoch}-{score:.2f}.pycnn")
    fit(linear(), Add(), checkpoint)
    assert [file.name for file in tmp_path.iterdir()] == ["1-0.50.pycnn"]
    with pytest.raises(ValueError, match="score is not among epoch, loss"):
        fit(linear(), checkpoint, Add())  # too late
    words = callbacks.ModelCheckpoint("m.pycnn")
    words.filepath = str(tmp_path / "{score:s}.pycnn")
    with pytest.raises(
        ValueError, match=r"filepath '.*\{score:s\}.pycnn': Unknown format code 's'"
    ):
        fit(linear(), Add(), words)


def test_checkpoints_go_on_where_compile_ignores_what_is_not_finite(tmp_path):
    model = linear(optimizers.SGD(1e20), on_nonfinite="ignore")
    fit(model, callbacks.ModelCheckpoint(tmp_path / "m.pycnn"), epochs=4)
    again = pycnn.load_model(tmp_path / "m.pycnn")
    assert not np.isfinite(again.get_weights()[0]).all()


# --- which way is better ------------------------------------------------------------------------


def scored(metric):
    model = Sequential([Dense(1, input_dim=2)])
    model.compile("sgd", "mse", metrics=[metric])
    return model


@pytest.mark.parametrize(
    "make",
    [
        lambda file: callbacks.EarlyStopping("score"),
        lambda file: callbacks.ModelCheckpoint(file, "score", save_best_only=True),
    ],
)
def test_auto_mode_is_resolved_anew_for_each_model(make, tmp_path):
    """What suited the first model stayed for good."""
    high, low = metrics.BinaryAccuracy("score"), metrics.MeanSquaredErrorMetric("score")
    callback = make(tmp_path / "m.pycnn")
    assert callback.mode == "auto"
    for metric, mode in ((high, "max"), (low, "min"), (high, "max")):
        fit(scored(metric), callback)
        assert callback.mode == mode
        assert np.isfinite(callback.best)
    with pytest.raises(ValueError, match="cannot tell whether"):
        fit(linear(), callback)
    callback.mode = "min"
    fit(scored(high), callback)
    assert callback.mode == "min"


def test_the_best_of_an_earlier_fit_stays_the_best(tmp_path):
    checkpoint = callbacks.ModelCheckpoint(tmp_path / "m.pycnn", "loss", save_best_only=True)
    model = linear()
    fit(model, checkpoint)
    best = checkpoint.best
    model.set_weights([np.full((2, 1), 9.0), np.zeros(1)])
    fit(model, checkpoint)
    assert checkpoint.best == best


# --- histories, and compile() in hooks ----------------------------------------------------------


def test_the_history_of_a_fit_is_small():
    history = fit(linear(), epochs=2)
    again = pickle.loads(pickle.dumps(history))
    assert again.history == history.history
    assert again.params == {"verbose": 0, "epochs": 2, "steps": 1}
    assert again.model is None


def test_callbacks_without_a_model_can_be_copied():
    for callback in (callbacks.History(), callbacks.EarlyStopping()):
        again = pickle.loads(pickle.dumps(callback))
        assert again.model is None
        assert dict(again.params) == {}


HOOKS = [
    "on_train_batch_begin", "on_train_batch_end", "on_test_batch_begin", "on_test_batch_end",
]  # fmt: skip


@pytest.mark.parametrize("hook", HOOKS)
def test_other_metrics_within_an_epoch_are_refused(hook):
    """It was an IndexError."""
    model = linear()
    change = callbacks.LambdaCallback(
        **{hook: lambda batch, logs: model.compile("sgd", "mse", metrics=["mse"])}
    )
    with pytest.raises(RuntimeError, match=r"compile\(\) with other metrics in a hook of a batch"):
        fit(model, change, validation_data=(X, Y), batch_size=2)


def test_other_metrics_hold_from_the_next_epoch():
    model = linear()
    names = iter([["mse"], ["mse", "accuracy"]])
    change = callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: model.compile("sgd", "mse", metrics=next(names))
    )
    history = fit(model, change, epochs=2).history
    assert (len(history["mse"]), len(history["accuracy"])) == (2, 1)
    again = callbacks.LambdaCallback(on_test_end=lambda logs: model.compile("sgd", "mse"))
    scores = model.evaluate(X, Y, verbose=0, callbacks=again, return_dict=True)
    assert set(scores) == {"loss", "mse", "accuracy"}


def test_an_equal_compile_in_a_hook_goes_on():
    model = linear()
    change = callbacks.LambdaCallback(on_batch_end=lambda batch, logs: model.compile("sgd", "mse"))
    fit(model, change, batch_size=1)
    assert model.optimizer.iterations == 0
