# SPDX-License-Identifier: Apache-2.0
"""Convolution and transposed convolution."""

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
        self.groups = checked_int(self.name, "groups", self.groups)
        checked_activation(self.name, self.activation)
        self.kernel_initializer = checked_initializer(self.kernel_initializer)
        self.bias_initializer = checked_initializer(self.bias_initializer)
        if self.filters % self.groups:
            raise ValueError(
                f"{self.name}: groups must divide filters ({self.filters}), got {self.groups}"
            )

    def build(self, graph: GraphBuilder, x: int) -> int:
        channels = graph.shape(x, 4, "N, H, W, C")[-1]
        if channels % self.groups:
            raise ShapeError(
                f"{self.name}: groups must divide the input's channels ({channels}), "
                f"got {self.groups}"
            )
        R, S = as_pair(self.kernel_size)
        w = graph.parameter(
            "kernel",
            (R, S, channels // self.groups, self.filters),
            get_initializer(self.kernel_initializer),
        )
        b = None
        if self.use_bias:
            b = graph.parameter("bias", (self.filters,), get_initializer(self.bias_initializer))
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
        b = None
        if self.use_bias:
            b = graph.parameter("bias", (self.filters,), get_initializer(self.bias_initializer))
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


Convolution2D = Conv2D
Convolution2DTranspose = Conv2DTranspose
