# SPDX-License-Identifier: Apache-2.0
"""A first call that is refused leaves a model that does not know its input as it was."""

from __future__ import annotations

import sys
import threading

import numpy as np
import pytest
from toys import same_weights

import pycnn
from pycnn.errors import DTypeError, ShapeError
from pycnn.layers import BatchNormalization, Conv2D, Dense, Flatten, MaxPooling2D
from pycnn.models import Sequential

RNG = np.random.default_rng(0)
X = RNG.standard_normal((8, 4)).astype(np.float32)
Y = RNG.standard_normal((8, 1)).astype(np.float32)


def unbuilt(*layers):
    """The same initial weights every time."""
    pycnn.set_seed(3)
    inner = Sequential([Dense(4), *layers], name="inner")
    model = Sequential([Dense(16, activation="relu"), inner, Dense(1)])
    model.compile("sgd", "mse")
    return model


WIDE = np.ones((8, 9), np.float32)
TEXT = np.full(WIDE.shape, "1")


@pytest.mark.parametrize(
    "call",
    [
        lambda model: model.fit(X.T, Y, verbose=0),
        lambda model: model.fit(TEXT, Y, verbose=0),
        lambda model: model.predict(TEXT),
        lambda model: model.predict_on_batch(WIDE + 1e300 * WIDE.astype("f8")),
        lambda model: model.fit(WIDE, np.ones((8, 2)), verbose=0),
        lambda model: model.evaluate(WIDE, Y[:3], verbose=0),
        lambda model: model.test_on_batch(WIDE, Y * np.nan),
        lambda model: model.fit(WIDE, Y, validation_data=(X, Y), verbose=0),
        lambda model: model.fit(WIDE, Y, validation_split=2.0, verbose=0),
        lambda model: model.fit(WIDE, Y, verbose="loud"),
        lambda model: Sequential([Flatten(), model, Conv2D(2, 3)]).predict(WIDE),
    ],
)
def test_nothing_is_kept_of_a_refused_first_call(call):
    model, want = unbuilt(), unbuilt()
    with pytest.raises((ValueError, TypeError)):
        call(model)
    leaves = model.leaves()
    assert not model.built and not model.layers[1].built
    assert [leaf.variables for leaf in leaves] == [{}] * 3
    for each in (model, want):
        each.fit(X, Y, verbose=0)
        each.fit(X, Y, verbose=0)
    assert same_weights(model, want)
    assert model.layers[0].output.shape == (None, 16)


def test_nothing_is_kept_of_a_refused_first_step():
    model = unbuilt(BatchNormalization())
    with pytest.raises(ValueError, match="needs batches of >= 2 samples"):
        model.train_on_batch(WIDE[:1], Y[:1])
    with pytest.raises(ValueError, match="needs batches of >= 2 samples"):
        model.fit(WIDE, Y, batch_size=1, verbose=0)
    model.train_on_batch(X, Y)
    assert model.input_shape == (None, 4)


def test_a_build_that_fails_half_way_leaves_no_weights():
    model = Sequential([Conv2D(4, 3), MaxPooling2D(), Conv2D(4, 3), Flatten(), Dense(1)])
    with pytest.raises(ShapeError):
        model.predict(np.ones((2, 4, 4, 1)))
    assert model.predict(np.ones((2, 28, 28, 3))).shape == (2, 1)


def test_a_layer_that_does_not_fit_leaves_no_input_and_builds_no_model():
    model = Sequential()
    with pytest.raises(ShapeError):
        model.add(Conv2D(2, 3, input_shape=(5,)))
    assert not model.built
    model.add(Dense(2, input_shape=(4,)))
    inner = Sequential([Conv2D(2, 3)])
    with pytest.raises(ShapeError):
        model.add(inner)
    assert not inner.built and inner.holders == 0
    assert model.predict(X).shape == (8, 2)


def test_a_dtype_that_is_refused_is_named_before_the_shape():
    with pytest.raises(DTypeError, match="sequential: x: expected real numbers"):
        unbuilt().predict(np.array("text"))


@pytest.fixture
def eager_threads():
    """Threads take turns as often as they can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("eager_threads")
def test_first_calls_of_several_threads_build_one_model():
    for _ in range(10):
        model, start = unbuilt(), threading.Barrier(6)
        results: list[object] = []

        def call(bad, model=model, start=start, results=results):
            start.wait()
            try:
                results.append(model.predict(TEXT if bad else X))
            except DTypeError as error:
                results.append(error)

        threads = [threading.Thread(target=call, args=(i % 3 == 0,)) for i in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        good = [result for result in results if isinstance(result, np.ndarray)]
        assert len(results) == 6 and len(good) == 4
        for result in good:
            np.testing.assert_array_equal(result, model.predict(X))
