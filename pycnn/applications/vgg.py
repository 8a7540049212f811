# SPDX-License-Identifier: Apache-2.0
"""VGG (Simonyan and Zisserman 2014, arXiv:1409.1556)."""

from __future__ import annotations

from ..layers import Conv2D, Dense, Dropout, Flatten, Input, Layer, MaxPooling2D
from ..models import Sequential


def vgg16(input_shape: tuple[int, int, int] = (224, 224, 3), classes: int = 1000) -> Sequential:
    """VGG-16 (configuration D); 138,357,544 weights and 15.5 billion multiply-adds.

    Shape: (N, H, W, C) -> (N, classes) probabilities; H and W at least 32.
    """
    layers: list[Layer] = []
    for repeats, filters in ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512)):
        for _ in range(repeats):
            layers.append(
                Conv2D(
                    filters,
                    3,
                    padding="same",
                    activation="relu",
                    kernel_initializer="he_normal",
                )
            )
        layers.append(MaxPooling2D())
    layers.append(Flatten())
    for _ in range(2):
        layers.append(Dense(4096, activation="relu", kernel_initializer="he_normal"))
        layers.append(Dropout(0.5))
    layers.append(Dense(classes, activation="softmax"))
    return Sequential([Input(input_shape), *layers], name="vgg16")
