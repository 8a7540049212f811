# SPDX-License-Identifier: Apache-2.0
"""The one global seed. Random numbers are counter-based: a pure function of seed and position.

So nothing needs saving to resume a run, and thread counts change nothing. A process that never
calls set_seed behaves as after set_seed(0).
"""

from __future__ import annotations

import operator

import numpy as np
from numpy.typing import NDArray

MAX_SEED = 2**32 - 1

_seed = 0
_models = 0


def set_seed(seed: int) -> None:
    """Makes everything that follows repeatable: initial weights, shuffling, dropout.

    Args:
        seed: 0 .. 2**32 - 1.
    """
    global _seed, _models
    _seed, _models = checked_seed("set_seed", seed), 0


def checked_seed(where: str, seed: int) -> int:
    """seed as an int in 0 .. MAX_SEED, or ValueError."""
    try:
        number = operator.index(seed)
    except TypeError:
        number = -1
    if not 0 <= number <= MAX_SEED:
        raise ValueError(f"{where}: seed must be an integer in 0..{MAX_SEED}, got {seed!r}")
    return number


def next_model_seed() -> int:
    """A 64-bit seed for a new model: the global seed below, the model's number above."""
    global _models
    _models += 1
    return _seed + ((_models - 1) % 2**31 << 32)


def epoch_permutation(count: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """The order of the samples in an epoch, a function of (count, seed, epoch) only."""
    generator = np.random.Generator(np.random.Philox(key=[seed, epoch]))
    return generator.permutation(count).astype(np.int64, copy=False)
