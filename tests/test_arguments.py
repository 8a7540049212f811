# SPDX-License-Identifier: Apache-2.0
"""Single arguments: of the wrong type or out of range they are refused by name, never guessed."""

from __future__ import annotations

import copy
import inspect
import pickle

import numpy as np
import pytest
from toys import linear

import pycnn
from pycnn import callbacks, initializers, limits, losses, metrics, optimizers
from pycnn.errors import DTypeError
from pycnn.layers import LAYERS, BatchNormalization, Dense, Dropout, Input, concatenate
from pycnn.models import Model

X, Y = np.ones((4, 2), "f4"), np.ones(4, "f4")
NEEDED = {
    "units": 2, "filters": 2, "kernel_size": 2, "activation": "relu", "rate": 0.5, "shape": (2,),
    "filepath": "m.pycnn", "function": abs,
}  # fmt: skip
MADE = [
    *LAYERS.values(),
    *initializers.INITIALIZERS.values(),
    *dict.fromkeys(losses.LOSSES.values()),
    *dict.fromkeys(metrics.METRICS.values()),
    *optimizers.OPTIMIZERS.values(),
    callbacks.EarlyStopping,
    callbacks.ModelCheckpoint,
]


def parameters(function, *annotations):
    """The names of those parameters that are annotated so."""
    found = inspect.signature(function).parameters.values()
    return [p.name for p in found if p.annotation in annotations]


def make(kind, **options):
    names = inspect.signature(kind).parameters
    empty = inspect.Parameter.empty
    needed = {n: NEEDED[n] for n in names if names[n].default is empty or n == "shape"}
    return kind(**{**needed, **options})


FLAGS = [(kind, name) for kind in MADE for name in parameters(kind, "bool")]
NUMBERS = [
    (kind, name)
    for kind in MADE
    for name in parameters(kind, "float", "float | None", "int")
    if name != "verbose"
]


# --- flags --------------------------------------------------------------------------------------


def test_there_are_flags_and_numbers_to_check():
    assert {"use_bias", "center", "trainable", "from_logits", "nesterov", "save_best_only"} <= {
        name for _, name in FLAGS
    }
    assert {"rate", "momentum", "beta_1", "stddev", "threshold", "patience", "units"} <= {
        name for _, name in NUMBERS
    }


@pytest.mark.parametrize(("kind", "name"), FLAGS)
def test_flags_are_bools(kind, name):
    """use_bias="False" made a bias, nesterov="False" was True."""
    for value in ("False", "no", "", None, 2, -1, 1.0, 0.0, [], np.ones(1, bool)):
        with pytest.raises(TypeError, match=rf"\w+: {name} must be a bool, got "):
            make(kind, **{name: value})
    for value in (False, np.False_, 0, True, np.True_, 1):
        got = getattr(make(kind, **{name: value}), name)
        assert type(got) is bool and got == bool(value)


def methods_with_flags():
    for name, method in inspect.getmembers(Model, inspect.isfunction):
        if not name.startswith("_"):
            yield from ((name, flag) for flag in parameters(method, "bool"))


@pytest.mark.parametrize(("method", "name"), list(methods_with_flags()))
def test_flags_of_methods_are_bools(method, name, tmp_path):
    """shuffle="False" shuffled, overwrite=None did not overwrite."""
    model = linear()
    before = model.get_weights()
    arguments = {"save": (tmp_path / "m.pycnn",), "program": ()}.get(method, (X, Y))
    for value in ("False", None, 2):
        with pytest.raises(TypeError, match=f"{method}: {name} must be a bool, got "):
            getattr(model, method)(*arguments, **{name: value})
    assert (model.get_weights()[0] == before[0]).all()
    assert model.optimizer.iterations == 0
    assert not list(tmp_path.iterdir())
    getattr(model, method)(*arguments, **{name: np.False_})


def test_the_methods_with_flags_are_found():
    assert ("fit", "shuffle") in set(methods_with_flags())
    assert ("save", "overwrite") in set(methods_with_flags())


# --- numbers ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "name"), NUMBERS)
def test_numbers_are_numbers(kind, name):
    """Dropout("0.5") said that '<=' is not supported, Dropout(np.array([.5])) failed at fit."""
    optional = inspect.signature(kind).parameters[name].annotation == "float | None"
    refused = ["0.5", [0.5], np.array([0.5]), True, np.True_, 1j, object()]
    for value in refused + [None] * (not optional):
        with pytest.raises(TypeError, match=rf"\w+: {name} must be an? (number|integer), got "):
            make(kind, **{name: value})
    with pytest.raises((ValueError, TypeError), match=rf"\w+: {name} must be .*, got nan"):
        make(kind, **{name: np.nan})
    with pytest.raises((ValueError, TypeError), match=rf"\w+: {name} must be .*, got "):
        make(kind, **{name: -(10**400)})


