# SPDX-License-Identifier: Apache-2.0
"""Layers, under their Keras 3 names. Each is a spec that adds nodes to a graph."""

from __future__ import annotations

from .base import Layer
from .convolution import Conv2D, Conv2DTranspose, Convolution2D, Convolution2DTranspose
from .core import (
    Activation,
    Add,
    Concatenate,
    Dense,
    Dropout,
    Flatten,
    Input,
    InputLayer,
    add,
    concatenate,
)
from .normalization import BatchNormalization
from .pooling import (
    AveragePooling2D,
    AvgPool2D,
    GlobalAveragePooling2D,
    GlobalAvgPool2D,
    MaxPool2D,
    MaxPooling2D,
    UpSampling2D,
)

# The closed table saved models are read with.
LAYERS: dict[str, type[Layer]] = {
    layer.__name__: layer
    for layer in (
        Activation,
        Add,
        AveragePooling2D,
        BatchNormalization,
        Concatenate,
        Conv2D,
        Conv2DTranspose,
        Dense,
        Dropout,
        Flatten,
        GlobalAveragePooling2D,
        InputLayer,
        MaxPooling2D,
        UpSampling2D,
    )
}

__all__ = [
    "LAYERS",
    "Activation",
    "Add",
    "AveragePooling2D",
    "AvgPool2D",
    "BatchNormalization",
    "Concatenate",
    "Conv2D",
    "Conv2DTranspose",
    "Convolution2D",
    "Convolution2DTranspose",
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
    "UpSampling2D",
    "add",
    "concatenate",
]
