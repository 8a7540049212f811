# SPDX-License-Identifier: Apache-2.0
"""Model files: models come back to the bit; writing is all or nothing."""

from __future__ import annotations

import copy
import json
import os
import pickle
import struct

import numpy as np
import pytest
from toys import same_weights, tiny

from pycnn import metrics, optimizers
from pycnn.errors import NumericError
from pycnn.files import saving
from pycnn.layers import (
    Activation,
    Add,
    AveragePooling2D,
    BatchNormalization,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GlobalAveragePooling2D,
    Input,
    MaxPooling2D,
)
from pycnn.models import Model, Sequential, load_model

X = np.random.default_rng(0).standard_normal((12, 8, 8, 1)).astype(np.float32)
Y = np.arange(12) % 3


def small():
    """A Sequential with every kind of layer that fits one."""
    return Sequential(
        [
            Input((8, 8, 1)),
            Conv2D(2, 3, padding=((1, 0), (0, 1)), kernel_initializer="he_normal", name="first"),
            BatchNormalization(scale=False),
            Activation("leaky_relu"),
            MaxPooling2D(padding="same"),
            AveragePooling2D(2, strides=1),
            Flatten(),
            Dropout(0.2),
            Dense(3, activation="softmax"),
        ],
        name="small",
    )


def trained(optimizer="adam"):
    model = small()
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(X, Y, epochs=2, batch_size=5, verbose=0)
    return model


def branched():
    x = Input((8, 8, 1))
    y = Conv2D(4, 3, padding="same", groups=1)(x)
    z = Conv2D(4, 1)(x)
    shared = Dense(4)
    y = shared(GlobalAveragePooling2D()(Add()([y, z])))
    return Model(x, [shared(y), y])


def header_of(data):
    (length,) = struct.unpack_from("<Q", data)
    return json.loads(data[8 : 8 + length]), data[8 + length :]


# --- there and back -----------------------------------------------------------------------------


@pytest.mark.parametrize("make", [small, trained, branched, tiny])
def test_round_trip(make, tmp_path):
    model = make()
    model.save(tmp_path / "model.pycnn")
    again = load_model(tmp_path / "model.pycnn")
    assert type(again) is type(model)
    assert again.name == model.name
    assert [layer.get_config() for layer in again.layers] == [
        layer.get_config() for layer in model.layers
    ]
    assert same_weights(again, model)
    if model.input_shape == (None, 8, 8, 1):
        np.testing.assert_array_equal(again.predict(X), model.predict(X))
    again.save(tmp_path / "again.pycnn")
    files = [(tmp_path / name).read_bytes() for name in ("model.pycnn", "again.pycnn")]
    assert files[0] == files[1]


@pytest.mark.parametrize("optimizer", ["adam", "sgd", optimizers.SGD(0.1, 0.9, nesterov=True)])
def test_training_goes_on_where_it_was_saved(optimizer, tmp_path):
    model = trained(optimizer)
    model.save(tmp_path / "model.pycnn")
    again = load_model(tmp_path / "model.pycnn")
    assert again.optimizer == model.optimizer
    assert again.optimizer.iterations == model.optimizer.iterations == 6
    assert again.metrics_names == ["loss", "accuracy"]
    for each in (model, again):
        each.fit(X, Y, epochs=2, batch_size=5, verbose=0)
    assert same_weights(again, model)


def test_without_the_optimizer_training_starts_anew(tmp_path):
    model = trained()
    model.save(tmp_path / "with.pycnn")
    model.save(tmp_path / "without.pycnn", include_optimizer=False)
    assert (tmp_path / "without.pycnn").stat().st_size < (tmp_path / "with.pycnn").stat().st_size
    again = load_model(tmp_path / "without.pycnn")
    assert again.optimizer.iterations == 0
    again.fit(X, Y, verbose=0)


def test_pickle_and_deepcopy_use_the_container():
    model = trained()
    assert model.__reduce__()[0] is saving.from_bytes
    for again in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert same_weights(again, model)
        again.fit(X, Y, verbose=0)
    assert not same_weights(again, model)


@pytest.mark.parametrize("frozen_first", [True, False])
def test_layers_frozen_or_thawed_after_the_model_was_made(frozen_first, tmp_path):
    model = small()
    model.layers[0].trainable = not frozen_first
    _ = model.get_weights()
    model.layers[0].trainable = frozen_first = not model.layers[0].trainable
    assert [v.trainable for v in model.layers[0].weights] == [frozen_first] * 2
    assert len(model.trainable_weights) == (5 if frozen_first else 3)
    model.compile("adam", "sparse_categorical_crossentropy")
    before = model.layers[0].get_weights()[0]
    model.fit(X, Y, batch_size=5, verbose=0)
    assert (before != model.layers[0].get_weights()[0]).any() == frozen_first
    model.save(tmp_path / "model.pycnn")
    again = load_model(tmp_path / "model.pycnn")
    header, _ = header_of((tmp_path / "model.pycnn").read_bytes())
    assert ("opt.m:first/kernel" in header) == frozen_first
    for each in (model, again):
        each.fit(X, Y, batch_size=5, verbose=0)
    assert same_weights(again, model)


