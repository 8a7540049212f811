# SPDX-License-Identifier: Apache-2.0
"""Functions of pycnn.ops: on arrays against NumPy, and the same on symbolic tensors."""

from __future__ import annotations

import importlib.util
import inspect
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ops_rows import RNG, ROWS, Row, X, Y

import pycnn
from pycnn import ops
from pycnn.engine.traced import Array
from pycnn.ops.dispatch import FUNCTIONS


def name_of(row: Row) -> str:
    shapes = [np.shape(x) if isinstance(x, np.ndarray) else x for x in row[1]]
    return f"{row[0]}{tuple(s for s in shapes if not isinstance(s, list))}"


def expected(row: Row) -> Any:
    name, args, numpy = row
    if numpy is None:
        return np.pad(args[0], args[1], args[2], constant_values=args[3])
    with np.errstate(all="ignore"):
        wide = [x.astype(np.float64) if _is_float(x) else x for x in args]
        if name in ("floor_divide", "mod"):  # whose jumps depend on the precision
            wide = list(args)
        return np.asarray(numpy(*wide))


def _is_float(x: Any) -> bool:
    return isinstance(x, np.ndarray) and x.dtype.kind == "f"


def compare(row: Row, y: Any) -> None:
    wanted = expected(row)
    assert y.shape == wanted.shape
    if wanted.dtype.kind == "b":
        assert y.dtype == np.bool_
    elif wanted.dtype.kind == "i":
        assert y.dtype in (np.int32, np.uint8)
    else:
        assert y.dtype == np.float32
        np.testing.assert_allclose(y, wanted, rtol=2e-6, atol=2e-6, err_msg=name_of(row))
        return
    np.testing.assert_array_equal(y, wanted, err_msg=name_of(row))


@pytest.mark.parametrize("row", ROWS, ids=name_of)
def test_on_arrays(row):
    y = getattr(ops, row[0])(*row[1])
    assert isinstance(y, Array) and type(y.numpy()) is np.ndarray
    compare(row, y)


# Over the batch they would mix samples, or they keep no batch.
OF_ALL = {"argmax((3, 4, 5),)"}


def is_symbolic(row: Row) -> bool:
    axes = [x for x in row[1][1:] if isinstance(x, tuple) and 0 in x]
    folds = row[0] in ("sum", "mean", "max", "min", "var", "std", "any", "all", "logsumexp")
    whole = folds and ((len(row[1]) > 1 and row[1][1] is None) or bool(axes))
    return not whole and name_of(row) not in OF_ALL


def is_float_row(row: Row) -> bool:  # inputs of models are float32
    first = row[1][0][0] if isinstance(row[1][0], list) else row[1][0]
    return bool(first.dtype.kind == "f" and len(first) == 3)


SYMBOLIC = [row for row in ROWS if is_symbolic(row) and is_float_row(row)]


@pytest.mark.parametrize("row", SYMBOLIC, ids=name_of)
def test_as_nodes_of_a_model(row):
    """Arrays of samples are inputs of a model; others are constants in its graph."""
    name, args, _ = row
    listed = isinstance(args[0], list)
    first = args[0][0] if listed else args[0]
    arrays, inputs = [], []

    def symbolic(array: Any) -> Any:
        if not _is_float(array) or array.shape[:1] != (3,):
            return array
        arrays.append(array)
        inputs.append(pycnn.Input(array.shape[1:]))
        return inputs[-1]

    listed = [symbolic(a) for a in args[0]] if listed else []
    x = listed or symbolic(first)
    rest = [symbolic(a) for a in args[1:]]
    if name in ("reshape", "broadcast_to"):  # the batch is not known
        rest[0] = (-1 if name == "reshape" else None, *rest[0][1:])
    y = getattr(ops, name)(x, *rest)
    got = pycnn.Model(inputs, y).predict(arrays if len(arrays) > 1 else arrays[0])
    assert y.shape == (None, *got.shape[1:])
    wanted = expected(row)
    assert (got.dtype == np.float32) == (wanted.dtype.kind == "f")
    tolerance = {"rtol": 2e-6, "atol": 2e-6}
    np.testing.assert_allclose(np.float64(got), np.float64(wanted), **tolerance)


def test_every_function_is_in_the_table():
    tested = {row[0] for row in ROWS}
    names = {name for name in ops.__all__ if name in FUNCTIONS}
    # those below have tests of their own
    apart = {"arange", "eye", "full", "split", "unstack", "ravel", "moments", "convert_to_tensor"}
    apart |= {"conv", "depthwise_conv", "conv_transpose", "max_pool", "average_pool"}
    assert names - tested == apart


def test_there_are_as_many_functions_as_promised():
    """60 of keras.ops, which are compared with Keras itself where it is installed."""
    assert len(set(ops.__all__)) > 120


