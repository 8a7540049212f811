# SPDX-License-Identifier: Apache-2.0
"""The caller's floating-point mode reaches no result (finding 24)."""

from __future__ import annotations

import ctypes
import platform
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest

import pycnn
from pycnn import layers as L

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() != "x86_64", reason="glibc's fenv_t of x86-64"
)
MXCSR = 28  # its offset in fenv_t
MODES = {"down": 0x2000, "up": 0x4000, "toward zero": 0x6000, "flush": 0x8040, "both": 0xE040}


@contextmanager
def caller_mode(bits: int) -> Iterator[None]:
    """Sets bits of the calling thread's MXCSR: rounding (0x6000), flush and denormals are zero."""
    libm, saved = ctypes.CDLL("libm.so.6"), ctypes.create_string_buffer(32)
    libm.fegetenv(saved)
    changed = ctypes.create_string_buffer(saved.raw, 32)
    word = int.from_bytes(saved.raw[MXCSR:], "little") | bits
    changed[MXCSR:32] = word.to_bytes(4, "little")
    libm.fesetenv(changed)
    try:
        yield
    finally:
        now = ctypes.create_string_buffer(32)
        libm.fegetenv(now)
        libm.fesetenv(saved)
    assert int.from_bytes(now.raw[MXCSR:], "little") & 0xE040 == word & 0xE040  # and is kept


def same_in_all_modes(run: Callable[[], list[np.ndarray]]) -> None:
    expected = run()
    for name, bits in MODES.items():
        with caller_mode(bits):
            got = run()
        for a, b in zip(expected, got, strict=True):
            np.testing.assert_array_equal(a, b, err_msg=name)


def layers() -> list[L.Layer]:
    return [
        L.Input((9, 9, 3)),
        L.Conv2D(8, 3, use_bias=True),
        L.BatchNormalization(momentum=0.7, epsilon=0.3),
        L.Activation("leaky_relu"),
        L.Conv2D(8, 3, groups=8, use_bias=False),
        L.BatchNormalization(momentum=0.7, epsilon=0.3),
        L.Flatten(),
        L.Dropout(0.3),
        L.Dense(5, activation="softmax"),
    ]


def arrays(count: int) -> list[np.ndarray]:
    """Weights for a model of the layers above; small ones among them."""
    rng = np.random.default_rng(count)
    shapes = [w.shape for w in pycnn.Sequential(layers()).get_weights()]
    values = [np.abs(rng.normal(size=shape)).astype(np.float32) for shape in shapes]
    values[0][0] *= np.float32(1e-38)
    return values


WEIGHTS = arrays(0)
X = np.random.default_rng(1).normal(size=(6, 9, 9, 3)).astype(np.float32)
Y = np.arange(6) % 5


def test_predictions_with_folded_batch_norm():
    """The fold is made by the first prediction after the weights changed, in whatever mode."""

    def predict() -> list[np.ndarray]:
        model = pycnn.Sequential(layers())
        model.set_weights(WEIGHTS)
        return [model.predict(X, verbose=0), pycnn.Predictor(model)(X[:1]).copy()]

    same_in_all_modes(predict)


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda: pycnn.optimizers.SGD(0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
        lambda: pycnn.optimizers.Adam(0.001, beta_1=0.7, beta_2=0.99, epsilon=1e-5),
    ],
    ids=["sgd", "adam"],
)
def test_training(optimizer):
    """Learning rate, momentum, rates and epsilons are rounded to nearest, as in any other mode."""

    def train() -> list[np.ndarray]:
        pycnn.set_seed(0)
        model = pycnn.Sequential(layers())
        model.set_weights(WEIGHTS)
        model.compile(optimizer(), "sparse_categorical_crossentropy")
        losses = [model.train_on_batch(X, Y) for _ in range(3)]
        return [np.array(losses), *model.get_weights()]

    same_in_all_modes(train)
