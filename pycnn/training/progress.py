# SPDX-License-Identifier: Apache-2.0
"""What fit() and evaluate() show: a bar on a terminal, one line an epoch elsewhere, or nothing."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from math import nan
from numbers import Real
from typing import Any

from ..ground.text import printable, quoted

REFRESH_SECONDS = 0.1  # of the numbers behind the bar
SIZE = 80, 24  # columns and lines, where a terminal does not know its own


def format_logs(logs: Mapping[str, Any]) -> str:
    """loss: 0.1234 - accuracy: 0.9876; what is no number, as callbacks may add it, as text."""
    return " - ".join(f"{printable(str(name))}: {_text(value)}" for name, value in logs.items())


def _text(value: object) -> str:
    return f"{float(value):.4g}" if isinstance(value, Real) else quoted(value)


def _is_terminal(stream: Any) -> bool:
    """False also where there is no stream, as in a process without a console, or a closed one."""
    try:
        return bool(stream.isatty())
    except (AttributeError, ValueError):
        return False


def _extents(stream: Any) -> dict[str, Any]:
    """For tqdm. Terminals of containers and editors may say that they have 0 columns or lines."""
    try:
        known = os.get_terminal_size(stream.fileno())
    except (AttributeError, OSError, ValueError):
        return {"dynamic_ncols": True}
    if all(known):
        return {"dynamic_ncols": True}
    return {"ncols": known.columns or SIZE[0], "nrows": known.lines or SIZE[1]}


def say(text: str) -> None:
    """A line on the standard output, where there is one."""
    if not getattr(sys.stdout, "closed", False):
        print(text, flush=True)


class Progress:
    """Shows steps and logs.

    Args:
        verbose: 0 nothing, 1 or "auto" a bar where there is a terminal, 2 lines.
    """

    def __init__(self, verbose: int | str) -> None:
        if verbose not in (0, 1, 2, "auto"):
            raise ValueError(f"verbose must be 'auto', 0, 1 or 2, got {verbose!r}")
        self._silent = verbose == 0
        self._use_bar = verbose in (1, "auto") and _is_terminal(sys.stderr)
        self._bar: Any = None
        self._title = ""
        self._start = self._shown = 0.0

    def begin(self, title: str, steps: int) -> None:
        self._title = title
        self._start = time.perf_counter()
        if self._use_bar:
            from tqdm import tqdm

            self._bar = tqdm(total=steps, desc=title, unit="step", **_extents(sys.stderr))

    def step(self, logs: Callable[[], Mapping[str, Any]]) -> None:
        """One more step; asks for the logs only where they are shown."""
        if self._bar is None:
            return
        now = time.perf_counter()
        if now - self._shown > REFRESH_SECONDS:
            self._shown = now
            self._bar.set_postfix_str(format_logs(logs()), refresh=False)
        self._bar.update()

    def end(self, logs: Mapping[str, Any]) -> None:
        if self._bar is not None:
            self._bar.set_postfix_str(format_logs(logs))
            self.close()
        elif not self._silent:
            seconds = time.perf_counter() - self._start
            parts = [self._title, f"{seconds:.1f}s", format_logs(logs)]
            say(" - ".join(part for part in parts if part))

    def close(self) -> None:
        """Leaves the bar as it is, as after Ctrl-C."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


class RunningMeans:
    """Means of the scalars of steps, weighted by batch size."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = list(names)
        self._sums = [0.0] * len(self.names)
        self._count = 0

    def add(self, values: Sequence[float], count: int) -> None:
        self._count += count
        for i, value in enumerate(values):
            self._sums[i] += value * count

    def logs(self) -> dict[str, Any]:
        """NaN where nothing was added."""
        sums = zip(self.names, self._sums, strict=True)
        return {name: total / self._count if self._count else nan for name, total in sums}
