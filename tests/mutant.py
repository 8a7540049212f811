# SPDX-License-Identifier: Apache-2.0
"""What a mutant is; mutate.py makes them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutant:
    """`old`, which `file` holds once, becomes `new`; `tests` lie in this folder."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
