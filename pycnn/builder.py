# SPDX-License-Identifier: Apache-2.0
"""What a layer's build() talks to: a core graph plus the weights the layers ask for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import _core
from .errors import ShapeError
from .initializers import Initializer

if TYPE_CHECKING:
    from .layers.base import Layer


@dataclass(frozen=True)
class WeightSpec:
    """A weight as a layer declared it.

    `fixed` weights are constants: never listed nor saved. `frozen` is what the layer was when the
    graph was made; the layer's own flag may have changed since.
    """

    name: str  # "layer/kernel"
    shape: tuple[int, ...]
    initializer: Initializer
    trainable: bool
    frozen: bool
    fixed: bool

    @property
    def updated(self) -> bool:
        """Whether a training step of the graph changes it."""
        return self.trainable and not self.frozen

    @property
    def layer(self) -> str:
        return self.name.rpartition("/")[0]

    def check_same_shape(self, known: WeightSpec | None) -> None:
        """Refuses to be the weight that an earlier use of the layer made in another shape."""
        if known is not None and known.shape != self.shape:
            layer, _, name = self.name.rpartition("/")
            raise ShapeError(
                f"{layer}: used twice with different inputs: {name} of shape {known.shape} "
                f"the first time, {self.shape} now"
            )


class GraphBuilder:
    """Collects the nodes and weights of layers, one layer after the other.

    `core` is the graph of the compiled core; its ops take and return value numbers.
    """

    def __init__(self, training: bool = False) -> None:
        self.core = _core.Graph()
        self.training = training
        self.weights: dict[str, WeightSpec] = {}  # in order of declaration
        self.values: dict[str, int] = {}  # of the weights
        self.averages: list[tuple[int, int, float]] = []  # (weight, sample, momentum)
        self.least_batch = 1, ""  # and the layer that asks for it
        self.name = ""  # of the layer being built
        self._frozen = False
        self._streams = 0

    def enter(self, layer: Layer) -> None:
        """What follows belongs to this layer."""
        self.name = layer.name
        self._frozen = not layer.trainable

    def shape(self, value: int, rank: int | None = None, letters: str = "") -> tuple[int, ...]:
        """The extents of a value without the batch; with its rank (batch included) checked."""
        shape = self.core.shape(value)
        if rank is not None and len(shape) != rank:
            raise ShapeError(f"{self.name}: input must have shape ({letters}), got {shape}")
        return tuple(-1 if extent is None else extent for extent in shape[1:])

    def parameter(
        self,
        name: str,
        shape: tuple[int, ...],
        initializer: Initializer,
        *,
        trainable: bool = True,
        fixed: bool = False,
    ) -> int:
        """The weight "layer/name"; a layer used twice gets the same one twice."""
        key = f"{self.name}/{name}"
        spec = WeightSpec(key, shape, initializer, trainable, self._frozen, fixed)
        known = self.weights.get(key)
        if known is None:
            self.values[key] = self.core.parameter(key, shape, spec.updated)
            self.weights[key] = spec
        else:
            spec.check_same_shape(known)
        return self.values[key]

    def moving_average(self, parameter: int, sample: int, momentum: float) -> None:
        """Asks for parameter = momentum*parameter + (1-momentum)*sample after the step."""
        self.averages.append((parameter, sample, momentum))

    def require_batch(self, samples: int) -> None:
        """Refuses to train on batches that all have fewer samples; the last of an epoch may."""
        self.least_batch = max(self.least_batch, (samples, self.name))

    def next_stream(self) -> int:
        """A stream of random numbers no other node of the graph uses."""
        self._streams += 1
        return self._streams - 1