@pytest.mark.skipif(importlib.util.find_spec("keras") is None, reason="Keras is not installed")
@pytest.mark.filterwarnings("ignore")  # of its backend
def test_as_keras_does():
    import keras

    compared = set()
    for row in ROWS:
        name = row[0]
        function = getattr(keras.ops, name, None)
        # its torch backend takes the wrong axis for count_nonzero
        if function is None or name in ("get_item", "count_nonzero"):
            continue
        try:
            wanted = np.asarray(keras.ops.convert_to_numpy(function(*row[1])))
        except (RuntimeError, AttributeError):  # it takes no such arguments
            continue
        got = np.asarray(getattr(ops, name)(*row[1]))
        assert got.shape == wanted.shape, name_of(row)
        np.testing.assert_allclose(
            np.float64(got), np.float64(wanted), 1e-5, 1e-6, err_msg=name_of(row)
        )
        compared.add(name)
    assert len(compared) > 110


def test_new_tensors():
    np.testing.assert_array_equal(ops.zeros((2, 3)), np.zeros((2, 3)))
    np.testing.assert_array_equal(ops.ones(4, "int32"), np.ones(4, int))
    np.testing.assert_array_equal(ops.full((2, 2), 0.25), np.full((2, 2), 0.25))
    np.testing.assert_array_equal(ops.arange(2, 11, 3), np.arange(2, 11, 3))
    np.testing.assert_array_equal(ops.arange(4), np.arange(4))
    np.testing.assert_allclose(ops.arange(0, 1, 0.25), np.arange(0, 1, 0.25))
    np.testing.assert_array_equal(ops.eye(3, 4, 1), np.eye(3, 4, 1))
    np.testing.assert_array_equal(ops.identity(3), np.identity(3))
    assert ops.arange(4).dtype == np.int32 and ops.zeros(3).dtype == np.float32
    assert ops.shape(X) == (3, 4, 5)


def test_several_results():
    for made, wanted in ((ops.split(X, 2, 1), np.split(X, 2, 1)), (ops.unstack(X), list(X))):
        assert len(made) == len(wanted)
        for a, b in zip(made, wanted, strict=True):
            np.testing.assert_array_equal(a, b)
    for a, b in zip(ops.split(X, [1, 3], -1), np.split(X, [1, 3], -1), strict=True):
        np.testing.assert_array_equal(a, b)
    mean, variance = ops.moments(X, (0, 1))
    np.testing.assert_allclose(mean, X.mean((0, 1)), atol=1e-6)
    np.testing.assert_allclose(variance, X.var((0, 1)), atol=1e-6)
    x = pycnn.Input((4, 6))
    a, b = ops.split(x, 2, axis=-1)
    model = pycnn.Model(x, [a, b])
    given = RNG.random((2, 4, 6), np.float32)
    for got, wanted in zip(model.predict(given), np.split(given, 2, -1), strict=True):
        np.testing.assert_array_equal(got, wanted)


def test_windows():
    from pycnn import reference

    x = RNG.integers(-3, 4, (2, 7, 8, 4)).astype(np.float32)
    w = RNG.integers(-3, 4, (3, 3, 4, 6)).astype(np.float32)
    options = {"strides": 2, "padding": "same"}
    wanted = reference.conv2d(x, w, strides=(2, 2), padding="same")
    np.testing.assert_array_equal(ops.conv(x, w, **options), wanted)
    grouped = ops.conv(x, w[:, :, :2])
    wanted = reference.conv2d(x, w[:, :, :2], groups=2)
    np.testing.assert_array_equal(grouped, wanted)
    up = ops.conv_transpose(x, w.transpose(0, 1, 3, 2), 2)
    wanted = reference.conv2d_transpose(x, w.transpose(0, 1, 3, 2), strides=(2, 2))
    np.testing.assert_array_equal(up, wanted)
    wanted = reference.max_pool2d(x, (2, 2), (2, 2))
    np.testing.assert_array_equal(ops.max_pool(x, 2), wanted)
    wanted = reference.avg_pool2d(x, (3, 3), (1, 1), padding="same")
    np.testing.assert_allclose(ops.average_pool(x, 3, 1, "same"), wanted, atol=1e-5)


def test_operators():
    x = pycnn.Input((4, 5))
    formulas: list[Callable[[Any], Any]] = [
        lambda x: 2 * x + x / 3 - 1,
        lambda x: (1 - x) ** 2 % 0.5,
        lambda x: -x // 0.25,
        lambda x: abs(x),
        lambda x: 1 / (x + 10),
        lambda x: 2**x,
        lambda x: x[:, ::-1, 1:4] * np.float32([1, 2, 3]),
        lambda x: np.float32([1, 2, 3, 4, 5]) + x,
    ]
    for formula in formulas:
        model = pycnn.Model(x, formula(x))
        np.testing.assert_allclose(model.predict(X), formula(X), rtol=1e-5, atol=1e-6)
    for formula in (lambda x: x > 0, lambda x: (x >= 0.5) | (x < -0.5), lambda x: ~(x <= 0)):
        y = formula(x)
        assert y.dtype == "bool"
        np.testing.assert_array_equal(pycnn.Model(x, y).predict(X), formula(X))


