# SPDX-License-Identifier: Apache-2.0
"""What networks of several papers are made of."""

from __future__ import annotations

from ..engine.tensors import Tensor
from ..layers import Activation, BatchNormalization, Conv2D

Padding = tuple[tuple[int, int], tuple[int, int]]


def square_padding(kernel: int) -> Padding:
    """The papers' padding: as many pixels on each side, for odd kernels and any stride."""
    half = (kernel // 2, kernel // 2)
    return half, half


def channels_of(x: Tensor) -> int:
    """The last extent, which is known of an image."""
    channels = x.shape[-1]
    assert channels is not None
    return channels


def conv_bn(
    x: Tensor,
    filters: int,
    kernel: int,
    stride: int = 1,
    groups: int = 1,
    activation: str | None = None,
) -> Tensor:
    """Convolution without bias, batch normalization, activation. (N, H, W, C) -> (N, P, Q, K)"""
    x = Conv2D(
        filters,
        kernel,
        strides=stride,
        padding=square_padding(kernel),
        groups=groups,
        use_bias=False,
        kernel_initializer="he_normal",
    )(x)
    x = BatchNormalization(momentum=0.9, epsilon=1e-5)(x)
    return x if activation is None else Activation(activation)(x)
