# SPDX-License-Identifier: Apache-2.0
"""The axes in another order."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from .checks import Array, bad_argument, float64

__all__ = ["transpose"]


def transpose(x: ArrayLike, axes: Sequence[int]) -> Array:
    """y.shape[i] = x.shape[axes[i]]; its gradient is the transpose by the inverse permutation."""
    x = float64(x)
    if sorted(axes) != list(range(x.ndim)):
        raise bad_argument("transpose", "axes", f"a permutation of 0..{x.ndim - 1}", tuple(axes))
    return np.ascontiguousarray(x.transpose(axes))