def test_numbers_of_numpy_are_python_numbers():
    assert type(Dropout(np.float32(0.5)).rate) is float
    assert type(Dropout(np.array(0.5)).rate) is float
    assert type(BatchNormalization(momentum=1).momentum) is float
    assert type(optimizers.SGD(np.int64(1)).learning_rate) is float


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Constant(1e39)", "Constant: value must be finite in float32, got 1e[+]39"),
        ("Constant(float('inf'))", "Constant: value must be finite in float32, got inf"),
        ("RandomNormal(stddev=-1)", "RandomNormal: stddev must be finite in float32 and >= 0"),
        ("TruncatedNormal(stddev=-1)", "TruncatedNormal: stddev must be"),
        ("RandomUniform(1, -1)", "RandomUniform: maxval must be finite in float32 and >= 1, got"),
    ],
)
def test_initializers_that_make_no_sense_are_refused(text, message):
    with pytest.raises(ValueError, match=message):
        eval(f"initializers.{text}", {"initializers": initializers})


def test_initial_values_beyond_float32_are_refused():
    with pytest.raises(ValueError, match="RandomNormal: a value is beyond the range of float32"):
        initializers.RandomNormal(3e38, 3e38)((1000,))


def test_shapes_are_extents():
    for bad in (None, 4.0, "ab", True, {}):
        with pytest.raises((ValueError, TypeError), match="input_layer: shape must be "):
            Input(bad)
    assert Input(np.array([4, 3])).shape == Input(iter((4, 3))).shape == (None, 4, 3)


def test_activations_are_names():
    for bad in (["relu"], {"relu": 1}, 3, np.tanh):
        with pytest.raises(ValueError, match=r"dense: activation must be a function of pycnn\.ops"):
            Dense(3, activation=bad)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"monitor": None}, "EarlyStopping: monitor must be a string, got None"),
        ({"monitor": 5}, "EarlyStopping: monitor must be a string, got 5"),
        ({"patience": -1}, "EarlyStopping: patience must be >= 0"),
        ({"min_delta": np.inf}, "EarlyStopping: min_delta must be finite"),
        ({"baseline": "a"}, "EarlyStopping: baseline must be a number, got 'a'"),
        ({"verbose": "no"}, "EarlyStopping: verbose must be 0, 1 or 2, got 'no'"),
        ({"mode": ["min"]}, "EarlyStopping: mode must be 'auto', 'min' or 'max', got"),
    ],
)
def test_callbacks_are_checked_when_they_are_made(options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        callbacks.EarlyStopping(**options)


def test_a_hook_of_none_is_absent():
    """As Keras' default is; what is not callable is refused."""
    linear().fit(X, Y, verbose=0, callbacks=callbacks.LambdaCallback(on_epoch_end=None))
    with pytest.raises(TypeError, match="LambdaCallback: on_epoch_end must be callable, got 5"):
        callbacks.LambdaCallback(on_epoch_end=5)


@pytest.mark.parametrize("steps", [-1, 2.5, 2**31, 2**32, None, "3", True])
def test_iterations_are_what_a_file_can_hold(steps, tmp_path):
    adam = optimizers.Adam()
    with pytest.raises((ValueError, TypeError), match="Adam: iterations must be ") as caught:
        adam.iterations = steps
    assert len(str(caught.value)) < 100
    assert adam.iterations == 0
    model = linear("sgd")
    model.optimizer.iterations = 2**31 - 1
    model.save(tmp_path / "m.pycnn")
    assert pycnn.load_model(tmp_path / "m.pycnn").optimizer.iterations == 2**31 - 1
    before = model.get_weights()
    with pytest.raises(RuntimeError, match="the optimizer has taken its last step, 2147483647"):
        model.train_on_batch(X, Y)
    assert model.optimizer.iterations == 2**31 - 1
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


@pytest.mark.parametrize("threads", [None, "2", 1.5, True, 2**40])
def test_threads_are_a_number(threads):
    with pytest.raises((ValueError, TypeError), match="set_num_threads: threads must be") as caught:
        pycnn.set_num_threads(threads)
    assert len(str(caught.value)) < 100


@pytest.mark.parametrize("name", ["max_arena_bytes", "max_scratch_bytes", "max_operations"])
def test_limits_are_numbers(name, monkeypatch):
    """They were passed on to the core, which printed its signatures."""
    for value in ("1", True, -1, [1], *([2**70, 1.5] if name != "max_operations" else [np.nan])):
        monkeypatch.setattr(limits, name, value)
        with pytest.raises((ValueError, TypeError), match=f"pycnn.limits: {name} must") as caught:
            linear().predict(X)
        assert len(str(caught.value)) < 100
    for value in (None, 2**40, np.int64(2**40), 2**63 - 1):
        monkeypatch.setattr(limits, name, value)
        linear().predict(X)


# --- attributes ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "fixed", "unknown"),
    [
        (losses.BinaryCrossentropy(), "from_logits", "label_smoothing"),
        (losses.MeanSquaredError(), None, "from_logits"),
        (metrics.BinaryAccuracy(), "threshold", "note"),
        (metrics.BinaryAccuracy(), "name", "dtype"),
        (metrics.SparseCategoricalAccuracy(), "name", "threshold"),
        (initializers.HeNormal(), "seed", "stddev"),
        (initializers.Constant(1), "value", "seed"),
    ],
    ids=repr,
)
def test_losses_metrics_and_initializers_are_fixed_when_made(spec, fixed, unknown):
    """What was set later changed nothing, or only a file."""
    for again in (spec, copy.deepcopy(spec), pickle.loads(pickle.dumps(spec))):
        assert again == spec
        before = again.get_config()
        name = type(spec).__name__
        if fixed is not None:
            with pytest.raises(AttributeError, match=f"{name}: {fixed} is fixed when it is made"):
                setattr(again, fixed, before[fixed])
        with pytest.raises(AttributeError, match=f"{name}: has no setting '{unknown}'"):
            setattr(again, unknown, 1)
        assert again.get_config() == before


