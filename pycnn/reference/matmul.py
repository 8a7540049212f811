# SPDX-License-Identifier: Apache-2.0
"""Products of matrices, which lie in the last two axes.

y[..., i, j] = sum over k of a[..., i, k] * b[..., k, j]
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from .checks import Array, bad_argument, float64

__all__ = ["matmul"]


def matmul(
    a: ArrayLike, b: ArrayLike, transpose_a: bool = False, transpose_b: bool = False
) -> Array:
    """Shape: a (..., M, K), b (..., K, N) -> (..., M, N); leading axes by NumPy's broadcasting.

    Args:
        transpose_a: a is (..., K, M).
        transpose_b: b is (..., N, K).
    """
    a, b = float64(a), float64(b)
    for argument, x in (("a", a), ("b", b)):
        if x.ndim < 2:
            raise bad_argument("matmul", argument, "of rank >= 2", x.shape)
    a = a.swapaxes(-1, -2) if transpose_a else a
    b = b.swapaxes(-1, -2) if transpose_b else b
    if a.shape[-1] != b.shape[-2]:
        raise bad_argument("matmul", "b", f"of {a.shape[-1]} rows, as a has columns", b.shape[-2])
    return np.asarray(a @ b)
