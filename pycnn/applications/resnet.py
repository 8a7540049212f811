# SPDX-License-Identifier: Apache-2.0
"""Residual networks (He et al. 2015, arXiv:1512.03385)."""

from __future__ import annotations

from typing import Any

from ..engine.tensors import Tensor
from ..layers import Activation, Add, Dense, GlobalAveragePooling2D, Input, MaxPooling2D
from ..models import Model
from .blocks import channels_of, conv_bn, square_padding

Shape = tuple[int, int, int]


def resnet20(input_shape: Shape = (32, 32, 3), classes: int = 10) -> Model:
    """ResNet-20 for CIFAR-10 (section 4.2), projections where the shape changes (option B).

    272,474 trainable weights and 41 million multiply-adds for 32x32 pixels and 10 classes.
    Shape: (N, H, W, C) -> (N, classes) probabilities.
    """
    image = Input(input_shape)
    x = conv_bn(image, 16, 3, activation="relu")
    for stage, filters in enumerate((16, 32, 64)):
        for block in range(3):
            x = _basic_block(x, filters, 2 if stage > 0 and block == 0 else 1)
    return Model(image, _head(x, classes), name="resnet20")


def resnet18(input_shape: Shape = (224, 224, 3), classes: int = 1000) -> Model:
    """ResNet-18 (table 1); 11,689,512 trainable weights and 1.81 billion multiply-adds.

    Shape: (N, H, W, C) -> (N, classes) probabilities.
    """
    image = Input(input_shape)
    x = _stem(image)
    for stage in range(4):
        for block in range(2):
            x = _basic_block(x, 64 << stage, 2 if stage > 0 and block == 0 else 1)
    return Model(image, _head(x, classes), name="resnet18")


def resnet50(input_shape: Shape = (224, 224, 3), classes: int = 1000) -> Model:
    """ResNet-50 (table 1), strides in the 3x3 convolutions ("v1.5", as torchvision has it).

    25,557,032 trainable weights and 4.09 billion multiply-adds.
    Shape: (N, H, W, C) -> (N, classes) probabilities.
    """
    image = Input(input_shape)
    x = _stem(image)
    for stage, blocks in enumerate((3, 4, 6, 3)):
        for block in range(blocks):
            x = _bottleneck(x, 64 << stage, 2 if stage > 0 and block == 0 else 1)
    return Model(image, _head(x, classes), name="resnet50")


def _stem(image: Tensor) -> Any:
    x = conv_bn(image, 64, 7, 2, activation="relu")
    return MaxPooling2D(3, strides=2, padding=square_padding(3))(x)


def _head(x: Tensor, classes: int) -> Any:
    return Dense(classes, activation="softmax")(GlobalAveragePooling2D()(x))


def _basic_block(x: Tensor, filters: int, stride: int) -> Any:
    y = conv_bn(x, filters, 3, stride, activation="relu")
    return _joined(x, conv_bn(y, filters, 3), stride)


def _bottleneck(x: Tensor, filters: int, stride: int) -> Any:
    y = conv_bn(x, filters, 1, activation="relu")
    y = conv_bn(y, filters, 3, stride, activation="relu")
    return _joined(x, conv_bn(y, 4 * filters, 1), stride)


def _joined(x: Tensor, y: Tensor, stride: int) -> Any:
    if x.shape != y.shape:
        x = conv_bn(x, channels_of(y), 1, stride)
    return Activation("relu")(Add()([y, x]))
