# SPDX-License-Identifier: Apache-2.0
"""Convolutions and pools, under the names and with the arguments of keras.ops. Images are NHWC."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..engine.traced import GraphTensor
from .core import tensor
from .dispatch import batched_op

__all__ = ["average_pool", "conv", "conv_transpose", "depthwise_conv", "max_pool"]

Pair = int | Sequence[int]


def _check_channels_last(data_format: str | None) -> None:
    if data_format not in (None, "channels_last"):
        raise ValueError(f"conv: data_format must be 'channels_last', got {data_format!r}")


def _pair(value: Pair) -> tuple[int, int]:
    a, b = (value, value) if isinstance(value, int) else value
    return int(a), int(b)


@batched_op
def conv(
    inputs: Any,
    kernel: Any,
    strides: Pair = 1,
    padding: str = "valid",
    data_format: str | None = None,
    dilation_rate: Pair = 1,
) -> Any:
    """Convolution. Shape: (N, H, W, C), (R, S, C / groups, K) -> (N, P, Q, K)

    The number of groups follows from the channels, as in Keras.
    """
    _check_channels_last(data_format)
    x, w = tensor(inputs), tensor(kernel)
    channels, of_group = x.shape[-1] or 1, w.shape[2] or 1
    y = x.graph.core.conv2d(
        x.value,
        w.value,
        strides=_pair(strides),
        padding=padding,
        dilation=_pair(dilation_rate),
        groups=channels // of_group,
        name=x.graph.name,
    )
    return GraphTensor(x.graph, y)


@batched_op
def depthwise_conv(
    inputs: Any,
    kernel: Any,
    strides: Pair = 1,
    padding: str = "valid",
    data_format: str | None = None,
    dilation_rate: Pair = 1,
) -> Any:
    """Each channel for itself. Shape: (N, H, W, C), (R, S, C, 1) -> (N, P, Q, C)"""
    _check_channels_last(data_format)
    x, w = tensor(inputs), tensor(kernel)
    channels = w.shape[2] or 1
    if w.shape[3] != 1:
        raise ValueError(f"depthwise_conv: kernel must be (R, S, C, 1), got {w.shape}")
    y = x.graph.core.conv2d(
        x.value,
        x.graph.core.transpose(w.value, [0, 1, 3, 2], name=x.graph.name),
        strides=_pair(strides),
        padding=padding,
        dilation=_pair(dilation_rate),
        groups=channels,
        name=x.graph.name,
    )
    return GraphTensor(x.graph, y)


@batched_op
def conv_transpose(
    inputs: Any,
    kernel: Any,
    strides: Pair,
    padding: str = "valid",
    output_padding: Pair | None = None,
    data_format: str | None = None,
    dilation_rate: Pair = 1,
) -> Any:
    """Transposed convolution. Shape: (N, P, Q, C), (R, S, K, C) -> (N, H, W, K)"""
    _check_channels_last(data_format)
    x, w = tensor(inputs), tensor(kernel)
    y = x.graph.core.conv2d_transpose(
        x.value,
        w.value,
        strides=_pair(strides),
        padding=padding,
        output_padding=None if output_padding is None else _pair(output_padding),
        dilation=_pair(dilation_rate),
        name=x.graph.name,
    )
    return GraphTensor(x.graph, y)


@batched_op
def max_pool(
    inputs: Any, pool_size: Pair, strides: Pair | None = None, padding: str = "valid"
) -> Any:
    """The largest of each window. Shape: (N, H, W, C) -> (N, P, Q, C)"""
    return _pooled("max_pool2d", inputs, pool_size, strides, padding)


@batched_op
def average_pool(
    inputs: Any, pool_size: Pair, strides: Pair | None = None, padding: str = "valid"
) -> Any:
    """The mean of each window, padding left out. Shape: (N, H, W, C) -> (N, P, Q, C)"""
    return _pooled("avg_pool2d", inputs, pool_size, strides, padding)


def _pooled(op: str, inputs: Any, pool_size: Pair, strides: Pair | None, padding: str) -> Any:
    x, size = tensor(inputs), _pair(pool_size)
    steps = size if strides is None else _pair(strides)
    pool = getattr(x.graph.core, op)
    return GraphTensor(
        x.graph, pool(x.value, size, strides=steps, padding=padding, name=x.graph.name)
    )
