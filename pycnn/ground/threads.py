# SPDX-License-Identifier: Apache-2.0
"""How many threads a run may use."""

from __future__ import annotations

from .. import _core
from .checks import checked_int


def set_num_threads(threads: int) -> None:
    """For all runs of the process that follow.

    Args:
        threads: 0 is what the environment says, or all processors.
    """
    _core.set_num_threads(checked_int("set_num_threads", "threads", threads, low=0))
