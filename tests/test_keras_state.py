# SPDX-License-Identifier: Apache-2.0
"""The same script under Keras and under pycnn ends with the same weights: who owns what state.

Needs Keras with a backend that trains (KERAS_BACKEND=jax, tensorflow or torch): pytest -m peers.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore")]

RNG = np.random.default_rng(0)
X = RNG.standard_normal((8, 4)).astype(np.float32)
Y = RNG.standard_normal((8, 3)).astype(np.float32)
ONE = np.ones((8, 1), np.float32)
Script = Callable[[Any, Callable[[Any], Any]], list[Any]]


def train(model: Any, x: Any = X, y: Any = Y, steps: int = 3) -> None:
    for _ in range(steps):
        model.train_on_batch(x, y)


def dense(K: Any, units: int, **options: Any) -> Any:
    return K.layers.Dense(units, **options)


# A script builds with K (keras or pycnn), passes each model to `same` before it is used, which
# gives both the same weights, and returns models whose weights must agree at the end.


def new_head_on_a_trained_model(K: Any, same: Callable[[Any], Any]) -> list[Any]:
    x = K.Input((4,))
    features = dense(K, 5, activation="tanh")(x)
    base = same(K.Model(x, dense(K, 3)(features)))
    base.compile(K.optimizers.Adam(0.01), "mse")
    train(base)
    head = same(K.Model(x, dense(K, 3)(features)))
    head.compile(K.optimizers.Adam(0.01), "mse")
    train(head)
    train(base)
    return [base, head]


def frozen_base_inside_a_sequential(K: Any, same: Callable[[Any], Any]) -> list[Any]:
    base = K.Sequential([K.Input((4,)), dense(K, 5), K.layers.BatchNormalization()])
    base.trainable = False
    model = same(K.Sequential([K.Input((4,)), base, dense(K, 3)]))
    model.compile(K.optimizers.SGD(0.1, momentum=0.9), "mse")
    train(model)
    base.trainable = True
    base.layers[-1].trainable = False
    model.compile(K.optimizers.SGD(0.01), "mse")
    train(model)
    return [model, base]


def gan(K: Any, same: Callable[[Any], Any]) -> list[Any]:
    critic = same(K.Sequential([K.Input((4,)), dense(K, 6, activation="tanh"), dense(K, 1)]))
    critic.compile(K.optimizers.Adam(0.01), "mse")
    train(critic, X, ONE, 1)
    generator = same(K.Sequential([K.Input((4,)), dense(K, 4)]))
    critic.trainable = False
    noise = K.Input((4,))
    both = K.Model(noise, critic(generator(noise)))
    both.compile(K.optimizers.Adam(0.02), "mse")
    train(both, X, ONE * 2, 3)
    return [generator, critic, both]


def one_layer_two_optimizers(K: Any, same: Callable[[Any], Any]) -> list[Any]:
    x, shared = K.Input((4,)), dense(K, 5)
    models = [same(K.Model(x, dense(K, 3)(shared(x)))) for _ in range(2)]
    for model, rate in zip(models, (0.01, 0.03), strict=True):
        model.compile(K.optimizers.Adam(rate), "mse")
    for _ in range(4):
        for model in models:
            train(model, steps=1)
    return models


def settings_changed_between_steps(K: Any, same: Callable[[Any], Any]) -> list[Any]:
    model = same(K.Sequential([K.Input((4,)), dense(K, 3)]))
    model.compile(K.optimizers.SGD(0.1, momentum=0.9), "mse")
    train(model)
    model.optimizer.learning_rate = 0.05
    train(model)
    return [model]


def a_model_used_twice_in_another(K: Any, same: Callable[[Any], Any]) -> list[Any]:
    inner = K.Sequential([K.Input((4,)), dense(K, 4, activation="tanh")])
    x = K.Input((4,))
    model = same(K.Model(x, dense(K, 3)(inner(inner(x)))))
    model.compile(K.optimizers.Adam(0.01), "mse")
    train(model)
    return [model, inner]


def layers_added_after_training(K: Any, same: Callable[[Any], Any]) -> list[Any]:
    model = same(K.Sequential([K.Input((4,)), dense(K, 5), dense(K, 3)]))
    model.compile(K.optimizers.SGD(0.1), "mse")
    train(model)
    model.pop()
    model.add(dense(K, 3))
    same(model)
    model.compile(K.optimizers.SGD(0.1), "mse")
    train(model)
    return [model]


def recompiled_with_the_same_optimizer(K: Any, same: Callable[[Any], Any]) -> list[Any]:
    model = same(K.Sequential([K.Input((4,)), dense(K, 3)]))
    adam = K.optimizers.Adam(0.01)
    for loss in ("mse", "mse"):
        model.compile(adam, loss)
        train(model)
    return [model]


SCRIPTS: list[Script] = [
    new_head_on_a_trained_model,
    frozen_base_inside_a_sequential,
    gan,
    one_layer_two_optimizers,
    settings_changed_between_steps,
    a_model_used_twice_in_another,
    layers_added_after_training,
    recompiled_with_the_same_optimizer,
]


def start_weights(model: Any, seen: set[int]) -> Any:
    """Gives weights that no earlier model of the script had values a function of their shape."""
    values = []
    for i, variable in enumerate(model.weights):
        array = np.asarray(variable.numpy() if hasattr(variable, "numpy") else variable)
        if id(variable) not in seen and array.ndim == 2:
            array = np.cos(np.arange(array.size) + i).reshape(array.shape) * 0.5
        seen.add(id(variable))
        values.append(array.astype(np.float32))
    model.set_weights(values)
    return model


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.__name__)
def test_the_same_weights_as_keras(script):
    pytest.importorskip("keras")
    results = []
    for name in ("keras", "pycnn"):
        package = importlib.import_module(name)
        seen: set[int] = set()
        models = script(package, lambda model, seen=seen: start_weights(model, seen))
        results.append([model.get_weights() for model in models])
    for theirs, ours in zip(*results, strict=True):
        assert len(theirs) == len(ours)
        for a, b in zip(theirs, ours, strict=True):
            np.testing.assert_allclose(b, np.asarray(a), rtol=2e-4, atol=2e-5)
