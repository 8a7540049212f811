# SPDX-License-Identifier: Apache-2.0
"""Images of bytes: they stay bytes until a batch is gathered, and count as the floats they are."""

from __future__ import annotations

import numpy as np
import pytest

import pycnn
from pycnn import layers
from pycnn.errors import DTypeError


def model_of(shape=(7, 6, 3)):
    pycnn.set_seed(3)
    stack = [layers.Input(shape), layers.Conv2D(4, 3, activation="relu"), layers.Flatten()]
    model = pycnn.Sequential([*stack, layers.Dense(3, activation="softmax")])
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def data(count=21, shape=(7, 6, 3)):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (count, *shape), np.uint8), rng.integers(0, 3, count)


def bits(model):
    return [w.tobytes() for w in model.get_weights()]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("shuffle", [False, True])
def test_training_on_bytes_gives_the_bits_of_floats(shuffle, threads):
    x, y = data()
    pycnn.set_num_threads(threads)
    try:
        byte, single = model_of(), model_of()
        histories = [
            model.fit(images, y, 8, 3, verbose=0, shuffle=shuffle, validation_split=0.2).history
            for model, images in ((byte, x), (single, x.astype(np.float32)))
        ]
    finally:
        pycnn.set_num_threads(0)
    assert histories[0] == histories[1]
    assert bits(byte) == bits(single)
    np.testing.assert_array_equal(byte.predict(x, 5), single.predict(x.astype(np.float64), 21))
    assert byte.evaluate(x, y, 4, verbose=0) == single.evaluate(x.astype("f4"), y, 4, verbose=0)


def test_bytes_are_not_copied_as_floats():
    import tracemalloc

    model = model_of((64, 64, 3))
    x = np.zeros((200, 64, 64, 3), np.uint8)
    model.predict(x[:8], 8)
    tracemalloc.start()
    model.predict(x, 8)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < x.nbytes / 4


def test_every_byte_is_its_number():
    model = pycnn.Sequential([layers.Input((256,)), layers.Dense(256, use_bias=False)])
    model.set_weights([np.eye(256)])
    x = np.arange(256, dtype=np.uint8)[None]
    np.testing.assert_array_equal(model.predict(x), x.astype(np.float32))


def test_other_layouts_of_bytes():
    model, (x, _) = model_of(), data()
    want = model.predict(x.astype(np.float32))
    np.testing.assert_array_equal(model.predict(np.asfortranarray(x)), want)
    np.testing.assert_array_equal(model.predict(x[::2]), want[::2])
    np.testing.assert_array_equal(model.predict(x.tolist()), want)
    with pytest.raises(DTypeError, match="got a masked one"):
        model.predict(np.ma.masked_array(x))
    with pytest.raises(pycnn.ShapeError):
        model.predict(x[..., :2])