def test_specs_of_users_keep_what_they_like():
    class Mine(metrics.BinaryAccuracy):
        def __init__(self):
            super().__init__()
            self.note = 1
            self.threshold = 0.25

    assert Mine().threshold == 0.25


@pytest.mark.parametrize("name", ["beta_1", "amsgrad", "epsilon", "use_ema"])
def test_settings_of_other_optimizers_are_refused(name):
    with pytest.raises(AttributeError, match=f"SGD: has no setting '{name}'"):
        setattr(optimizers.SGD(), name, 1)


def test_names_of_metrics_are_those_that_compile_was_given():
    assert linear(metrics=["mse", "MeanSquaredErrorMetric"]).metrics_names == [
        "loss", "mse", "MeanSquaredErrorMetric",
    ]  # fmt: skip


# --- data of fit and predict --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "got"),
    [
        ((X, Y, Y), "a tuple of 3; weights of samples are not supported"),
        ((X,), "a tuple of 1"),
        ([], "a list of 0"),
        (5, "5"),
        ({"x": X, "y": Y}, "{'x'"),
        (np.ones((2, 4, 2)), "array"),
    ],
)
def test_validation_data_is_a_pair(given, got):
    with pytest.raises(ValueError, match="fit: validation_data must be") as caught:
        linear().fit(X, Y, verbose=0, validation_data=given)
    assert f"(x, y), got {got}" in str(caught.value)
    linear().fit(X, Y, verbose=0, validation_data=[X, Y])


def test_validation_split_is_looked_at_with_validation_data_too():
    for share in (None, "0.2", True, [0.2]):
        with pytest.raises(TypeError, match="fit: validation_split must be a number, got"):
            linear().fit(X, Y, verbose=0, validation_split=share)
    with pytest.raises(ValueError, match=r"fit: validation_split must be in \[0, 1\), got 7"):
        linear().fit(X, Y, verbose=0, validation_split=7, validation_data=(X, Y))


@pytest.mark.parametrize(
    ("values", "got"),
    [
        (None, "got None: it is missing"),
        ((row for row in X), "got generator; pass an array"),
        ({"x": X}, "got dict; pass an array"),
        ("text", "got str; pass an array"),
        ([None, 1], "got dtype object; convert with"),
    ],
)
def test_what_is_no_array_is_named(values, got):
    model = linear()
    for call in (model.predict, lambda x: model.fit(x, None), lambda y: model.fit(X, y)):
        with pytest.raises(DTypeError, match=r"sequential: .*expected real numbers") as caught:
            call(values)
        assert got in str(caught.value)


def test_lists_of_unequal_lengths_are_named():
    with pytest.raises(ValueError, match=r"expected an array, got nested lists of unequal"):
        linear().predict([[1.0, 2.0], [3.0]])


def test_a_list_of_one_input_is_the_input():
    """As in Keras; lists of rows stay arrays written as lists."""
    model = linear()
    want = model.predict(X)
    for given in ([X], (X,), X.tolist(), list(X)):
        np.testing.assert_array_equal(model.predict(given), want)
    np.testing.assert_array_equal(model.predict([X[0]]), want[:1])
    model.fit([X], Y, verbose=0, validation_data=([X], Y))
    with pytest.raises(DTypeError, match="masked"):
        model.predict([np.ma.masked_array(X)])


def test_several_inputs_are_a_list():
    a, b = Input((2,)), Input((2,))
    model = Model([a, b], Dense(1)(concatenate([a, b])))
    for given, got in (({"a": X, "b": X}, "a dict"), (X, "a ndarray"), ([X], "1"), ([X] * 3, "3")):
        with pytest.raises(ValueError, match=f"expected a list of 2 input arrays, got {got}"):
            model.predict(given)


@pytest.mark.parametrize("action", ["raise", "warn", "ignore"])
def test_the_state_of_numpys_errors_changes_nothing(action):
    """Under np.errstate(all="raise"), 1e-42 was beyond the range of float32."""
    model = linear()
    with np.errstate(all=action):
        model.predict(np.full((1, 2), 1e-42))
        model.predict(np.full((1, 2), 1e-300))
        signalling = np.full((1, 2), 0x7FF0000000000001, "u8").view("f8")
        assert np.isnan(model.predict(signalling)).all()
        model.fit(np.full((1, 2), 1e-300), [1e-300], verbose=0)
        with pytest.raises(ValueError, match="a value is beyond the range of float32"):
            model.predict(np.full((1, 2), 1e300))
