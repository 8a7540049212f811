# SPDX-License-Identifier: Apache-2.0
"""Random models: odd arguments, branches, shared layers, models inside models."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import pycnn
from pycnn import layers as L
from pycnn.activations import KERNELS

REFUSALS = (ValueError, TypeError, MemoryError, ArithmeticError, RuntimeError)
ACTIVATIONS = (None, *(kind for kind in (*KERNELS, "softmax") if kind != "step"))
ODD = (0, -1, 2.5, True, None, "same", "x", (1, 2, 3), 2**31, 10**30, float("nan"), [], {}, b"a")
INITIALIZERS = ("glorot_uniform", "he_normal", "zeros", "ones", "random_normal")
EXTENTS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 11)
CHANNELS = (1, 2, 3, 4, 5, 8, 9, 16, 17)
MAX_OUTPUT = 1 << 14  # elements of one sample, so that a case stays short


class ModelMaker:
    """Makes layers, and connects them."""

    def __init__(self, rng: random.Random, odd: float, say: Callable[[str], None]) -> None:
        """odd: the share of arguments that make no sense."""
        self.rng, self.odd, self.say = rng, odd, say
        self.made: list[Any] = []  # layers, to be shared
        self.refused = 0

    def pick(self, choices: Sequence[Any]) -> Any:
        return self.rng.choice(choices)

    def number(self, choices: Sequence[Any]) -> Any:
        return self.pick(ODD) if self.rng.random() < self.odd / 4 else self.pick(choices)

    def pair(self, choices: Sequence[int]) -> Any:
        first = self.number(choices)
        return first if self.rng.random() < 0.5 else (first, self.number(choices))

    def padding(self) -> Any:
        if self.rng.random() < 0.7:
            return self.pick(("valid", "same", "SAME"))
        pads = [self.number((0, 0, 1, 2)) for _ in range(4)]
        return tuple(pads) if self.rng.random() < 0.5 else ((pads[0], pads[1]), (pads[2], pads[3]))

    def optional(self, **choices: Sequence[Any]) -> dict[str, Any]:
        """Some of these keywords."""
        return {k: self.number(v) for k, v in choices.items() if self.rng.random() < 0.4}

    # ---- layers ----

    def layer(self, rank: int) -> Any:
        """A new layer for tensors of that rank, or one that is in use; None where refused."""
        if self.made and self.rng.random() < 0.12:
            return self.pick(self.made)
        kinds: list[Callable[[], Any]] = [self.dense, self.activation, self.dropout, self.norm]
        if rank == 4:
            kinds += [
                self.conv,
                self.conv,
                self.transposed,
                self.depthwise,
                self.pool,
                self.pool,
                self.flat,
            ]
        try:
            layer = self.pick(kinds)()
        except REFUSALS as error:
            self.refuse("layer", error)
            return None
        self.say(f"made {layer!r}")
        self.made.append(layer)
        return layer

    def refuse(self, what: str, error: Exception) -> None:
        self.refused += 1
        self.say(f"{what}: {type(error).__name__}: {error}")
        if not str(error) or isinstance(error, RecursionError):
            raise error

    def shared_options(self) -> dict[str, Any]:
        options = self.optional(trainable=(True, True, False))
        if self.rng.random() < 0.1:
            options["name"] = self.pick(("a", "dense", "opt.m", "x/y", "", "a b", "u:v"))
        return options

    def weighted(self) -> dict[str, Any]:
        return {
            **self.shared_options(),
            **self.optional(
                activation=ACTIVATIONS,
                use_bias=(True, False),
                kernel_initializer=INITIALIZERS,
                bias_initializer=INITIALIZERS,
            ),
        }

    def dense(self) -> Any:
        return L.Dense(self.number(CHANNELS), **self.weighted())

    def conv(self) -> Any:
        groups = self.number((1, 1, 1, 1, 2, 3))
        filters = self.number(CHANNELS)
        options = self.optional(
            strides=(1, 2, (1, 2), 3), dilation_rate=(1, 2, (2, 1)), groups=(groups,)
        )
        return L.Conv2D(
            filters, self.pair((1, 2, 3, 5)), padding=self.padding(), **options, **self.weighted()
        )

    def depthwise(self) -> Any:
        options = self.optional(
            strides=(1, 2, (1, 2)),
            dilation_rate=(1, 2, (2, 1)),
            depth_multiplier=(1, 2, 3),
            activation=ACTIVATIONS,
            use_bias=(True, False),
        )
        return L.DepthwiseConv2D(
            self.pair((1, 2, 3)), padding=self.padding(), **options, **self.shared_options()
        )

    def transposed(self) -> Any:
        options = self.optional(
            strides=(1, 2, (1, 2), 3), dilation_rate=(1, 2), output_padding=(0, 1, (1, 0))
        )
        return L.Conv2DTranspose(
            self.number(CHANNELS[:6]),
            self.pair((1, 2, 3, 4)),
            padding=self.padding(),
            **options,
            **self.weighted(),
        )

    def pool(self) -> Any:
        if self.rng.random() < 0.2:
            return L.GlobalAveragePooling2D(**self.shared_options())
        if self.rng.random() < 0.2:
            return L.UpSampling2D(self.pair((1, 2, 3)), **self.shared_options())
        kind = self.pick((L.MaxPooling2D, L.AveragePooling2D))
        options = self.optional(strides=(1, 2, 3, None))
        return kind(self.pair((1, 2, 3)), padding=self.padding(), **options)

    def flat(self) -> Any:
        return L.Flatten(**self.shared_options())

    def activation(self) -> Any:
        return L.Activation(self.number(ACTIVATIONS[1:]))

    def dropout(self) -> Any:
        return L.Dropout(self.number((0.0, 0.1, 0.5, 0.9)))

    def norm(self) -> Any:
        options = self.optional(
            momentum=(0.9, 0.0, 1.0),
            epsilon=(1e-3, 1e-5),
            center=(True, False),
            scale=(True, False),
            axis=(-1, 3, 1),
        )
        return L.BatchNormalization(**options, **self.shared_options())

    # ---- models ----

    def shape(self) -> tuple[Any, ...]:
        if self.rng.random() < 0.3:
            return (self.number(CHANNELS),)
        return (self.number(EXTENTS), self.number(EXTENTS), self.number(CHANNELS[:6]))

    def model(self, depth: int = 0) -> Any:
        """A Sequential or a graph; None where it is refused."""
        try:
            return self.sequential(depth) if self.rng.random() < 0.4 else self.branched(depth)
        except REFUSALS as error:
            self.refuse("model", error)
            return None

    def sequential(self, depth: int) -> Any:
        model = pycnn.Sequential()
        model.add(L.Input(self.shape()))
        for _ in range(self.rng.randint(1, 6)):
            self.grow(model, depth)
        return model

    def grow(self, model: Any, depth: int = 1) -> None:
        """One more layer on a Sequential, or a model, if it fits."""
        rank = len(model.output_shape) if model.layers else 4
        nested = depth == 0 and self.rng.random() < 0.1
        layer = self.model(depth + 1) if nested else self.layer(rank)
        if layer is None:
            return
        try:
            model.add(layer)
        except REFUSALS as error:
            self.refuse(f"add {layer!r}", error)
            return
        if not model.layers:
            return
        self.say(f"added {layer.name}: {model.output_shape}")
        if too_large(model.output_shape):
            model.pop()

    def branched(self, depth: int) -> Any:
        inputs = [L.Input(self.shape()) for _ in range(self.pick((1, 1, 1, 2)))]
        tensors = list(inputs)
        for _ in range(self.rng.randint(1, 8)):
            try:
                self.connect(tensors, depth)
            except REFUSALS as error:
                self.refuse("call", error)
        outputs = [tensors[-1]]
        if self.rng.random() < 0.15:
            outputs.append(self.pick(tensors))
        return pycnn.Model(inputs, outputs)

    def connect(self, tensors: list[Any], depth: int) -> None:
        x = self.pick(tensors[-3:])
        same = [t for t in tensors if t.shape[:-1] == x.shape[:-1]]
        if len(same) > 1 and self.rng.random() < 0.3:
            kind = self.pick((L.Add, L.Concatenate))
            y: Any = kind()([self.pick(same) for _ in range(self.rng.randint(1, 3))])
        elif depth == 0 and self.rng.random() < 0.1:
            inner = self.model(depth + 1)
            y = None if inner is None else inner(x)
        else:
            layer = self.layer(len(x.shape))
            y = None if layer is None else layer(x)
        for tensor in y if isinstance(y, list) else [y]:
            if tensor is not None and not too_large(tensor.shape):
                self.say(f"{tensor.layer.name}: {tensor.shape}")
                tensors.append(tensor)


def too_large(shape: Sequence[Any]) -> bool:
    size = 1
    for extent in shape[1:]:
        size *= extent
    return size > MAX_OUTPUT
