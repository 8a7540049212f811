# SPDX-License-Identifier: Apache-2.0
"""Layers as users write them, for several tests: what is registered is registered once."""

from __future__ import annotations

import pycnn
from pycnn import layers, ops
from pycnn.errors import ShapeError


@pycnn.register_serializable("tests")
class Linear(layers.Layer):
    """As the guide to making new layers has it."""

    def __init__(self, units=32, **kwargs):
        super().__init__(**kwargs)
        self.units = units

    def build(self, input_shape):
        self.w = self.add_weight(
            shape=(input_shape[-1], self.units), initializer="random_normal", name="w"
        )
        self.b = self.add_weight(shape=(self.units,), initializer="zeros", name="b")

    def call(self, inputs):
        return ops.sum(ops.expand_dims(inputs, -1) * self.w, axis=1) + self.b

    def get_config(self):
        return {**super().get_config(), "units": self.units}


@pycnn.register_serializable("tests")
class Scale(layers.Layer):
    def build(self, input_shape):
        self.gamma = self.add_weight((input_shape[-1],), "ones", name="gamma")

    def call(self, x, training=False):
        return x * self.gamma * (2.0 if training else 1.0)


class Mlp(layers.Layer):
    """Layers inside a layer, in an attribute and in a list."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.blocks = [layers.Dense(6, activation="relu") for _ in range(2)]
        self.head = Linear(3)

    def call(self, x):
        for block in self.blocks:
            x = block(x)
        return self.head(x)


class Fails(layers.Layer):
    def build(self, input_shape):
        self.w = self.add_weight((3,), name="w")
        if input_shape[-1] != 3:
            raise ShapeError("fails: expected 3 features")

    def call(self, x):
        return x * self.w
