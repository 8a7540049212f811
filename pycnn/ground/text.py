# SPDX-License-Identifier: Apache-2.0
"""Names and other text of strangers: what they may be, and how messages and terminals show them."""

from __future__ import annotations

import re

NAME_RULE = re.compile(r"[A-Za-z0-9_.\-/]{1,255}")
MAX_SHOWN = 80


def checked_name(name: object, where: str = "") -> str:
    """name, where it follows NAME_RULE, else ValueError."""
    if not isinstance(name, str) or not NAME_RULE.fullmatch(name):
        prefix = f"{where}: " if where else ""
        raise ValueError(f"{prefix}name must match {NAME_RULE.pattern}, got {quoted(name)}")
    return name


def quoted(value: object, most: int = MAX_SHOWN) -> str:
    """value as a message may show it: ASCII, control characters escaped, cut after `most`."""
    text = ascii(value[: most + 1] if isinstance(value, (str, bytes)) else value)
    return text if len(text) <= most else text[: most - 3] + "..."


def printable(text: str) -> str:
    """text with everything escaped that a terminal could obey: control characters and the like."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def snake_case(name: str) -> str:
    """Conv2D -> conv2d, GlobalAveragePooling2D -> global_average_pooling2d (Keras' rule)."""
    name = re.sub(r"(.)([A-Z][a-z0-9]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()
