# SPDX-License-Identifier: Apache-2.0
"""State has one owner: weights belong to layers, slots to optimizers, models are graphs (C)."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from toys import same_weights

from pycnn import losses, optimizers
from pycnn.errors import ModelFormatError, ShapeError
from pycnn.initializers import Zeros
from pycnn.layers import Add, BatchNormalization, Conv2D, Dense, Dropout, Flatten, Input
from pycnn.models import Model, Sequential, load_model

RNG = np.random.default_rng(0)
X = RNG.standard_normal((8, 4)).astype(np.float32)
Y = RNG.standard_normal((8, 2)).astype(np.float32)


def encoder(name: str = "") -> Sequential:
    return Sequential([Input((4,)), Dense(3, activation="tanh"), Dense(3)], name=name)


def fitted(model, x=X, y=Y, optimizer="adam"):
    model.compile(optimizer, "mse")
    model.fit(x, y, epochs=2, verbose=0)
    return model


# --- models as layers -----------------------------------------------------------------------------


def test_a_model_inside_a_model_shares_its_weights():
    inner = encoder()
    x = Input((4,))
    outer = Model(x, Dense(2)(inner(x)))
    assert [layer.name for layer in outer.layers] == ["input_layer", "sequential", "dense"]
    assert list(outer.network.variables) == [
        "sequential/dense/kernel", "sequential/dense/bias", "sequential/dense_1/kernel",
        "sequential/dense_1/bias", "dense/kernel", "dense/bias",
    ]  # fmt: skip
    before = inner.predict(X)
    fitted(outer)
    assert (inner.predict(X) != before).any()
    w = outer.get_weights()
    want = (np.tanh(X @ w[0] + w[1]) @ w[2] + w[3]) @ w[4] + w[5]
    np.testing.assert_allclose(outer.predict(X), want, atol=1e-6)
    np.testing.assert_array_equal(inner.get_weights()[0], w[0])


def test_models_in_a_sequential_in_a_model_twice_used():
    inner = encoder("inner")
    stack = Sequential([Input((4,)), inner, Dense(4)])
    twice = Sequential([stack, stack.layers[-1].__class__(2)])
    x = Input((4,))
    shared = Model(x, Dense(2)(stack(stack(x))))
    assert len(stack.get_weights()) == 6
    assert len(twice.get_weights()) == len(shared.get_weights()) == 8
    assert twice.count_params() == shared.count_params()
    fitted(twice)
    fitted(shared)
    np.testing.assert_array_equal(twice.get_weights()[0], shared.get_weights()[0])


def test_a_model_with_two_inputs_and_outputs_is_a_layer(tmp_path):
    a, b = Input((4,), name="a"), Input((4,), name="b")
    both = Add()([Dense(4)(a), b])
    inner = Model([a, b], [both, Dense(3)(both)], name="inner")
    x, z = Input((4,)), Input((4,))
    y, h = inner([x, z])
    outer = Model([x, z], [h, y])
    got, want = outer.predict([X, X]), inner.predict([X, X])
    np.testing.assert_array_equal(got[0], want[1])
    np.testing.assert_array_equal(got[1], want[0])
    outer.save(tmp_path / "m.pycnn")
    again = load_model(tmp_path / "m.pycnn")
    assert same_weights(again, outer)
    np.testing.assert_array_equal(again.predict([X, X])[0], got[0])
    with pytest.raises(ShapeError, match=r"inner: expected shape \(None, 4\), got \(None, 5\)"):
        inner([x, Input((5,))])
    with pytest.raises(ValueError, match="inner: expected 2 inputs, got 1"):
        inner(x)


def test_an_unbuilt_sequential_takes_the_shape_it_is_called_with():
    inner = Sequential([Flatten(), Dense(3)])
    x = Input((2, 2, 1))
    outer = Model(x, inner(x))
    assert inner.input_shape == (None, 2, 2, 1)
    assert outer.output_shape == (None, 3)
    late = Sequential([Sequential([Dense(3)]), Dense(2)])
    assert late.predict(X).shape == (8, 2)


def test_saving_keeps_models_inside_models(tmp_path):
    outer = fitted(Sequential([encoder("inner"), Dropout(0.5), Dense(2)]))
    outer.save(tmp_path / "m.pycnn")
    again = load_model(tmp_path / "m.pycnn")
    assert same_weights(again, outer)
    assert again.get_layer("inner").layers[0].units == 3
    for model in (outer, again):
        model.fit(X, Y, verbose=0)
    assert same_weights(again, outer)


def test_summary_of_nested_models(capsys):
    Sequential([encoder("inner"), Dense(2)]).summary()
    text = capsys.readouterr().out
    assert "inner (Sequential)" in text
    assert "parameters: 35 (35 trainable, 0 not)" in text
    assert "MACs a sample: 27" in text


# --- layers in several models ---------------------------------------------------------------------


def test_two_trained_models_meet_in_a_third():
    first, second = (fitted(Sequential([Dense(2, input_dim=4)])) for _ in range(2))
    total = Model([first.input, second.input], Add()([first.output, second.output]))
    want = first.predict(X) + second.predict(X)
    np.testing.assert_array_equal(total.predict([X, X]), want)
    assert len(total.get_weights()) == 4


def test_the_gan_recipe():
    """Finding 15: the discriminator learns by its own steps, the generator through a frozen one."""
    generator = Sequential([Dense(4, input_dim=4, kernel_initializer="zeros")], name="g")
    critic = Sequential([Dense(1, input_dim=4, kernel_initializer=Zeros())], name="d")
    critic.compile(optimizers.SGD(0.1, momentum=0.9), "mse")
    critic.trainable = False
    gan = Sequential([generator, critic])
    gan.compile(optimizers.SGD(0.1, momentum=0.9), "mse")
    noise, ones = np.ones((2, 4), np.float32), np.ones((2, 1), np.float32)
    assert [len(m.trainable_weights) for m in (generator, critic, gan)] == [2, 0, 2]
    # critic: b = 0, v = 0; d loss/db = 2*(p - 1); each Dense starts at zero
    weights = np.zeros(4), 0.0
    velocity = np.zeros(4), 0.0
    for _ in range(3):
        real = np.ones((2, 4), np.float32)
        critic.train_on_batch(real, ones)
        error = 2 * (weights[0].sum() + weights[1] - 1)
        velocity = 0.9 * velocity[0] - 0.1 * error * np.ones(4), 0.9 * velocity[1] - 0.1 * error
        weights = weights[0] + velocity[0], weights[1] + velocity[1]
        got = critic.get_weights()
        np.testing.assert_allclose(got[0][:, 0], weights[0], rtol=1e-6)
        np.testing.assert_allclose(got[1][0], weights[1], rtol=1e-6)
        before = generator.get_weights()
        gan.train_on_batch(noise, ones * 7)
        assert (generator.get_weights()[1] != before[1]).any()
        np.testing.assert_array_equal(critic.get_weights()[1], got[1])  # frozen in the gan


def test_add_after_training_leaves_no_stale_copies():
    model = fitted(Sequential([Dense(3, input_dim=4), Dense(2)]))
    part = Model(model.input, model.layers[0].output)
    handle = model.layers[0].weights[0]
    model.add(Dense(2))
    fitted(model)
    np.testing.assert_array_equal(handle.numpy(), model.get_weights()[0])
    want = X @ model.get_weights()[0] + model.get_weights()[1]
    np.testing.assert_allclose(part.predict(X), want, atol=1e-6)


# --- trainable ------------------------------------------------------------------------------------


def moved(model):
    before = model.get_weights()
    model.fit(X, Y, verbose=0)
    return [bool((a != b).any()) for a, b in zip(before, model.get_weights(), strict=True)]


def test_model_trainable_false_freezes_every_layer():
    model = Sequential([Dense(3, input_dim=4), BatchNormalization(), Dense(2)])
    model.trainable = False
    assert [layer.trainable for layer in model.layers] == [False] * 3
    assert model.trainable_weights == [] and len(model.non_trainable_weights) == 8
    model.compile("sgd", "mse")
    assert moved(model) == [False] * 8
    with pytest.raises(TypeError, match="trainable must be a bool"):
        model.trainable = "no"


def test_trainable_is_read_at_compile():
    model = Sequential([Dense(3, input_dim=4), Dense(2)])
    model.compile("sgd", "mse")
    model.layers[0].trainable = False  # too late
    assert moved(model) == [True] * 4
    model.compile("sgd", "mse")
    model.layers[0].trainable = True
    assert moved(model) == [False, False, True, True]


def test_a_frozen_model_inside_stays_frozen():
    base = encoder("base")
    base.trainable = False
    model = Sequential([base, Dense(2)])
    model.compile("sgd", "mse")
    assert moved(model) == [False] * 4 + [True] * 2
    base.trainable = True
    base.layers[0].trainable = False
    model.compile("sgd", "mse")
    assert moved(model) == [False] * 2 + [True] * 4


def test_flags_as_compiled_survive_the_file(tmp_path):
    model = fitted(Sequential([Dense(3, input_dim=4), Dense(2)]))
    model.layers[0].trainable = False  # after compile(): the training goes on with it
    model.save(tmp_path / "m.pycnn")
    again = load_model(tmp_path / "m.pycnn")
    assert again.layers[0].trainable is False
    for each in (model, again):
        each.fit(X, Y, verbose=0)
    assert same_weights(again, model)


# --- settings -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"), [("momentum", 0.0), ("nesterov", True), ("weight_decay", 0.5)]
)
def test_a_changed_setting_of_the_optimizer_holds_from_the_next_step(name, value):
    def train(optimizer, later):
        model = Sequential([Dense(2, input_dim=4, kernel_initializer="ones")])
        model.compile(optimizer, "mse")
        model.fit(X, Y, verbose=0, batch_size=8)
        state = [optimizer.state.get(v.core, "velocity") for v in model.weights]
        for key, new in later.items():
            setattr(optimizer, key, new)
        model.fit(X, Y, verbose=0, batch_size=8)
        return model.get_weights(), state

    def expected(weights, velocity, settings):
        # one step in NumPy from the given state
        kernel, bias = weights
        error = 2 * (X @ kernel + bias - Y) / Y.size
        gradients = X.T @ error, error.sum(0)
        rate, momentum, decay = 0.1, settings["momentum"], settings["weight_decay"] or 0
        result = []
        for w, v, g in zip(weights, velocity, gradients, strict=True):
            v = momentum * v - rate * g
            step = momentum * v - rate * g if settings["nesterov"] else v
            result.append(w - rate * decay * w + step)
        return result

    start = {"momentum": 0.9, "nesterov": False, "weight_decay": None}
    first, state = train(optimizers.SGD(0.1, momentum=0.9), {})
    one = Sequential([Dense(2, input_dim=4, kernel_initializer="ones")])
    one.compile(optimizers.SGD(0.1, momentum=0.9), "mse")
    one.fit(X, Y, verbose=0, batch_size=8)
    for got, want in zip(first, expected(one.get_weights(), state, start), strict=True):
        np.testing.assert_allclose(got, want, atol=1e-5)
    changed, _ = train(optimizers.SGD(0.1, momentum=0.9), {name: value})
    settings = {**start, name: value}
    for got, want in zip(changed, expected(one.get_weights(), state, settings), strict=True):
        np.testing.assert_allclose(got, want, atol=1e-5)
    assert any((a != b).any() for a, b in zip(first, changed, strict=True))


def test_settings_are_checked_when_they_are_set():
    adam = optimizers.Adam()
    with pytest.raises(ValueError, match=r"Adam: beta_1 must be in \[0, 1\)"):
        adam.beta_1 = 2
    assert adam.beta_1 == 0.9
    with pytest.raises(ValueError, match="learning_rate"):
        adam.learning_rate = float("nan")


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (Sequential([Dense(2, input_dim=4)]), "kernel_regularizer"),
        (Sequential([Dense(2, input_dim=4)]), "lr"),
        (Sequential([Dense(2, input_dim=4)]), "trainble"),
        (Dense(2), "kernel_constraint"),
        (Dense(2), "activity_regularizer"),
        (Conv2D(2, 3), "trainabel"),
        (optimizers.Adam(), "lr"),
        (optimizers.SGD(), "clipnorm"),
    ],
)
def test_attributes_that_look_like_settings_are_refused(owner, name):
    """Finding 17: never silently kept."""
    with pytest.raises(AttributeError, match=f"has no setting '{name}'"):
        setattr(owner, name, 0.5)
    assert name not in vars(owner)
    owner.note_of_the_user = 1  # anything else may be kept


def test_iterations_count_steps_of_the_core():
    model = fitted(Sequential([Dense(2, input_dim=4)]))
    assert model.optimizer.iterations == 2
    adam = model.optimizer
    model.compile(adam, "mse")  # as Keras: an optimizer keeps what it knows
    assert adam.iterations == 2


# --- copies ---------------------------------------------------------------------------------------


def test_copies_of_an_unbuilt_sequential():
    model = Sequential([Dense(3, activation="relu"), Dense(2)], name="late")
    model.compile(optimizers.SGD(0.5), "mse")
    for again in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert again.name == "late" and again.optimizer == model.optimizer
        again.fit(X, Y, verbose=0)
        assert again.layers[0] is not model.layers[0]
    model.fit(X, Y, verbose=0)
    assert same_weights(model, again)


def test_a_copied_optimizer_has_trained_nothing():
    model = fitted(Sequential([Dense(2, input_dim=4)]))
    again = copy.deepcopy(model.optimizer)
    assert again == model.optimizer and again.iterations == 0


# --- files ----------------------------------------------------------------------------------------


def test_a_layer_cannot_take_the_place_of_a_slot(tmp_path):
    """Finding 18: layers named like slots overwrote them."""
    layers = [Dense(4, input_dim=4, name="opt.m/dense"), Dense(4, name="dense"), Dense(2)]
    model = fitted(Sequential(layers))
    model.save(tmp_path / "m.pycnn")
    again = load_model(tmp_path / "m.pycnn")
    assert same_weights(again, model)
    for each in (model, again):
        each.fit(X, Y, verbose=0)
    assert same_weights(again, model)


def test_slots_of_older_files_are_found(tmp_path):
    from pycnn.files import container

    model = fitted(Sequential([Dense(2, input_dim=4)]))
    model.save(tmp_path / "m.pycnn")
    metadata, tensors = container.unpack((tmp_path / "m.pycnn").read_bytes())
    older = {name.replace(":", "/"): array for name, array in tensors.items()}
    assert "opt.m/dense/kernel" in older
    metadata.pop(container.CHECKSUM, None)
    (tmp_path / "old.pycnn").write_bytes(container.pack(metadata, older))
    again = load_model(tmp_path / "old.pycnn")
    for each in (model, again):
        each.fit(X, Y, verbose=0)
    assert same_weights(again, model)


class DenseOfMine(Dense):
    pass


class Mine(Model):
    pass


DenseOfMine.__name__ = "Dense"  # the name of ours, another layer


def test_saving_refuses_what_loading_could_not_rebuild(tmp_path):
    class Squared(losses.MeanSquaredError):
        pass

    class SGD(optimizers.SGD):
        pass

    x = Input((4,))
    layer, inner = Dense(2), encoder()
    shared = Model(x, Add()([inner(x), inner.layers[-1](Dense(3)(x))]))
    with pytest.raises(ValueError, match=r"layer mine cannot be loaded again: .* is not a layer"):
        Sequential([Input((4,)), DenseOfMine(2, name="mine")]).save(tmp_path / "m.pycnn")
    with pytest.raises(ValueError, match="mine cannot be loaded again: its class is"):
        Mine(x, layer(x)).save(tmp_path / "m.pycnn")
    with pytest.raises(ValueError, match="both inside and outside"):
        shared.save(tmp_path / "m.pycnn")
    for optimizer, loss in ((SGD(), "mse"), ("sgd", Squared())):
        model = Sequential([Dense(2, input_dim=4)])
        model.compile(optimizer, loss)
        model.fit(X, Y, verbose=0)
        with pytest.raises(ValueError, match="is not a class of pycnn"):
            model.save(tmp_path / "m.pycnn")
    assert list(tmp_path.iterdir()) == []


def test_deeply_nested_models_are_refused_by_name(tmp_path):
    model = encoder()
    for _ in range(9):
        model = Sequential([model], name="deep")
    with pytest.raises(ValueError, match="models inside models 8 deep"):
        model.save(tmp_path / "m.pycnn")
    with pytest.raises(ModelFormatError):
        load_model(__file__)
