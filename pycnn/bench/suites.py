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

    @property
    def name(self) -> str:
        stride = f"s{self.stride}" if self.stride > 1 else ""
        return f"{self.channels}->{self.filters} {self.kernel}x{self.kernel}{stride} @{self.size}"

    @property
    def out(self) -> int:
        """Output rows, and columns."""
        if self.padding == "same":
            return -(-self.size // self.stride)
        return (self.size - self.kernel) // self.stride + 1

    def flops(self, batch: int) -> float:
        """Of one direct pass, two per multiply-add, padding counted as in the full window."""
        taps = self.kernel * self.kernel * self.channels
        return 2.0 * batch * self.out**2 * self.filters * taps


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
