# SPDX-License-Identifier: Apache-2.0
"""The arenas of whole models, beside the most that any of their steps needs at once."""

from __future__ import annotations

import numpy as np
import pytest
from networks import plan_of

import pycnn
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


def lenet() -> pycnn.Model:
    return pycnn.Sequential(
        [
            Conv2D(6, 5, padding="same", activation="tanh", input_shape=(28, 28, 1)),
            AveragePooling2D(2),
            Conv2D(16, 5, activation="tanh"),
            AveragePooling2D(2),
            Flatten(),
            Dense(120, activation="tanh"),
            Dense(84, activation="tanh"),
            Dense(10, activation="softmax"),
        ]
    )


def mnist_cnn() -> pycnn.Model:
    return pycnn.Sequential(
        [
            Conv2D(32, 3, activation="relu", input_shape=(28, 28, 1)),
            Conv2D(64, 3, activation="relu"),
            MaxPooling2D(2),
            Dropout(0.25),
            Flatten(),
            Dense(128, activation="relu"),
            Dropout(0.5),
            Dense(10, activation="softmax"),
        ]
    )


def residual() -> pycnn.Model:
    """Six blocks of two 3x3 convolutions, in three stages."""

    def conv_norm(h, filters, size=3, strides=1):
        conv = Conv2D(filters, size, strides=strides, padding="same", use_bias=False)
        return BatchNormalization()(conv(h))

    x = Input((32, 32, 3))
    h = Activation("relu")(conv_norm(x, 16))
    for filters in (16, 32, 64):
        for block in range(2):
            strides = 2 if block == 0 and filters > 16 else 1
            y = Activation("relu")(conv_norm(h, filters, strides=strides))
            skip = conv_norm(h, filters, 1, strides) if strides == 2 else h
            h = Activation("relu")(Add()([conv_norm(y, filters), skip]))
    return pycnn.Model(x, Dense(10, activation="softmax")(GlobalAveragePooling2D()(h)))


@pytest.mark.parametrize("make", (lenet, mnist_cnn, residual))
@pytest.mark.parametrize("batch", (1, 16, 32))
def test_arenas_are_within_a_twentieth_of_the_lower_bound(make, batch):
    model = make()
    model.compile("adam", "sparse_categorical_crossentropy")
    shape = (batch, *model.input_shape[1:])
    model.train_on_batch(np.zeros(shape, np.float32), np.zeros(batch, np.int64))
    for mode in ("predict", "train"):
        plan = plan_of(model, mode, batch)
        assert plan.arena_lower_bound <= plan.arena_bytes <= 1.05 * plan.arena_lower_bound, mode
