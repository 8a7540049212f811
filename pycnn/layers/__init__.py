# SPDX-License-Identifier: Apache-2.0
"""Layers, under their Keras 3 names. Each is a spec that adds nodes to a graph."""

from __future__ import annotations

from .base import Layer
from .convolution import Conv2D, Convolution2D
from .core import Activation, Add, Dense, Dropout, Flatten, Input, InputLayer, add
from .normalization import BatchNormalization
from .pooling import (
    AveragePooling2D,
    AvgPool2D,
    GlobalAveragePooling2D,
    GlobalAvgPool2D,
    MaxPool2D,
    MaxPooling2D,
)

# The closed table saved models are read with.
LAYERS: dict[str, type[Layer]] = {
    layer.__name__: layer
    for layer in (
        Activation,
        Add,
        AveragePooling2D,
        BatchNormalization,
        Conv2D,
        Dense,
        Dropout,
        Flatten,
        GlobalAveragePooling2D,
        InputLayer,
        MaxPooling2D,
    )
}

__all__ = [
    "LAYERS",
    "Activation",
    "Add",
    "AveragePooling2D",
    "AvgPool2D",
    "BatchNormalization",
    "Conv2D",
    "Convolution2D",
    "Dense",
    "Dropout",
    "Flatten",
    "GlobalAveragePooling2D",
    "GlobalAvgPool2D",
    "Input",
    "InputLayer",
    "Layer",
    "MaxPool2D",
    "MaxPooling2D",
    "add",
]
