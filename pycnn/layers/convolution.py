# SPDX-License-Identifier: Apache-2.0
"""Convolutions along rows, over images and channel by channel; transposed convolution."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..activations import Activation
from ..engine.builder import GraphBuilder
from ..errors import ShapeError
from ..ground.checks import checked_int
from ..initializers import Initializer
from ..initializers import get as get_initializer
from .activations import add_activation, checked_activation
from .base import (
    Layer,
    Padding,
    Pair,
    RegularizerLike,
    as_pair,
    checked_channels_last,
    checked_initializer,
    checked_padding,
    checked_pair,
    checked_regularizer,
)

__all__ = [
    "Conv1D",
    "Conv2D",
    "Conv2DTranspose",
    "Convolution1D",
    "Convolution2D",
    "Convolution2DTranspose",
    "DepthwiseConv2D",
]


def _check_common(layer: Conv1D | Conv2D | DepthwiseConv2D | Conv2DTranspose) -> None:
    checked_channels_last(layer.name, layer.data_format)
    layer.activation = checked_activation(layer.name, layer.activation)
    layer.bias_initializer = checked_initializer(layer.bias_initializer)
    layer.bias_regularizer = checked_regularizer(layer.bias_regularizer)


def _check_windows(layer: Conv2D | DepthwiseConv2D | Conv2DTranspose) -> None:
    layer.kernel_size = checked_pair(layer.name, "kernel_size", layer.kernel_size)
    layer.strides = checked_pair(layer.name, "strides", layer.strides)
    layer.padding = checked_padding(layer.name, layer.padding)
    layer.dilation_rate = checked_pair(layer.name, "dilation_rate", layer.dilation_rate)


def _windows(layer: Conv2D | DepthwiseConv2D | Conv2DTranspose) -> dict[str, Any]:
    """What the op is told of them."""
    return {
        "strides": as_pair(layer.strides),
        "padding": layer.padding,
        "dilation": as_pair(layer.dilation_rate),
    }


def _check_groups(layer: Conv1D | Conv2D) -> None:
    layer.groups = checked_int(layer.name, "groups", layer.groups)
    if layer.filters % layer.groups:
        raise ValueError(
            f"{layer.name}: groups must divide filters ({layer.filters}), got {layer.groups}"
        )


def _channels_of_group(layer: Conv1D | Conv2D, channels: int) -> int:
    if channels % layer.groups:
        raise ShapeError(
            f"{layer.name}: groups must divide the input's channels ({channels}), "
            f"got {layer.groups}"
        )
    return channels // layer.groups


def _bias(
    layer: Conv1D | Conv2D | DepthwiseConv2D | Conv2DTranspose, graph: GraphBuilder, channels: int
) -> int | None:
    if not layer.use_bias:
        return None
    made = get_initializer(layer.bias_initializer)
    return graph.parameter("bias", (channels,), made, regularizer=layer.bias_regularizer)


@dataclass(eq=False, repr=False)
class Conv2D(Layer):
    """y = activation(conv(x, kernel) + bias). Shape: (N, H, W, C) -> (N, P, Q, filters)

    Args:
        filters: output channels K; the kernel has shape (R, S, C / groups, K).
        kernel_size: R, S.
        padding: "valid", "same", or explicit ((top, bottom), (left, right)).
        groups: channels are cut into this many groups that do not see each other.
        activation: a name or a function, see pycnn.activations.
    """

    filters: int
    kernel_size: int | Pair
    strides: int | Pair = (1, 1)
    padding: str | Padding | tuple[Pair, Pair] = "valid"
    data_format: str | None = None
    dilation_rate: int | Pair = (1, 1)
    groups: int = 1
    activation: Activation = None
    use_bias: bool = True
    kernel_initializer: str | Initializer = "glorot_uniform"
    bias_initializer: str | Initializer = "zeros"
    kernel_regularizer: RegularizerLike = None
    bias_regularizer: RegularizerLike = None

    def check(self) -> None:
        _check_common(self)
        _check_windows(self)
        self.filters = checked_int(self.name, "filters", self.filters)
        _check_groups(self)
        self.kernel_initializer = checked_initializer(self.kernel_initializer)
        self.kernel_regularizer = checked_regularizer(self.kernel_regularizer)

    def add_nodes(self, graph: GraphBuilder, x: int) -> int:
        channels = _channels_of_group(self, graph.shape(x, 4, "N, H, W, C")[-1])
        kernel_shape = (*as_pair(self.kernel_size), channels, self.filters)
        w = graph.parameter(
            "kernel",
            kernel_shape,
            get_initializer(self.kernel_initializer),
            regularizer=self.kernel_regularizer,
        )
        b = _bias(self, graph, self.filters)
        y = graph.core.conv2d(x, w, b, groups=self.groups, name=graph.name, **_windows(self))
        return add_activation(graph, y, self.activation)


@dataclass(eq=False, repr=False)
class Conv1D(Layer):
    """y = activation(conv(x, kernel) + bias) along a sequence. (N, W, C) -> (N, Q, filters)

    Args:
        filters: output channels K; the kernel has shape (S, C / groups, K).
        kernel_size: S.
        padding: "valid", "same", or "causal": y[q] depends on x up to q * strides.
        groups: channels are cut into this many groups that do not see each other.
        activation: a name or a function, see pycnn.activations.
    """

    filters: int
    kernel_size: int | tuple[int]
    strides: int | tuple[int] = 1
    padding: str = "valid"
    data_format: str | None = None
    dilation_rate: int | tuple[int] = 1
    groups: int = 1
    activation: Activation = None
    use_bias: bool = True
    kernel_initializer: str | Initializer = "glorot_uniform"
    bias_initializer: str | Initializer = "zeros"
    kernel_regularizer: RegularizerLike = None
    bias_regularizer: RegularizerLike = None

    def check(self) -> None:
        _check_common(self)
        self.filters = checked_int(self.name, "filters", self.filters)
        for argument in ("kernel_size", "strides", "dilation_rate"):
            value = getattr(self, argument)
            if isinstance(value, (tuple, list)) and len(value) == 1:
                value = value[0]
            setattr(self, argument, checked_int(self.name, argument, value))
        if str(self.padding).lower() not in ("valid", "same", "causal"):
            raise ValueError(
                f"{self.name}: padding must be 'valid', 'same' or 'causal', got {self.padding!r}"
            )
        self.padding = self.padding.lower()
        _check_groups(self)
        self.kernel_initializer = checked_initializer(self.kernel_initializer)
        self.kernel_regularizer = checked_regularizer(self.kernel_regularizer)

    def add_nodes(self, graph: GraphBuilder, x: int) -> int:
        """A convolution of images of one row."""
        width, channels = graph.shape(x, 3, "N, W, C")
        S, stride, dilation = (
            v if isinstance(v, int) else v[0]
            for v in (self.kernel_size, self.strides, self.dilation_rate)
        )
        kernel_shape = (S, _channels_of_group(self, channels), self.filters)
        w = graph.parameter(
            "kernel",
            kernel_shape,
            get_initializer(self.kernel_initializer),
            regularizer=self.kernel_regularizer,
            graph_shape=(1, *kernel_shape),
        )
        b = _bias(self, graph, self.filters)
        before = (S - 1) * dilation
        y = graph.core.conv2d(
            graph.core.reshape(x, shape=(None, 1, width, channels), name=graph.name),
            w,
            b,
            strides=(1, stride),
            padding=(0, 0, before, 0) if self.padding == "causal" else self.padding,
            dilation=(1, dilation),
            groups=self.groups,
            name=graph.name,
        )
        y = add_activation(graph, y, self.activation)
        columns = graph.shape(y)[1]
        return graph.core.reshape(y, shape=(None, columns, self.filters), name=graph.name)


@dataclass(eq=False, repr=False)
class DepthwiseConv2D(Layer):
    """Each channel has filters of its own. Shape: (N, H, W, C) -> (N, P, Q, C * depth_multiplier)

    Args:
        kernel_size: R, S; the kernel has shape (R, S, C, depth_multiplier).
        padding: "valid", "same", or explicit ((top, bottom), (left, right)).
        depth_multiplier: filters M for each channel; channel c makes outputs c * M ... c * M + M-1.
        activation: a name or a function, see pycnn.activations.
    """

    kernel_size: int | Pair
    strides: int | Pair = (1, 1)
    padding: str | Padding | tuple[Pair, Pair] = "valid"
    depth_multiplier: int = 1
    data_format: str | None = None
    dilation_rate: int | Pair = (1, 1)
    activation: Activation = None
    use_bias: bool = True
    depthwise_initializer: str | Initializer = "glorot_uniform"
    bias_initializer: str | Initializer = "zeros"
    depthwise_regularizer: RegularizerLike = None
    bias_regularizer: RegularizerLike = None

    def check(self) -> None:
        _check_common(self)
        _check_windows(self)
        self.depth_multiplier = checked_int(self.name, "depth_multiplier", self.depth_multiplier)
        self.depthwise_initializer = checked_initializer(self.depthwise_initializer)
        self.depthwise_regularizer = checked_regularizer(self.depthwise_regularizer)

    def add_nodes(self, graph: GraphBuilder, x: int) -> int:
        channels = graph.shape(x, 4, "N, H, W, C")[-1]
        size, outputs = as_pair(self.kernel_size), channels * self.depth_multiplier
        w = graph.parameter(
            "kernel",
            (*size, channels, self.depth_multiplier),
            get_initializer(self.depthwise_initializer),
            regularizer=self.depthwise_regularizer,
            graph_shape=(*size, 1, outputs),
        )
        b = _bias(self, graph, outputs)
        y = graph.core.conv2d(x, w, b, groups=channels, name=graph.name, **_windows(self))
        return add_activation(graph, y, self.activation)


@dataclass(eq=False, repr=False)
class Conv2DTranspose(Layer):
    """The gradient of a convolution as a layer: enlarges images. (N, P, Q, C) -> (N, H, W, filters)

    H = P * strides for "same"; the larger of that and (P - 1) * strides + R for "valid".

    Args:
        filters: output channels K; the kernel has shape (R, S, K, C).
        kernel_size: R, S.
        padding: "valid", "same", or ((top, bottom), (left, right)) rows and columns to cut off.
        output_padding: in place of the sizes above, Keras' rule with this many further rows,
            columns; less than strides.
        activation: a name or a function, see pycnn.activations.
    """

    filters: int
    kernel_size: int | Pair
    strides: int | Pair = (1, 1)
    padding: str | Padding | tuple[Pair, Pair] = "valid"
    output_padding: int | Pair | None = None
    data_format: str | None = None
    dilation_rate: int | Pair = (1, 1)
    activation: Activation = None
    use_bias: bool = True
    kernel_initializer: str | Initializer = "glorot_uniform"
    bias_initializer: str | Initializer = "zeros"
    kernel_regularizer: RegularizerLike = None
    bias_regularizer: RegularizerLike = None

    def check(self) -> None:
        _check_common(self)
        _check_windows(self)
        self.filters = checked_int(self.name, "filters", self.filters)
        if self.output_padding is not None:
            extra = checked_pair(self.name, "output_padding", self.output_padding, low=0)
            if any(e >= stride for e, stride in zip(extra, as_pair(self.strides), strict=True)):
                raise ValueError(
                    f"{self.name}: output_padding must be less than strides {self.strides}, "
                    f"got {extra}"
                )
            self.output_padding = extra
        self.kernel_initializer = checked_initializer(self.kernel_initializer)
        self.kernel_regularizer = checked_regularizer(self.kernel_regularizer)

    def add_nodes(self, graph: GraphBuilder, x: int) -> int:
        channels = graph.shape(x, 4, "N, P, Q, C")[-1]
        kernel_shape = (*as_pair(self.kernel_size), self.filters, channels)
        w = graph.parameter(
            "kernel",
            kernel_shape,
            get_initializer(self.kernel_initializer),
            regularizer=self.kernel_regularizer,
        )
        b = _bias(self, graph, self.filters)
        y = graph.core.conv2d_transpose(
            x,
            w,
            b,
            output_padding=None if self.output_padding is None else as_pair(self.output_padding),
            name=graph.name,
            **_windows(self),
        )
        return add_activation(graph, y, self.activation)


Convolution1D = Conv1D
Convolution2D = Conv2D
Convolution2DTranspose = Conv2DTranspose
