# SPDX-License-Identifier: Apache-2.0
"""Counter-based random numbers: Philox4x32-10 (Salmon et al. 2011, "as easy as 1, 2, 3").

Every number is a pure function of (seed, stream, step, index): no state, so any thread can draw
any element and a resumed run draws the same ones. A longer draw begins with the shorter one.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from .checks import Array, bad_argument, integer

__all__ = [
    "normal",
    "philox4x32",
    "truncated_normal",
    "uniform",
]

MASK = 0xFFFFFFFF
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
KEY_STEPS = (0x9E3779B9, 0xBB67AE85)  # golden ratio and sqrt(3) - 1, as 32-bit fractions
ROUNDS = 10


def philox4x32(counter: ArrayLike, key: ArrayLike) -> Array:
    """Ten rounds of Philox. Shape: counter (..., 4), key (2) -> (..., 4), all uint32."""
    counter, key = np.asarray(counter, np.uint32), np.asarray(key, np.uint32)
    if counter.ndim < 1 or counter.shape[-1] != 4:
        raise bad_argument("philox4x32", "counter", "of shape (..., 4)", counter.shape)
    if key.shape != (2,):
        raise bad_argument("philox4x32", "key", "of shape (2,)", key.shape)
    c0, c1, c2, c3 = (counter[..., i].astype(np.uint64) for i in range(4))
    k0, k1 = int(key[0]), int(key[1])
    for _ in range(ROUNDS):
        a, b = c0 * np.uint64(MULTIPLIERS[0]), c2 * np.uint64(MULTIPLIERS[1])
        c0, c1 = (b >> np.uint64(32)) ^ c1 ^ np.uint64(k0), b & np.uint64(MASK)
        c2, c3 = (a >> np.uint64(32)) ^ c3 ^ np.uint64(k1), a & np.uint64(MASK)
        k0, k1 = (k0 + KEY_STEPS[0]) & MASK, (k1 + KEY_STEPS[1]) & MASK
    return np.stack([c0, c1, c2, c3], axis=-1).astype(np.uint32)


def _uniform_blocks(op: str, seed: int, stream: int, step: int, blocks: Array) -> Array:
    """Elements 4*block .. 4*block + 3 of the uniform sequence. Shape: (B) -> (B, 4), float32."""
    seed = integer(op, "seed", seed, 0, 2**64 - 1)
    counter = np.empty((blocks.size, 4), np.uint32)
    counter[:, 0] = blocks & MASK
    counter[:, 1] = blocks >> 32
    counter[:, 2] = integer(op, "stream", stream, 0, MASK)
    counter[:, 3] = integer(op, "step", step, 0, MASK)
    words = philox4x32(counter, (seed & MASK, seed >> 32))
    # 24 bits fit a float32 exactly, so [0, 1) holds without rounding up to 1.
    return (words >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-24)


def _normal_blocks(op: str, seed: int, stream: int, step: int, blocks: Array) -> Array:
    """Box-Muller on the pairs (0, 1) and (2, 3) of every block. Shape: (B) -> (B, 4)."""
    u = _uniform_blocks(op, seed, stream, step, blocks).astype(np.float64)
    radius = np.sqrt(-2.0 * np.log(1.0 - u[:, 0::2]))  # 1 - u is in (0, 1]: no log(0)
    angle = 2.0 * math.pi * u[:, 1::2]
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1).reshape(-1, 4)


def _blocks(op: str, count: int) -> Array:
    return np.arange(-(-integer(op, "count", count, 0) // 4), dtype=np.int64)


def uniform_for(op: str, seed: int, stream: int, step: int, count: int) -> Array:
    """uniform() for an op that errors name."""
    return _uniform_blocks(op, seed, stream, step, _blocks(op, count)).reshape(-1)[:count]


def uniform(seed: int, stream: int, step: int, count: int) -> Array:
    """`count` float32 values in [0, 1), multiples of 2^-24.

    Element i is (word >> 8) * 2^-24 with word = output i % 4 of philox4x32 on
    counter (low32(i // 4), high32(i // 4), stream, step) and key (low32(seed), high32(seed)).
    """
    return uniform_for("uniform", seed, stream, step, count)


def normal(seed: int, stream: int, count: int) -> Array:
    """`count` standard normal float64 values by Box-Muller, from u = uniform(seed, stream, 0, ...).

    z[2i] = r * cos(a), z[2i+1] = r * sin(a), r = sqrt(-2 * log(1 - u[2i])), a = 2 * pi * u[2i+1]
    """
    return _normal_blocks("normal", seed, stream, 0, _blocks("normal", count)).reshape(-1)[:count]


def truncated_normal(seed: int, stream: int, count: int) -> Array:
    """`count` standard normal values with |z| <= 2.

    Element i is the first of z_0[i], z_1[i], ... with |z| <= 2, where z_step is `normal` drawn
    from uniform(seed, stream, step, ...).
    """
    op = "truncated_normal"
    blocks = _blocks(op, count)
    z = _normal_blocks(op, seed, stream, 0, blocks)
    step = 0
    while (redraw := np.abs(z) > 2.0).any():
        step += 1
        rows = redraw.any(axis=1)
        fresh = _normal_blocks(op, seed, stream, step, blocks[rows])
        z[rows] = np.where(redraw[rows], fresh, z[rows])
    return z.reshape(-1)[:count]
