# SPDX-License-Identifier: Apache-2.0
"""Activations by name, and as functions of tensors and arrays. Names and formulas are Keras'.

Layers take a name or a function: activation="gelu", activation=ops.gelu, or a user's own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import _core
from .engine.operators import functions
from .ground.registry import registered, registered_name
from .ops import (
    celu,
    elu,
    exp,
    gelu,
    glu,
    hard_sigmoid,
    hard_silu,
    hard_tanh,
    leaky_relu,
    log_sigmoid,
    log_softmax,
    mish,
    relu,
    relu6,
    selu,
    sigmoid,
    silu,
    soft_shrink,
    softmax,
    softplus,
    softsign,
    squareplus,
    tanh,
    tanh_shrink,
)
from .ops.dispatch import op

__all__ = [
    "celu", "elu", "exponential", "gelu", "get", "glu", "hard_sigmoid", "hard_silu", "hard_swish",
    "hard_tanh", "leaky_relu", "linear", "log_sigmoid", "log_softmax", "mish", "relu", "relu6",
    "selu", "sigmoid", "silu", "soft_shrink", "softmax", "softplus", "softsign", "squareplus",
    "swish", "tanh", "tanh_shrink",
]  # fmt: skip

Activation = str | Callable[..., Any] | None

# Of the core, with kernels of their own; step has no gradient.
KERNELS: tuple[str, ...] = tuple(_core.ops()["activation"]["attributes"]["kind"]["choices"])

hard_swish, swish, exponential = hard_silu, silu, exp


@op
def linear(x: Any) -> Any:
    """x."""
    return x


FUNCTIONS: dict[str, Callable[..., Any]] = {
    name: globals()[name] for name in __all__ if name != "get"
}
NAMES = tuple(dict.fromkeys([*KERNELS, *FUNCTIONS]))


def get(identifier: Activation) -> Callable[..., Any]:
    """The function of a name, of None (linear), or itself."""
    if identifier is None:
        return linear
    if callable(identifier):
        return identifier
    if identifier in FUNCTIONS:
        return FUNCTIONS[identifier]
    if ">" in str(identifier):
        found: Callable[..., Any] = registered(identifier)
        return found
    raise ValueError(f"activation must be one of {', '.join(NAMES)}, got {identifier!r}")


def serializable(activation: Activation) -> str | None:
    """The name that files know it by; ValueError where there is none."""
    if activation is None or isinstance(activation, str):
        return activation
    name = getattr(activation, "__name__", "")
    if functions.get(name) is activation:
        return name
    known_as = registered_name(activation)
    if known_as is None:
        raise ValueError(
            f"save: activation {name or activation!r} is not registered: decorate it with "
            "pycnn.register_serializable()"
        )
    return known_as
