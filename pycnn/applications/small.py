# SPDX-License-Identifier: Apache-2.0
"""Networks for handwritten digits."""

from __future__ import annotations

from ..layers import Conv2D, Dense, Dropout, Flatten, Input, MaxPooling2D
from ..models import Sequential


def lenet5(classes: int = 10) -> Sequential:
    """LeNet-5 (LeCun et al. 1998) with ReLU and max pooling; 61,706 weights for 10 classes.

    Shape: (N, 28, 28, 1) -> (N, classes) probabilities.
    """
    return Sequential(
        [
            Input((28, 28, 1)),
            Conv2D(6, 5, padding="same", activation="relu"),
            MaxPooling2D(),
            Conv2D(16, 5, activation="relu"),
            MaxPooling2D(),
            Flatten(),
            Dense(120, activation="relu"),
            Dense(84, activation="relu"),
            Dense(classes, activation="softmax"),
        ],
        name="lenet5",
    )


def mnist_cnn(classes: int = 10) -> Sequential:
    """The network of Keras' example "Simple MNIST convnet"; 34,826 weights for 10 classes.

    Shape: (N, 28, 28, 1) -> (N, classes) probabilities.
    """
    return Sequential(
        [
            Input((28, 28, 1)),
            Conv2D(32, 3, activation="relu"),
            MaxPooling2D(),
            Conv2D(64, 3, activation="relu"),
            MaxPooling2D(),
            Flatten(),
            Dropout(0.5),
            Dense(classes, activation="softmax"),
        ],
        name="mnist",
    )
