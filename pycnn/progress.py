# SPDX-License-Identifier: Apache-2.0
"""What fit() and evaluate() show: a bar on a terminal, one line an epoch elsewhere, or nothing."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

REFRESH_SECONDS = 0.1  # of the numbers behind the bar


def format_logs(logs: Mapping[str, float]) -> str:
    """loss: 0.1234 - accuracy: 0.9876"""
    return " - ".join(f"{name}: {value:.4g}" for name, value in logs.items())


class Progress:
    """Shows steps and logs.

    Args:
        verbose: 0 nothing, 1 or "auto" a bar where there is a terminal, 2 lines.
    """

    def __init__(self, verbose: int | str) -> None:
        if verbose not in (0, 1, 2, "auto"):
            raise ValueError(f"verbose must be 'auto', 0, 1 or 2, got {verbose!r}")
        self._silent = verbose == 0
        self._use_bar = verbose in (1, "auto") and sys.stderr.isatty()
        self._bar: Any = None
        self._title = ""
        self._start = self._shown = 0.0

    def begin(self, title: str, steps: int) -> None:
        self._title = title
        self._start = time.perf_counter()
        if self._use_bar:
            from tqdm import tqdm

            self._bar = tqdm(total=steps, desc=title, unit="step", dynamic_ncols=True)

    def step(self, logs: Callable[[], Mapping[str, float]]) -> None:
        """One more step; asks for the logs only where they are shown."""
        if self._bar is None:
            return
        now = time.perf_counter()
        if now - self._shown > REFRESH_SECONDS:
            self._shown = now
            self._bar.set_postfix_str(format_logs(logs()), refresh=False)
        self._bar.update()

    def end(self, logs: Mapping[str, float]) -> None:
        if self._bar is not None:
            self._bar.set_postfix_str(format_logs(logs))
            self.close()
        elif not self._silent:
            seconds = time.perf_counter() - self._start
            parts = [self._title, f"{seconds:.1f}s", format_logs(logs)]
            print(" - ".join(part for part in parts if part), flush=True)

    def close(self) -> None:
        """Leaves the bar as it is, as after Ctrl-C."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
