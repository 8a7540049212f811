# SPDX-License-Identifier: Apache-2.0
"""How layers take activations."""

from __future__ import annotations

from typing import Any, cast

import numpy as np

from ..activations import KERNELS, NAMES, Activation, get
from ..engine.builder import GraphBuilder
from ..engine.operators import functions
from ..engine.traced import GraphTensor, tracing


def checked_activation(where: str, activation: Any) -> Activation:
    """A known name, a function, or None (linear); what ops has goes by its name."""
    if callable(activation) and not isinstance(activation, np.ufunc):
        name = getattr(activation, "__name__", "")
        return name if name in NAMES and functions.get(name) is activation else activation
    if isinstance(activation, str) and ">" in activation:
        get(activation)  # ValueError where it is not registered
    elif activation is not None and activation not in NAMES:
        raise ValueError(
            f"{where}: activation must be a function of pycnn.ops, a user's own, or one of "
            f"{', '.join(NAMES)}, got {activation!r}"
        )
    return cast(Activation, activation)


def add_activation(graph: GraphBuilder, x: int, activation: Activation) -> int:
    """Appends f(x). Shape: (N, ...) -> (N, ...); softmax runs over the last axis."""
    if activation in (None, "linear"):
        return x
    if activation == "softmax":
        return graph.core.softmax(x, name=graph.name)
    if isinstance(activation, str) and activation in KERNELS:
        return graph.core.activation(x, activation, name=graph.name)
    with tracing(graph):
        y = get(activation)(GraphTensor(graph, x))
    if not isinstance(y, GraphTensor) or y.graph is not graph:
        raise TypeError(
            f"{graph.name}: the activation must return a tensor, got {type(y).__name__}; compute "
            "with pycnn.ops"
        )
    return y.value
