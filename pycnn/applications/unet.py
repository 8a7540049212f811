# SPDX-License-Identifier: Apache-2.0
"""A network that labels every pixel."""

from __future__ import annotations

from ..engine.tensors import Tensor
from ..layers import Concatenate, Conv2D, Conv2DTranspose, Input, MaxPooling2D
from ..models import Model


def unet(
    input_shape: tuple[int, int, int] = (128, 128, 1),
    classes: int = 1,
    base: int = 16,
    depth: int = 4,
) -> Model:
    """U-Net (Ronneberger, Fischer, Brox 2015) with "same" convolutions; 1,940,817 weights.

    Args:
        input_shape: H, W, C; H and W multiples of 2**depth.
        classes: 1 ends in a sigmoid, for binary_crossentropy; more in a softmax, for
            sparse_categorical_crossentropy with labels (N, H, W).
        base: channels at full size; the paper has 64.
        depth: how often the image is halved.

    Shape: (N, H, W, C) -> (N, H, W, classes) probabilities.
    """
    step = 2**depth
    if input_shape[0] % step or input_shape[1] % step:
        raise ValueError(
            f"unet: height and width must be multiples of {step} (2**depth), got {input_shape[:2]}"
        )
    image = x = Input(input_shape)
    skips = []
    for level in range(depth):
        skip = _block(x, base << level)
        skips.append(skip)
        x = MaxPooling2D()(skip)
    x = _block(x, base << depth)
    for level in reversed(range(depth)):
        channels = base << level
        up = Conv2DTranspose(channels, 2, strides=2, kernel_initializer="he_normal")(x)
        x = _block(Concatenate()([skips[level], up]), channels)
    head = Conv2D(classes, 1, activation="sigmoid" if classes == 1 else "softmax")
    return Model(image, head(x), name="unet")


def _block(x: Tensor, channels: int) -> Tensor:
    for _ in range(2):
        x = Conv2D(channels, 3, padding="same", activation="relu", kernel_initializer="he_normal")(
            x
        )
    return x
