# SPDX-License-Identifier: Apache-2.0
"""What a plan may need before it is refused with MemoryError, and before its memory is asked for.

Assign to the names of this module; None is no limit. Plans made before keep theirs; a value that
is no limit is refused when the next plan is made.

Example:
    >>> import pycnn
    >>> pycnn.limits.max_arena_bytes = 2**30
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TypedDict

from .ground.checks import checked_int, checked_number

MAX_BYTES = 2**63 - 1


def machine_bytes() -> int | None:
    """Physical memory, or less where a control group grants less; None where neither is known."""
    known = [_physical_bytes(), *map(_granted_bytes, _group_files())]
    return min((value for value in known if value is not None), default=None)


def _physical_bytes() -> int | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):  # not a POSIX system, or one that does not say
        return None


def _group_files() -> list[Path]:
    """Where the kernel says what this process' control groups and those around them may use."""
    root = Path("/sys/fs/cgroup")
    files = [root / "memory.max", root / "memory/memory.limit_in_bytes"]
    try:
        lines = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeError):
        return files
    for line in lines:
        _, controllers, name = line.split(":", 2)
        inside = Path(name.lstrip("/"))
        for group in (inside, *inside.parents):
            if not controllers:  # version 2
                files.append(root / group / "memory.max")
            elif "memory" in controllers.split(","):
                files.append(root / "memory" / group / "memory.limit_in_bytes")
    return files


def _granted_bytes(file: Path) -> int | None:
    try:
        return int(file.read_text(encoding="ascii"))
    except (OSError, ValueError):  # no such group, or "max"
        return None


max_arena_bytes: int | None = machine_bytes()
"""Memory of all tensors of a plan."""
max_scratch_bytes: int | None = max_arena_bytes
"""Memory of all its threads for what they work on."""
max_operations: float | None = None
"""Multiply-adds of its convolutions and dense layers in one run."""


class Limits(TypedDict):
    """Those of this module, as a plan takes them."""

    max_arena_bytes: int | None
    max_scratch_bytes: int | None
    max_operations: float | None


def current() -> Limits:
    """The limits now, checked."""
    return {
        "max_arena_bytes": _bytes("max_arena_bytes", max_arena_bytes),
        "max_scratch_bytes": _bytes("max_scratch_bytes", max_scratch_bytes),
        "max_operations": None
        if max_operations is None
        else checked_number("pycnn.limits", "max_operations", max_operations, 0, math.inf),
    }


def _bytes(name: str, value: int | None) -> int | None:
    return None if value is None else checked_int("pycnn.limits", name, value, 0, MAX_BYTES)
