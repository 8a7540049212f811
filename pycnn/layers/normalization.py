# SPDX-License-Identifier: Apache-2.0
"""Batch normalisation."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..engine.builder import GraphBuilder
from ..errors import ShapeError
from ..ground.checks import MAX_EXTENT, checked_epsilon, checked_int, checked_number
from ..initializers import Initializer
from ..initializers import get as get_initializer
from .base import Layer, checked_initializer

__all__ = [
    "BatchNormalization",
]


@dataclass(eq=False, repr=False)
class BatchNormalization(Layer):
    """y = gamma * (x - mean) / sqrt(variance + epsilon) + beta. Shape: (N, ..., C) -> the same

    In training, mean and variance are those of the batch, and moving averages of them are kept
    for prediction. With trainable=False the moving averages are used in training too.

    Args:
        axis: of the channels; only the last is supported.
        momentum: of the moving averages.
        center, scale: whether beta and gamma are weights rather than 0 and 1.
    """

    axis: int = -1
    momentum: float = 0.99
    epsilon: float = 1e-3
    center: bool = True
    scale: bool = True
    beta_initializer: str | Initializer = "zeros"
    gamma_initializer: str | Initializer = "ones"
    moving_mean_initializer: str | Initializer = "zeros"
    moving_variance_initializer: str | Initializer = "ones"

    def check(self) -> None:
        self.axis = checked_int(self.name, "axis", self.axis, low=-MAX_EXTENT)
        self.momentum = checked_number(self.name, "momentum", self.momentum, 0, 1)
        self.epsilon = checked_epsilon(self.name, "epsilon", self.epsilon)
        self.beta_initializer = checked_initializer(self.beta_initializer)
        self.gamma_initializer = checked_initializer(self.gamma_initializer)
        self.moving_mean_initializer = checked_initializer(self.moving_mean_initializer)
        self.moving_variance_initializer = checked_initializer(self.moving_variance_initializer)

    def add_nodes(self, graph: GraphBuilder, x: int) -> int:
        shape = graph.shape(x)
        if not shape or self.axis not in (-1, len(shape)):
            raise ShapeError(
                f"{self.name}: axis must be the last of (N, ..., C), "
                f"got {self.axis} for an input of rank {len(shape) + 1}"
            )
        channels = shape[-1:]

        def weight(name: str, initializer: str | Initializer, trainable: bool = False) -> int:
            made = get_initializer(initializer)
            return graph.parameter(name, channels, made, trainable=trainable)

        gamma = weight("gamma", self.gamma_initializer, True) if self.scale else None
        beta = weight("beta", self.beta_initializer, True) if self.center else None
        mean = weight("moving_mean", self.moving_mean_initializer)
        variance = weight("moving_variance", self.moving_variance_initializer)
        if not (graph.training and graph.trainable):
            return graph.core.batch_norm_inference(
                x, gamma, beta, mean, variance, epsilon=self.epsilon, name=graph.name
            )
        if math.prod(shape[:-1]) == 1:
            graph.require_batch(2)  # one value has no variance
        y, batch_mean, batch_variance = graph.core.batch_norm_training(
            x, gamma, beta, epsilon=self.epsilon, name=graph.name
        )
        graph.moving_average(mean, batch_mean, self.momentum)
        graph.moving_average(variance, batch_variance, self.momentum)
        return y
