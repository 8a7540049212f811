# SPDX-License-Identifier: Apache-2.0
"""Activation strings. The table is closed: names only, as in a saved model."""

from __future__ import annotations

from typing import Any

from .. import _core
from ..engine.builder import GraphBuilder

# step has no gradient
ACTIVATIONS = (*_core.ops()["activation"]["attributes"]["kind"]["choices"], "softmax")


def checked_activation(where: str, activation: Any) -> str:
    """The name of a known activation; None is "linear"."""
    name = "linear" if activation is None else activation
    if not isinstance(name, str) or name not in ACTIVATIONS:
        known = ", ".join(ACTIVATIONS)
        raise ValueError(f"{where}: activation must be one of {known}, got {activation!r}")
    return name


def add_activation(graph: GraphBuilder, x: int, activation: str) -> int:
    """Appends f(x). Shape: (N, ...) -> (N, ...); softmax runs over the last axis."""
    if activation == "linear":
        return x
    if activation == "softmax":
        return graph.core.softmax(x, name=graph.name)
    return graph.core.activation(x, activation, name=graph.name)
