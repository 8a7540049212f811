# SPDX-License-Identifier: Apache-2.0
"""Pooling, and the way back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..engine.builder import GraphBuilder
from .base import (
    Layer,
    Padding,
    Pair,
    as_pair,
    checked_channels_last,
    checked_padding,
    checked_pair,
)

__all__ = [
    "AveragePooling2D",
    "AvgPool2D",
    "GlobalAveragePooling2D",
    "GlobalAvgPool2D",
    "MaxPool2D",
    "MaxPooling2D",
    "UpSampling2D",
]


@dataclass(eq=False, repr=False)
class _Pooling2D(Layer):
    pool_size: int | Pair = (2, 2)
    strides: int | Pair | None = None
    padding: str | Padding | tuple[Pair, Pair] = "valid"
    data_format: str | None = None

    def check(self) -> None:
        checked_channels_last(self.name, self.data_format)
        self.pool_size = checked_pair(self.name, "pool_size", self.pool_size)
        if self.strides is not None:
            self.strides = checked_pair(self.name, "strides", self.strides)
        self.padding = checked_padding(self.name, self.padding)

    def _window(self, graph: GraphBuilder, x: int) -> dict[str, Any]:
        graph.shape(x, 4, "N, H, W, C")
        strides = self.pool_size if self.strides is None else self.strides
        return {
            "pool_size": self.pool_size,
            "strides": strides,
            "padding": self.padding,
            "name": self.name,
        }


@dataclass(eq=False, repr=False)
class MaxPooling2D(_Pooling2D):
    """Maximum over windows. Shape: (N, H, W, C) -> (N, P, Q, C)

    Args:
        pool_size: height, width of a window.
        strides: steps between windows; None is pool_size.
        padding: "valid", "same", or explicit; padding never wins the maximum.
    """

    def add_nodes(self, graph: GraphBuilder, x: int) -> int:
        return graph.core.max_pool2d(x, **self._window(graph, x))


@dataclass(eq=False, repr=False)
class AveragePooling2D(_Pooling2D):
    """Mean over windows. Shape: (N, H, W, C) -> (N, P, Q, C)

    Args:
        pool_size: height, width of a window.
        strides: steps between windows; None is pool_size.
        padding: "valid", "same", or explicit; padding is not counted in the mean.
    """

    def add_nodes(self, graph: GraphBuilder, x: int) -> int:
        return graph.core.avg_pool2d(x, **self._window(graph, x))


@dataclass(eq=False, repr=False)
class GlobalAveragePooling2D(Layer):
    """Mean over all pixels. Shape: (N, H, W, C) -> (N, C)"""

    data_format: str | None = None

    def check(self) -> None:
        checked_channels_last(self.name, self.data_format)

    def add_nodes(self, graph: GraphBuilder, x: int) -> int:
        graph.shape(x, 4, "N, H, W, C")
        return graph.core.global_avg_pool2d(x, name=graph.name)


@dataclass(eq=False, repr=False)
class UpSampling2D(Layer):
    """Every pixel as a block of equal ones. Shape: (N, H, W, C) -> (N, H*size[0], W*size[1], C)

    Args:
        size: height, width of a block.
        interpolation: "nearest".
    """

    size: int | Pair = (2, 2)
    data_format: str | None = None
    interpolation: str = "nearest"

    def check(self) -> None:
        checked_channels_last(self.name, self.data_format)
        self.size = checked_pair(self.name, "size", self.size)
        if self.interpolation != "nearest":
            raise ValueError(
                f"{self.name}: interpolation must be 'nearest', got {self.interpolation!r}"
            )

    def add_nodes(self, graph: GraphBuilder, x: int) -> int:
        graph.shape(x, 4, "N, H, W, C")
        return graph.core.upsample2d(x, size=as_pair(self.size), name=graph.name)


MaxPool2D = MaxPooling2D
AvgPool2D = AveragePooling2D
GlobalAvgPool2D = GlobalAveragePooling2D