@pytest.mark.parametrize("built", [True, False])
@pytest.mark.parametrize("compiled_while", ["frozen", "thawed"])
def test_copies_of_frozen_models_train_what_the_original_trains(built, compiled_while):
    """The model's own flag and those of compile() go with it, whatever its layers' flags say."""
    model = Sequential([*([Input((4,))] if built else []), Dense(3), Dense(2)])
    model.trainable = compiled_while == "thawed"
    model.compile("sgd", "mse")
    model.trainable = False
    model.layers[0].trainable = True
    again = copy.deepcopy(model)
    assert again.trainable is False and again.layers[0].trainable and not again.layers[1].trainable
    x, y = np.ones((3, 4), np.float32), np.ones((3, 2), np.float32)
    for each in (model, again):
        each.train_on_batch(x, y)
        start = copy.deepcopy(each).get_weights()
        each.train_on_batch(x, y)
        moved = [not np.array_equal(*pair) for pair in zip(start, each.get_weights(), strict=True)]
        assert moved == [compiled_while == "thawed"] * 4
        each.compile("sgd", "mse")
        assert each.trainable_weights == []


def test_layers_added_after_compile_are_trained_as_they_were_at_the_first_step():
    """Copies agree with the original about them."""
    model = Sequential([Input((4,)), Dense(3)])
    model.compile("sgd", "mse")
    model.add(Dense(2))
    x, y = np.ones((3, 4), np.float32), np.ones((3, 2), np.float32)
    model.train_on_batch(x, y)
    model.layers[1].trainable = False  # too late
    again = copy.deepcopy(model)
    for each in (model, again):
        each.train_on_batch(x, y)
    assert same_weights(model, again)
    assert model.is_trained(model.layers[1])


@pytest.mark.parametrize(
    "optimizer",
    [
        optimizers.SGD(np.float32(0.5), np.float32(0.25), np.bool_(True)),
        optimizers.Adam(np.float64(0.5), np.float32(0.5), weight_decay=np.float32(0.25)),
    ],
)
def test_numpy_scalars_are_saved(optimizer, tmp_path):
    model = Sequential(
        [
            Input((np.int64(8), np.int32(8), 1)),
            Conv2D(np.int64(2), np.int32(3), use_bias=np.bool_(False), trainable=np.bool_(True)),
            BatchNormalization(np.int64(-1), np.float32(0.5), np.float32(0.25), np.bool_(True)),
            Flatten(),
            Dropout(np.float32(0.5)),
            Dense(3, activation=np.str_("softmax"), input_dim=np.int64(72)),
        ]
    )
    model.layers[1].trainable = np.bool_(False)
    metric = metrics.SparseCategoricalAccuracy(np.str_("hits"))
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=[metric])
    model.fit(X, Y, verbose=0)
    model.optimizer.learning_rate = np.float32(0.125)
    model.save(tmp_path / "model.pycnn")
    again = load_model(tmp_path / "model.pycnn")
    assert [each.get_config() for each in again.layers] == [
        each.get_config() for each in model.layers
    ]
    assert again.optimizer == model.optimizer
    assert again.layers[3].rate == 0.5


def test_trainable_must_be_a_bool():
    layer = Dense(3)
    with pytest.raises(TypeError, match="Dense: trainable must be a bool, got 'no'"):
        layer.trainable = "no"


def test_shared_layers_stay_shared(tmp_path):
    branched().save(tmp_path / "model.pycnn")
    again = load_model(tmp_path / "model.pycnn")
    assert sum(type(layer) is Dense for layer in again.layers) == 1


def test_file_is_plain_safetensors(tmp_path):
    model = trained()
    model.save(tmp_path / "model.pycnn")
    data = (tmp_path / "model.pycnn").read_bytes()
    header, body = header_of(data)
    assert (len(data) - len(body)) % 64 == 0
    assert all(isinstance(v, str) for v in header["__metadata__"].values())
    entry = header["first/kernel"]
    assert (entry["dtype"], entry["shape"]) == ("F32", [3, 3, 1, 2])
    begin, end = entry["data_offsets"]
    kernel = np.frombuffer(body[begin:end], "<f4").reshape(entry["shape"])
    np.testing.assert_array_equal(kernel, model.get_weights()[0])
    assert "opt.m:first/kernel" in header
    assert "opt.v:dense/bias" in header


# --- writing ------------------------------------------------------------------------------------


def test_saving_is_all_or_nothing(tmp_path, monkeypatch):
    path = tmp_path / "model.pycnn"
    model = tiny()
    model.save(path)
    before = path.read_bytes()

    def fail(*arguments):
        raise OSError(28, "No space left on device")

    for function in ("replace", "fsync"):
        with monkeypatch.context() as patch:
            patch.setattr(os, function, fail)
            with pytest.raises(OSError, match="No space left"):
                model.save(path)
        assert path.read_bytes() == before
        assert [p.name for p in tmp_path.iterdir()] == ["model.pycnn"]


def test_overwrite_false(tmp_path):
    path = tmp_path / "model.pycnn"
    tiny().save(path)
    with pytest.raises(FileExistsError, match="overwrite is False"):
        tiny().save(path, overwrite=False)


def test_non_finite_weights_are_refused_unless_allowed(tmp_path):
    path = tmp_path / "model.pycnn"
    model = tiny()
    model.set_weights([np.full((3, 2), np.nan), np.zeros(2)])
    with pytest.raises(NumericError, match="dense/kernel has NaN or infinite values"):
        model.save(path)
    assert not path.exists()
    model.save(path, allow_nonfinite=True)
    assert np.isnan(load_model(path).get_weights()[0]).all()
