# SPDX-License-Identifier: Apache-2.0
"""Named lists of convolution layers, as the networks they come from use them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ConvLayer:
    """x (batch, size, size, channels), `filters` kernels of kernel x kernel pixels."""

    channels: int
    filters: int
    size: int
    kernel: int = 3
    stride: int = 1
    padding: str = "same"
    first: bool = False  # the network's first layer: nobody needs its backward_data
    groups: int = 1

    @property
    def name(self) -> str:
        stride = f"s{self.stride}" if self.stride > 1 else ""
        channels = f"{self.channels} dw" if self.depthwise else f"{self.channels}->{self.filters}"
        return f"{channels} {self.kernel}x{self.kernel}{stride} @{self.size}"

    @property
    def depthwise(self) -> bool:
        """Memory sets its pace, not multiply-adds."""
        return self.groups == self.channels == self.filters > 1

    @property
    def out(self) -> int:
        """Output rows, and columns."""
        if self.padding == "same":
            return -(-self.size // self.stride)
        return (self.size - self.kernel) // self.stride + 1

    def flops(self, batch: int) -> float:
        """Of one direct pass, two per multiply-add, padding counted as in the full window."""
        taps = self.kernel * self.kernel * self.channels // self.groups
        return 2.0 * batch * self.out**2 * self.filters * taps

    def bytes(self, batch: int) -> float:
        """Of the two large tensors of a pass, each once: x and y, or their gradients."""
        pixels = self.size**2 * self.channels + self.out**2 * self.filters
        return 4.0 * batch * pixels


def depthwise(channels: int, size: int, stride: int = 1) -> ConvLayer:
    """A 3x3 filter for each channel."""
    return ConvLayer(channels, channels, size, 3, stride, groups=channels)


SUITES: dict[str, list[ConvLayer]] = {
    "3x3": [
        ConvLayer(64, 64, 56),
        ConvLayer(128, 128, 28),
        ConvLayer(256, 256, 14),
        ConvLayer(512, 512, 7),
    ],
    "resnet50": [
        ConvLayer(3, 64, 224, 7, 2, first=True),
        ConvLayer(64, 64, 56, 1),
        ConvLayer(64, 64, 56),
        ConvLayer(64, 256, 56, 1),
        ConvLayer(256, 64, 56, 1),
        ConvLayer(128, 128, 56, 3, 2),
        ConvLayer(128, 128, 28),
        ConvLayer(128, 512, 28, 1),
        ConvLayer(512, 128, 28, 1),
        ConvLayer(256, 512, 56, 1, 2),
        ConvLayer(256, 256, 14),
        ConvLayer(1024, 256, 14, 1),
        ConvLayer(512, 512, 7),
        ConvLayer(512, 2048, 7, 1),
    ],
    "vgg": [
        ConvLayer(3, 64, 224, first=True),
        ConvLayer(64, 64, 224),
        ConvLayer(128, 128, 112),
        ConvLayer(256, 256, 56),
        ConvLayer(512, 512, 28),
        ConvLayer(512, 512, 14),
    ],
    "mobilenetv2": [
        ConvLayer(3, 32, 224, 3, 2, first=True),
        depthwise(32, 112),
        ConvLayer(32, 16, 112, 1),
        ConvLayer(16, 96, 112, 1),
        depthwise(96, 112, 2),
        ConvLayer(96, 24, 56, 1),
        ConvLayer(24, 144, 56, 1),
        depthwise(144, 56),
        depthwise(144, 56, 2),
        ConvLayer(144, 32, 28, 1),
        ConvLayer(32, 192, 28, 1),
        depthwise(192, 28),
        depthwise(192, 28, 2),
        ConvLayer(192, 64, 14, 1),
        ConvLayer(64, 384, 14, 1),
        depthwise(384, 14),
        ConvLayer(384, 96, 14, 1),
        depthwise(576, 14),
        depthwise(576, 14, 2),
        ConvLayer(576, 160, 7, 1),
        ConvLayer(160, 960, 7, 1),
        depthwise(960, 7),
        ConvLayer(960, 320, 7, 1),
        ConvLayer(320, 1280, 7, 1),
    ],
    "small": [
        ConvLayer(1, 6, 28, 5, first=True),
        ConvLayer(6, 16, 14, 5, padding="valid"),
        ConvLayer(1, 32, 28, padding="valid", first=True),
        ConvLayer(32, 64, 13, padding="valid"),
        ConvLayer(16, 16, 32),
        ConvLayer(32, 32, 16),
        ConvLayer(64, 64, 8),
    ],
}
