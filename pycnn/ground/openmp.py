# SPDX-License-Identifier: Apache-2.0
"""How the threads of the OpenMP runtime wait. It reads that once, when the core is loaded."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

# GNU's waits by spinning: by default for 3 to 5 ms, of which nobody has anything once a run is
# over. This many turns take 0.1 to 0.7 ms, longer than Python needs from one step to the next.
SETTINGS = {"GOMP_SPINCOUNT": "15000", "KMP_BLOCKTIME": "1"}
OF_THE_USER = ("OMP_WAIT_POLICY", *SETTINGS)


@contextmanager
def short_waits() -> Iterator[None]:
    """Load the core inside; what the user has set stays."""
    ours = {} if any(name in os.environ for name in OF_THE_USER) else SETTINGS
    os.environ.update(ours)
    try:
        yield
    finally:
        for name in ours:
            os.environ.pop(name, None)
