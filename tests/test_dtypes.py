# SPDX-License-Identifier: Apache-2.0
"""Types of values. Images of bytes stay bytes until a batch is gathered, and count as floats."""

from __future__ import annotations

import numpy as np
import pytest

import pycnn
from pycnn import _core, layers
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


# --- types that values carry ----------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["bfloat16", "int32", "uint8"])
def test_ops_refuse_the_types_that_they_do_not_know(dtype):
    graph = _core.Graph()
    x, w = graph.input("x", (None, 4), dtype), graph.parameter("w", (4, 3), dtype=dtype)
    with pytest.raises(DTypeError, match=f"dense: x must be float32, got {dtype}"):
        graph.dense(x, graph.parameter("u", (4, 3)))
    with pytest.raises(DTypeError, match=f"dense: w must be float32, got {dtype}"):
        graph.dense(graph.input("f", (None, 4)), w)
    assert _core.Graph.from_program(graph.program()).program() == graph.program()
    with pytest.raises(DTypeError, match=f"variable: expected float32, got {dtype}"):
        _core.Parameters(graph)


def test_parameters_must_have_the_type_that_the_graph_expects():
    graph, other = _core.Graph(), _core.Graph()
    graph.parameter("w", (4,), dtype="uint8")
    other.parameter("w", (4,))
    with pytest.raises(DTypeError, match="w: the graph expects uint8, the parameters hold float32"):
        _core.Plan(graph, _core.Parameters(other), 1)


@pytest.mark.parametrize(("dtype", "size"), [("int32", 4), ("uint8", 1)])
def test_other_types_pass_through(dtype, size):
    """Buffers are of bytes: nothing takes their numbers for floats."""
    graph = _core.Graph()
    graph.mark_output(graph.input("x", (None, 5, 3), dtype))
    plan = _core.Plan(graph, _core.Parameters(graph), 4)
    assert plan.arena_lower_bound == -(-4 * 15 * size // 64) * 64
    x = np.random.default_rng(0).integers(0, 255, (9, 5, 3)).astype(dtype)
    y = np.zeros_like(x)
    plan.run([x], [y], start=3)
    np.testing.assert_array_equal(y[3:7], x[3:7])
    assert plan.output(0).dtype == dtype
    np.testing.assert_array_equal(plan.output(0), x[3:7])


def test_numpy_has_no_bfloat16():
    graph = _core.Graph()
    graph.mark_output(graph.input("x", (None, 3), "bfloat16"))
    plan = _core.Plan(graph, _core.Parameters(graph), 2)
    with pytest.raises(DTypeError, match="expected bfloat16, got uint16"):
        plan.run([np.zeros((2, 3), np.uint16)])
    with pytest.raises(DTypeError, match="NumPy has no bfloat16"):
        plan.output(0)
