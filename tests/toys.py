# SPDX-License-Identifier: Apache-2.0
"""Small models and easy data for the tests of training."""

from __future__ import annotations

import numpy as np

from pycnn.layers import Dense, Dropout
from pycnn.models import Sequential


def blobs(samples=90, classes=3, seed=0):
    """Points around the corners of a simplex: easy to separate."""
    generator = np.random.default_rng(seed)
    y = generator.integers(0, classes, samples)
    x = 2 * np.eye(classes)[y] + generator.standard_normal((samples, classes)) / 3
    return x.astype(np.float32), y


def classifier(classes=3, optimizer="adam", **compile_options):
    model = Sequential([Dense(8, activation="relu", input_dim=classes), Dropout(0.1)])
    model.add(Dense(classes, activation="softmax"))
    options = {"loss": "sparse_categorical_crossentropy", "metrics": ["accuracy"]}
    model.compile(optimizer, **{**options, **compile_options})
    return model


def linear(optimizer="sgd", loss="mse", **options):
    model = Sequential([Dense(1, input_dim=2)])
    model.compile(optimizer, loss, **options)
    return model


def same_weights(a, b):
    return all(map(np.array_equal, a.get_weights(), b.get_weights()))


def tiny():
    """A model whose file is small enough to damage everywhere."""
    return Sequential([Dense(2, input_dim=3)])