def test_what_a_tensor_is_not():
    x = pycnn.Input((4,))
    with pytest.raises(TypeError, match=r"neither true nor false; use ops\.where"):
        bool(x > 0)
    with pytest.raises(TypeError, match="cannot be iterated over"):
        iter(x)
    with pytest.raises(TypeError, match="has no value yet"):
        float(x)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ops.sum(X, axis=3), r"sum: axis must be in -3..2, got 3"),
        (lambda: ops.sum(X, axis=(1, 1)), "sum: an axis is given twice"),
        (lambda: ops.reshape(X, (7, -1)), r"reshape: \(3, 4, 5\) has not the elements of"),
        (lambda: ops.reshape(X, (-1, -1)), "reshape: at most one extent may be -1"),
        (lambda: ops.split(X, 3, 1), "split: 4 elements do not make 3 equal parts"),
        (lambda: ops.squeeze(X, 1), r"squeeze: axis 1 of \(3, 4, 5\) is not 1"),
        (lambda: ops.get_item(X, (0, 9)), "get_item: index 9 is beyond the 4 elements of axis 1"),
        (lambda: ops.get_item(X, (0, slice(2, 2))), "takes nothing of 4 elements"),
        (lambda: ops.add(X, Y[:2]), "does not broadcast"),
        (lambda: ops.cast(X, "float16"), "cast: dtype must be one of float32"),
        (lambda: ops.exp(np.array(["a"])), "exp: expected numbers, got dtype <U1"),
        (lambda: ops.add(np.array([2**40]), 1), "add: an integer is beyond the range of int32"),
        (lambda: ops.norm(X, ord=3), "norm: ord must be None, 1, 2, inf or 'fro', got 3"),
        (lambda: ops.arange(3, 1), "arange: no numbers from 3 to 1"),
    ],
)
def test_bad_arguments(call, message):
    with pytest.raises((ValueError, TypeError, IndexError), match=message):
        call()


def test_samples_do_not_mix():
    x = pycnn.Input((4, 5))
    for call in (
        lambda: ops.reshape(x, (5, -1)),
        lambda: ops.transpose(x),
        lambda: ops.flip(x, 0),
        lambda: x[0],
        lambda: x[1:],
        lambda: ops.split(x, 2),
        lambda: ops.concatenate([x, x], 0),
        lambda: ops.argmax(x),
    ):
        with pytest.raises((ValueError, IndexError), match=r"batch|mix"):
            call()


def test_plans_of_arrays_are_kept():
    from pycnn.ops import dispatch

    ops.tanh(X)
    before = len(dispatch._kept)
    ops.tanh(Y)
    assert len(dispatch._kept) == before
    for n in range(1, dispatch.MAX_KEPT + 20):
        ops.tanh(np.zeros(n, np.float32))
    assert len(dispatch._kept) == dispatch.MAX_KEPT


def test_the_graph_of_functions_is_data():
    x = pycnn.Input((4,))
    program = pycnn.Model(x, ops.gelu(x) * [1.0, 2.0, 3.0, 4.0]).program()
    assert json.loads(json.dumps(program)) == program
    assert [node["op"] for node in program["nodes"]] == ["input", "map", "constant", "map"]


def test_arguments_are_those_of_keras():
    """Names and order, of the arguments that both have."""
    known = {
        "sum": ["x", "axis", "keepdims"],
        "where": ["condition", "x1", "x2"],
        "clip": ["x", "x_min", "x_max"],
        "concatenate": ["xs", "axis"],
        "softmax": ["x", "axis"],
        "one_hot": ["x", "num_classes", "axis", "dtype"],
        "pad": ["x", "pad_width", "mode", "constant_values"],
        "take": ["x", "indices", "axis"],
        "conv": ["inputs", "kernel", "strides", "padding", "data_format", "dilation_rate"],
        "leaky_relu": ["x", "negative_slope"],
        "gelu": ["x", "approximate"],
    }
    for name, arguments in known.items():
        assert list(inspect.signature(getattr(ops, name)).parameters) == arguments


def test_the_list_in_the_docs_is_complete():
    text = (Path(__file__).parent.parent / "docs" / "ops.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `(\w+)\(", text, re.MULTILINE)
    assert sorted(listed) == sorted(set(ops.__all__))
