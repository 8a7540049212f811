# SPDX-License-Identifier: Apache-2.0
"""Convolutions along rows, over images and channel by channel; transposed convolution."""

from __future__ import annotations

from dataclasses import dataclass

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
    as_pair,
    checked_channels_last,
    checked_initializer,
    checked_padding,
    checked_pair,
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


def _bias(graph: GraphBuilder, channels: int, initializer: str | Initializer) -> int:
    return graph.parameter("bias", (channels,), get_initializer(initializer))


@dataclass(eq=False, repr=False)
class Conv2D(Layer):
    """y = activation(conv(x, kernel) + bias). Shape: (N, H, W, C) -> (N, P, Q, filters)

    Args:
        filters: output channels K; the kernel has shape (R, S, C / groups, K).
        kernel_size: R, S.
        padding: "valid", "same", or explicit ((top, bottom), (left, right)).
        groups: channels are cut into this many groups that do not see each other.
        activation: a name, see pycnn.activations.
    """

    filters: int
    kernel_size: int | Pair
    strides: int | Pair = (1, 1)
    padding: str | Padding | tuple[Pair, Pair] = "valid"
    data_format: str | None = None
    dilation_rate: int | Pair = (1, 1)
    groups: int = 1
    activation: str | None = None
    use_bias: bool = True
    kernel_initializer: str | Initializer = "glorot_uniform"
    bias_initializer: str | Initializer = "zeros"

    def check(self) -> None:
        checked_channels_last(self.name, self.data_format)
        self.filters = checked_int(self.name, "filters", self.filters)
        self.kernel_size = checked_pair(self.name, "kernel_size", self.kernel_size)
        self.strides = checked_pair(self.name, "strides", self.strides)
        self.padding = checked_padding(self.name, self.padding)
        self.dilation_rate = checked_pair(self.name, "dilation_rate", self.dilation_rate)
        _check_groups(self)
        checked_activation(self.name, self.activation)
        self.kernel_initializer = checked_initializer(self.kernel_initializer)
        self.bias_initializer = checked_initializer(self.bias_initializer)

    def build(self, graph: GraphBuilder, x: int) -> int:
        channels = _channels_of_group(self, graph.shape(x, 4, "N, H, W, C")[-1])
        kernel_shape = (*as_pair(self.kernel_size), channels, self.filters)
        w = graph.parameter("kernel", kernel_shape, get_initializer(self.kernel_initializer))
        b = _bias(graph, self.filters, self.bias_initializer) if self.use_bias else None
        y = graph.core.conv2d(
            x,
            w,
            b,
            strides=as_pair(self.strides),
            padding=checked_padding(self.name, self.padding),
            dilation=as_pair(self.dilation_rate),
            groups=self.groups,
            name=graph.name,
        )
        return add_activation(graph, y, self.activation or "linear")


@dataclass(eq=False, repr=False)
class Conv1D(Layer):
    """y = activation(conv(x, kernel) + bias) along a sequence. (N, W, C) -> (N, Q, filters)

    Args:
        filters: output channels K; the kernel has shape (S, C / groups, K).
        kernel_size: S.
        padding: "valid", "same", or "causal": y[q] depends on x up to q * strides.
        groups: channels are cut into this many groups that do not see each other.
        activation: a name, see pycnn.activations.
    """

    filters: int
    kernel_size: int | tuple[int]
    strides: int | tuple[int] = 1
    padding: str = "valid"
    data_format: str | None = None
    dilation_rate: int | tuple[int] = 1
    groups: int = 1
    activation: str | None = None
    use_bias: bool = True
    kernel_initializer: str | Initializer = "glorot_uniform"
    bias_initializer: str | Initializer = "zeros"

    def check(self) -> None:
        checked_channels_last(self.name, self.data_format)
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
        checked_activation(self.name, self.activation)
        self.kernel_initializer = checked_initializer(self.kernel_initializer)
        self.bias_initializer = checked_initializer(self.bias_initializer)

    def build(self, graph: GraphBuilder, x: int) -> int:
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
            graph_shape=(1, *kernel_shape),
        )
        b = _bias(graph, self.filters, self.bias_initializer) if self.use_bias else None
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
        y = add_activation(graph, y, self.activation or "linear")
        columns = graph.shape(y)[1]
        return graph.core.reshape(y, shape=(None, columns, self.filters), name=graph.name)


