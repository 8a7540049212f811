# SPDX-License-Identifier: Apache-2.0
"""Classes and functions of users that files may name: registered, never imported by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from .text import checked_name, quoted

T = TypeVar("T")
_registered: dict[str, Any] = {}  # by "package>Name"
_names: dict[Any, str] = {}


def register_serializable(package: str = "Custom", name: str | None = None) -> Callable[[T], T]:
    """A decorator: files may name this class (with get_config) or function.

    A file that names it can be loaded only where it has been registered before.

    Example:
        >>> @pycnn.register_serializable("my_package")
        ... class MyLayer(pycnn.layers.Layer):
        ...     pass
    """

    def register(thing: T) -> T:
        known_as = name or getattr(thing, "__name__", None)
        if not callable(thing) or not isinstance(known_as, str):
            raise TypeError(f"register_serializable: expected a class or function, got {thing!r}")
        full = f"{checked_name(package)}>{checked_name(known_as)}"
        _registered[full] = thing
        _names[thing] = full
        return thing

    return register


def registered_name(thing: Any) -> str | None:
    """Under which a class or function is registered."""
    try:
        return _names.get(thing)
    except TypeError:  # not hashable
        return None


def name_of_function(function: Any) -> str:
    """The same; ValueError where it is not registered."""
    name = registered_name(function)
    if name is None:
        called = getattr(function, "__name__", repr(function))
        raise ValueError(
            f"save: {called} is not registered: decorate it with pycnn.register_serializable()"
        )
    return name


def registered(name: object) -> Any:
    """The class or function of that name; ValueError where there is none."""
    if isinstance(name, str) and name in _registered:
        return _registered[name]
    raise ValueError(
        f"{quoted(name)} is not registered: decorate it with pycnn.register_serializable() before "
        "loading"
    )
