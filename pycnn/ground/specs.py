# SPDX-License-Identifier: Apache-2.0
"""Specs: small objects that say what is wanted, are equal to their arguments, and hold no data.

Names are looked up in closed tables; nothing is ever imported or evaluated by name.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

from .registry import registered, registered_name
from .text import quoted

SpecT = TypeVar("SpecT", bound="Spec")


class Spec:
    """Base of initializers, losses, metrics and optimizers: config and repr from __init__.

    Its attributes are the arguments of __init__, each set there once and for all: what uses the
    object may have read it before. Optimizers may be changed. Classes of users do as they like.
    """

    def __setattr__(self, key: str, value: Any) -> None:
        if is_ours(self):
            where = type(self).__name__
            if key not in inspect.signature(type(self)).parameters:
                raise AttributeError(f"{where}: has no setting {ascii(key)[:80]}")
            if key in self.__dict__:
                raise AttributeError(f"{where}: {key} is fixed when it is made; make a new one")
        object.__setattr__(self, key, value)

    def get_config(self) -> dict[str, Any]:
        """The arguments that make an equal object, as plain data."""
        names = inspect.signature(type(self)).parameters
        return {name: getattr(self, name) for name in names}

    @classmethod
    def from_config(cls: type[SpecT], config: Mapping[str, Any]) -> SpecT:
        return cls(**config)

    def __repr__(self) -> str:
        parameters = inspect.signature(type(self)).parameters
        changed = {
            name: value
            for name, value in self.get_config().items()
            if value != parameters[name].default
        }
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in changed.items())})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Spec) or type(self) is not type(other):
            return NotImplemented
        return self.get_config() == other.get_config()

    def __hash__(self) -> int:
        return hash(type(self))


# What users set on models and layers expecting an effect, beside what these already have.
SETTINGS = frozenset(
    "activation activity_regularizer amsgrad batch_size beta_1 beta_2 bias_constraint "
    "bias_initializer bias_regularizer clipnorm clipvalue constraint decay dropout dtype "
    "dtype_policy ema_momentum ema_overwrite_frequency epsilon frozen global_clipnorm "
    "gradient_accumulation_steps initializer input_spec jit_compile kernel_constraint "
    "kernel_initializer kernel_regularizer learning_rate loss loss_scale_factor lr momentum "
    "nesterov optimizer padding rate regularizer rho run_eagerly seed stateful strides trainable "
    "training units use_bias use_ema weight_decay".split()
)


def is_ours(owner: object) -> bool:
    """Whether its class is one of pycnn: what the classes of users keep is their own."""
    return type(owner).__module__.partition(".")[0] == __package__.partition(".")[0]


def refuse_unknown(owner: object, key: str, where: str) -> None:
    """Refuses to keep an attribute that looks like a setting but would have no effect."""
    kept = hasattr(type(owner), key) or key in owner.__dict__
    if not is_ours(owner) or kept or key.startswith("_"):
        return
    known = [name for name in dir(type(owner)) if not name.startswith("_")]
    close = difflib.get_close_matches(key, known, 1, 0.85)
    if key in SETTINGS or close:
        hint = f"; did you mean {close[0]}?" if close else ""
        raise AttributeError(f"{where}: has no setting {ascii(key)[:80]}{hint}")


def serialize(spec: str | Spec) -> str | dict[str, Any]:
    """Plain data from_table understands."""
    if isinstance(spec, str):
        return spec
    if hasattr(spec, "serialized"):  # of a function
        return cast(str, spec.serialized())
    name = registered_name(type(spec)) or type(spec).__name__
    return {"class_name": name, "config": spec.get_config()}


def from_table(
    kind: str,
    identifier: object,
    table: Mapping[str, Callable[..., SpecT]],
    base: type[SpecT],
    of_function: Callable[..., SpecT] | None = None,
) -> SpecT:
    """A spec from its name, its serialized form, its class, or itself.

    Args:
        of_function: what makes one of a function.
    """
    if isinstance(identifier, base):
        return identifier
    if isinstance(identifier, str) and ">" in identifier and of_function is not None:
        found = registered(identifier)
        return of_function(found) if not isinstance(found, type) else found()
    if of_function is not None and callable(identifier) and not isinstance(identifier, type):
        return of_function(identifier)
    if isinstance(identifier, type) and issubclass(identifier, base):
        return identifier()
    if isinstance(identifier, str):
        return _make(kind, identifier, table)()
    if isinstance(identifier, Mapping) and set(identifier) == {"class_name", "config"}:
        return _make(kind, identifier["class_name"], table)(**identifier["config"])
    raise TypeError(f"{kind}: expected a name or an object, got {quoted(identifier)}")


def _make(
    kind: str, name: object, table: Mapping[str, Callable[..., SpecT]]
) -> Callable[..., SpecT]:
    if isinstance(name, str) and ">" in name:
        return cast("Callable[..., SpecT]", registered(name))
    if isinstance(name, str):
        for key, make in table.items():
            if name.lower() == key or name == getattr(make, "__name__", None):
                return make
    raise ValueError(f"{kind}: expected one of {', '.join(table)}, got {quoted(name)}")