@dataclass(eq=False, repr=False)
class DepthwiseConv2D(Layer):
    """Each channel has filters of its own. Shape: (N, H, W, C) -> (N, P, Q, C * depth_multiplier)

    Args:
        kernel_size: R, S; the kernel has shape (R, S, C, depth_multiplier).
        padding: "valid", "same", or explicit ((top, bottom), (left, right)).
        depth_multiplier: filters M for each channel; channel c makes outputs c * M ... c * M + M-1.
        activation: a name, see pycnn.activations.
    """

    kernel_size: int | Pair
    strides: int | Pair = (1, 1)
    padding: str | Padding | tuple[Pair, Pair] = "valid"
    depth_multiplier: int = 1
    data_format: str | None = None
    dilation_rate: int | Pair = (1, 1)
    activation: str | None = None
    use_bias: bool = True
    depthwise_initializer: str | Initializer = "glorot_uniform"
    bias_initializer: str | Initializer = "zeros"

    def check(self) -> None:
        checked_channels_last(self.name, self.data_format)
        self.kernel_size = checked_pair(self.name, "kernel_size", self.kernel_size)
        self.strides = checked_pair(self.name, "strides", self.strides)
        self.padding = checked_padding(self.name, self.padding)
        self.depth_multiplier = checked_int(self.name, "depth_multiplier", self.depth_multiplier)
        self.dilation_rate = checked_pair(self.name, "dilation_rate", self.dilation_rate)
        checked_activation(self.name, self.activation)
        self.depthwise_initializer = checked_initializer(self.depthwise_initializer)
        self.bias_initializer = checked_initializer(self.bias_initializer)

    def build(self, graph: GraphBuilder, x: int) -> int:
        channels = graph.shape(x, 4, "N, H, W, C")[-1]
        size, outputs = as_pair(self.kernel_size), channels * self.depth_multiplier
        w = graph.parameter(
            "kernel",
            (*size, channels, self.depth_multiplier),
            get_initializer(self.depthwise_initializer),
            graph_shape=(*size, 1, outputs),
        )
        b = _bias(graph, outputs, self.bias_initializer) if self.use_bias else None
        y = graph.core.conv2d(
            x,
            w,
            b,
            strides=as_pair(self.strides),
            padding=checked_padding(self.name, self.padding),
            dilation=as_pair(self.dilation_rate),
            groups=channels,
            name=graph.name,
        )
        return add_activation(graph, y, self.activation or "linear")


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
        activation: a name, see pycnn.activations.
    """

    filters: int
    kernel_size: int | Pair
    strides: int | Pair = (1, 1)
    padding: str | Padding | tuple[Pair, Pair] = "valid"
    output_padding: int | Pair | None = None
    data_format: str | None = None
    dilation_rate: int | Pair = (1, 1)
    activation: str | None = None
    use_bias: bool = True
    kernel_initializer: str | Initializer = "glorot_uniform"
    bias_initializer: str | Initializer = "zeros"

    def check(self) -> None:
        checked_channels_last(self.name, self.data_format)
        self.filters = checked_int(self.name, "filters", self.filters)
        self.kernel_size = checked_pair(self.name, "kernel_size", self.kernel_size)
        self.strides = checked_pair(self.name, "strides", self.strides)
        self.padding = checked_padding(self.name, self.padding)
        if self.output_padding is not None:
            extra = checked_pair(self.name, "output_padding", self.output_padding, low=0)
            if extra[0] >= self.strides[0] or extra[1] >= self.strides[1]:
                raise ValueError(
                    f"{self.name}: output_padding must be less than strides {self.strides}, "
                    f"got {extra}"
                )
            self.output_padding = extra
        self.dilation_rate = checked_pair(self.name, "dilation_rate", self.dilation_rate)
        checked_activation(self.name, self.activation)
        self.kernel_initializer = checked_initializer(self.kernel_initializer)
        self.bias_initializer = checked_initializer(self.bias_initializer)

    def build(self, graph: GraphBuilder, x: int) -> int:
        channels = graph.shape(x, 4, "N, P, Q, C")[-1]
        kernel_shape = (*as_pair(self.kernel_size), self.filters, channels)
        w = graph.parameter("kernel", kernel_shape, get_initializer(self.kernel_initializer))
        b = _bias(graph, self.filters, self.bias_initializer) if self.use_bias else None
        y = graph.core.conv2d_transpose(
            x,
            w,
            b,
            strides=as_pair(self.strides),
            padding=checked_padding(self.name, self.padding),
            output_padding=None if self.output_padding is None else as_pair(self.output_padding),
            dilation=as_pair(self.dilation_rate),
            name=graph.name,
        )
        return add_activation(graph, y, self.activation or "linear")


Convolution1D = Conv1D
Convolution2D = Conv2D
Convolution2DTranspose = Conv2DTranspose
