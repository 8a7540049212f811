# SPDX-License-Identifier: Apache-2.0
"""Several threads on one model: readers see whole steps, and one fit runs at a time (12)."""

from __future__ import annotations

import dataclasses
import sys
import threading

import numpy as np
import pytest

import pycnn
from pycnn import _core
from pycnn.engine.programs import MAX_PLANS, Plans, predict_graph
from pycnn.initializers import Zeros
from pycnn.layers import Add, Dense, Input
from pycnn.models import Model, Sequential


def twins() -> Model:
    """Two layers that always get the same update."""
    x = Input((64,))
    layers = [Dense(256, kernel_initializer="ones") for _ in range(2)]
    return Model(x, Add()([layer(x) for layer in layers]))


def in_threads(count, work):
    """What each call of work(i) returned or raised."""
    results: list[object] = [None] * count

    def call(i: int) -> None:
        try:
            results[i] = work(i)
        except Exception as error:
            results[i] = error

    threads = [threading.Thread(target=call, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_readers_of_weights_see_one_step():
    """Finding 12: get_weights during another thread's fit mixed two steps (110 of 283)."""
    model = twins()
    model.compile(pycnn.optimizers.SGD(1e-4, momentum=0.9), "mse")
    x, y = np.ones((8, 64), np.float32), np.zeros((8, 256), np.float32)
    model.train_on_batch(x, y)
    done = threading.Event()

    def work(i: int) -> int:
        if i == 0:
            for _ in range(300):
                model.train_on_batch(x, y)
            done.set()
            return 0
        mixed = 0
        while not done.is_set():
            w = model.get_weights()
            mixed += not (np.array_equal(w[0], w[2]) and np.array_equal(w[1], w[3]))
        return mixed

    assert in_threads(3, work) == [0, 0, 0]


def test_predictions_see_one_step():
    model = twins()
    # y = a(x) - b(x) is 0 whenever both halves are of one step
    x = model.input
    a, b = (layer(x) for layer in model.layers[1:3])
    kernel = np.stack([np.eye(256), -np.eye(256)]).reshape(512, 256)
    joined = pycnn.layers.Concatenate()([a, b])
    difference = Model(x, Dense(256, use_bias=False, name="difference")(joined))
    difference.layers[-1].set_weights([kernel])
    model.compile(pycnn.optimizers.SGD(1e-4, momentum=0.9), "mse")
    data, y = np.ones((8, 64), np.float32), np.zeros((8, 256), np.float32)
    done = threading.Event()

    def work(i: int) -> float:
        if i == 0:
            for _ in range(300):
                model.train_on_batch(data, y)
            done.set()
            return 0.0
        worst = 0.0
        while not done.is_set():
            worst = max(worst, float(np.abs(difference.predict(data)).max()))
        return worst

    assert in_threads(2, work) == [0.0, 0.0]


@pytest.mark.parametrize("first", ["reads", "sets"])
def test_threads_that_ask_for_a_weight_first_get_the_same(first):
    """Each made one: a model trained its own, and another one predicted with the first values."""
    barrier = threading.Barrier(2, timeout=60)

    class Slow(Zeros):
        def __call__(self, shape, seed, stream):
            barrier.wait()  # both are at it
            return super().__call__(shape, seed, stream)

    layer = Dense(2, use_bias=False, input_dim=3)
    model = Sequential([layer])
    (variable,) = layer.weights
    variable.spec = dataclasses.replace(variable.spec, initializer=Slow())
    if first == "reads":
        cores = in_threads(2, lambda i: variable.core)
        assert cores[0] is cores[1] is variable.core
        return

    def work(i: int) -> _core.Variable:
        if i == 0:
            barrier.wait()
            variable.begin_with(np.ones((3, 2), np.float32))
        return variable.core

    cores = in_threads(2, work)
    assert cores[0] is cores[1]
    assert (model.get_weights()[0] == 1).all()


def test_two_fits_at_once_are_refused():
    """Finding 12: three at once were all "ok"."""
    model = Sequential([Dense(64, input_dim=64), Dense(1)])
    model.compile(pycnn.optimizers.SGD(1e-6), "mse")
    x, y = np.ones((64, 64), np.float32), np.zeros((64, 1), np.float32)
    refused = threading.Semaphore(0)

    class Busy(pycnn.callbacks.Callback):
        def on_train_end(self, logs=None):
            assert refused.acquire(timeout=60)  # of both others
            assert refused.acquire(timeout=60)

    def work(i: int) -> str:
        try:
            model.fit(x, y, batch_size=16, verbose=0, callbacks=[Busy()])
        except RuntimeError:
            refused.release()
            raise
        return "ok"

    results = in_threads(3, work)
    assert results.count("ok") == 1
    assert all(isinstance(r, RuntimeError) for r in results if r != "ok"), results
    model.fit(x, y, verbose=0)  # nothing is left behind

    class Again(pycnn.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.fit(x, y, verbose=0)

    with pytest.raises(RuntimeError, match="sequential: fit is running already"):
        model.fit(x, y, verbose=0, callbacks=[Again()])
    model.fit(x, y, verbose=0)


def test_many_batch_sizes_in_many_threads():
    """Finding 12: KeyError where threads use more batch sizes than plans are kept."""
    model = Sequential([Dense(4, input_dim=3)])
    x = np.random.default_rng(0).standard_normal((4 * MAX_PLANS, 3)).astype(np.float32)
    want = model.predict(x)

    def work(i: int) -> str:
        random = np.random.default_rng(i)
        for _ in range(150):
            n = int(random.integers(1, len(x) + 1))
            np.testing.assert_array_equal(model.predict_on_batch(x[:n]), want[:n])
        return "ok"

    assert in_threads(8, work) == ["ok"] * 8


@pytest.mark.parametrize("moment", range(1, 10))
def test_a_plan_that_another_thread_drops_meanwhile(moment):
    """Finding 12: KeyError. The other thread comes just before a certain line of Program.plan."""
    network = Sequential([Dense(1, input_dim=2)]).network
    program = Plans(predict_graph(network), network.parameters)
    lines = 0

    def come(frame, event, _):
        nonlocal lines
        if frame.f_code is not Plans.plan.__code__:
            return None
        if event == "line":
            lines += 1
            if lines == moment:
                for other in range(2, 3 + MAX_PLANS):
                    program.plan(other)
        return come

    tracer = sys.gettrace()
    sys.settrace(come)
    try:
        plan = program.plan(1)
    finally:
        sys.settrace(tracer)
    assert plan.batch == program.plan(1).batch == 1
    assert lines >= 7
