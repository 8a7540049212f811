# SPDX-License-Identifier: Apache-2.0
"""MobileNetV2 (Sandler et al. 2018, arXiv:1801.04381)."""

from __future__ import annotations

from ..engine.tensors import Tensor
from ..layers import Add, Dense, Dropout, GlobalAveragePooling2D, Input
from ..models import Model
from .blocks import channels_of, conv_bn

# Table 2: expansion, output channels, repeats, stride of the first
BLOCKS = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def mobilenetv2(input_shape: tuple[int, int, int] = (224, 224, 3), classes: int = 1000) -> Model:
    """MobileNetV2 of width 1; 3,504,872 trainable weights and 301 million multiply-adds.

    Shape: (N, H, W, C) -> (N, classes) probabilities.
    """
    image = Input(input_shape)
    x = conv_bn(image, 32, 3, 2, activation="relu6")
    for expansion, filters, repeats, stride in BLOCKS:
        for i in range(repeats):
            x = _inverted_residual(x, expansion, filters, stride if i == 0 else 1)
    x = GlobalAveragePooling2D()(conv_bn(x, 1280, 1, activation="relu6"))
    y = Dense(classes, activation="softmax")(Dropout(0.2)(x))
    return Model(image, y, name="mobilenetv2")


def _inverted_residual(x: Tensor, expansion: int, filters: int, stride: int) -> Tensor:
    hidden = expansion * channels_of(x)
    y = x if expansion == 1 else conv_bn(x, hidden, 1, activation="relu6")
    y = conv_bn(y, hidden, 3, stride, groups=hidden, activation="relu6")
    y = conv_bn(y, filters, 1)
    return Add()([x, y]) if x.shape == y.shape else y
