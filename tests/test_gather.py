# SPDX-License-Identifier: Apache-2.0
"""gather and its gradient against the reference.

Plans know no integers but inputs yet, so what runs here are tables: x is a parameter.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from engine import GUARDS, Check, Net, Probe, Setting, assert_equal, assert_guarded, run
from hypothesis import given
from hypothesis import strategies as st
from strategies import EXTENTS, random_array, seeds, small_integers

from pycnn import _core, reference
from pycnn.errors import DTypeError, NumericError, ShapeError


@dataclass(frozen=True)
class Rows:
    """One call: a table, and the shape of the indices, which have a batch axis."""

    x_shape: tuple[int, ...]
    indices: tuple[int, ...]


@st.composite
def rows(draw) -> Rows:
    shapes = st.lists(st.sampled_from(EXTENTS[:7]), min_size=0, max_size=2)
    after = draw(st.lists(st.sampled_from((*EXTENTS, 31, 33)), min_size=0, max_size=2))
    return Rows((draw(st.sampled_from(EXTENTS)), *after), (draw(st.integers(1, 4)), *draw(shapes)))


PICKED = [
    Rows((1, 1), (1,)),
    Rows((5,), (4, 3)),
    Rows((200, 64), (4, 60)),  # several tasks
    Rows((3, 130), (4, 500)),  # long sums, few rows
    Rows((9, 9001), (3, 2)),  # a row is longer than a block
    Rows((20001, 3), (4, 9)),  # most of the gradient is zero
    Rows((7, 2, 3, 5), (2, 3, 4)),
]


def drawn(case: Rows, seed: int, outside: bool = False) -> np.ndarray:
    rng, n = np.random.default_rng((seed, 5)), case.x_shape[0]
    indices = rng.integers(0, n, case.indices)
    if outside:
        others = rng.choice([-1, n, -(2**31), 2**31 - 1], case.indices)
        indices = np.where(rng.random(case.indices) < 0.3, others, indices)
    return indices.astype(np.int32)


def check(case: Rows, seed: int, setting: Setting) -> None:
    x, indices = small_integers(case.x_shape, seed), drawn(case, seed)
    expected = reference.gather(x, indices)
    probe = Probe.of(expected, seed)

    def build(graph: _core.Graph, v: dict[str, int]) -> list[int]:
        y = graph.gather(v["x"], v["i"])
        return [y, *(i for i in graph.gradients(probe.loss(graph, v, y), [v["x"]]) if i)]

    y, dx = run(build, {"i": indices, **probe.inputs}, {"x": x, **probe.parameters}, setting)
    assert_equal(y, expected, "y")
    assert_equal(dx, reference.gather_backward(probe.dy, indices, x.shape), "dx")


def check_outside(case: Rows, seed: int, setting: Setting) -> None:
    """NaN there, and no part in the gradient."""
    x, indices = small_integers(case.x_shape, seed), drawn(case, seed, outside=True)
    dy = small_integers((*case.indices, *case.x_shape[1:]), seed, 1)

    def build(graph: _core.Graph, v: dict[str, int]) -> list[int]:
        dx = graph.gather_backward(v["dy"], v["i"], v["x"])
        return [graph.gather(v["x"], v["i"]), dx]

    y, dx = run(build, {"i": indices, "dy": dy}, {"x": x}, setting)
    assert_equal(y, reference.gather(x, indices), "y")
    assert_equal(dx, reference.gather_backward(dy, indices, x.shape), "dx")


@pytest.mark.parametrize("case", PICKED, ids=str)
@pytest.mark.parametrize("check", [check, check_outside])
@pytest.mark.parametrize("count", [1, 3])
def test_picked(case, check, count, isa):
    check(case, 0, Setting(isa, threads=count))


@given(rows(), seeds)
def test_gather(isa, case, seed):
    check(case, seed, Setting(isa))


@given(rows(), seeds)
def test_indices_outside(isa, case, seed):
    check_outside(case, seed, Setting(isa))


CHECKS = [Check(check, rows(), PICKED), Check(check_outside, rows(), PICKED)]


@pytest.mark.parametrize("memory", GUARDS)
def test_no_byte_outside(memory, isa):
    assert_guarded(__name__, memory, isa)


@pytest.mark.parametrize("case", PICKED, ids=str)
def test_any_number_of_threads_gives_the_same_bits(case, isa):
    x, indices = random_array(case.x_shape, 1), drawn(case, 1)
    dy = random_array((*case.indices, *case.x_shape[1:]), 1, 1)

    def build(graph: _core.Graph, v: dict[str, int]) -> list[int]:
        return [graph.gather_backward(v["dy"], v["i"], v["x"])]

    inputs, table = {"i": indices, "dy": dy}, {"x": x}
    one, three = (run(build, inputs, table, Setting(isa, threads=n))[0] for n in (1, 3))
    np.testing.assert_array_equal(one, three)


def test_by_hand():
    x = np.array([[1.0, 2], [3, 4], [5, 6]])
    assert reference.gather(x, [2, 0, 2]).tolist() == [[5, 6], [1, 2], [5, 6]]
    assert reference.gather(x, [[1], [0]], axis=-1).tolist() == [[[2], [1]], [[4], [3]], [[6], [5]]]
    assert np.isnan(reference.gather(x, [-1, 3])).all()
    dy = np.array([[1.0, 2], [10, 20], [100, 200]])
    assert reference.gather_backward(dy, [2, 0, 2], (3, 2)).tolist() == [
        [10, 20],
        [0, 0],
        [101, 202],
    ]


def test_an_embedding_learns_and_stops_at_an_index_outside(isa):
    def build(graph: _core.Graph, v: dict[str, int]) -> list[int]:
        y = graph.gather(v["table"], v["i"])
        loss = graph.loss("mean_squared_error", v["t"], y)
        dx = graph.gradients(loss, [v["table"]])[0]
        assert dx is not None
        graph.sgd(v["table"], dx)
        return [loss]

    t = np.array([[1.0, 2], [3, 4], [1, 2]])
    inputs = {"i": np.array([4, 0, 4], np.int32), "t": t}
    net = Net(build, inputs, {"table": np.zeros((5, 2))}, Setting(isa))
    for step in range(1, 60):
        net.run(learning_rate=0.5, step=step)
    table = net.parameters.get("table")
    np.testing.assert_allclose(table[[4, 0, 1]], [[1, 2], [3, 4], [0, 0]], atol=1e-3)
    net.inputs[0][1] = 5
    with pytest.raises(NumericError):
        net.run(learning_rate=0.5, step=60)
    np.testing.assert_array_equal(net.parameters.get("table"), table)


def test_shapes_and_bad_arguments():
    graph = _core.Graph()
    table, x = graph.parameter("table", (7, 3)), graph.input("x", (None, 5, 6))
    tokens = graph.input("tokens", (None, 9), "int32")
    few = graph.parameter("few", (2, 4), dtype="int32", trainable=False)
    assert graph.shape(graph.gather(table, tokens)) == (None, 9, 3)
    assert graph.shape(graph.gather(table, few, axis=-1)) == (7, 2, 4)
    assert graph.shape(graph.gather(x, few, axis=1)) == (None, 2, 4, 6)
    assert graph.shape(graph.gather(x, few, axis=-1)) == (None, 5, 2, 4)
    for value, indices, axis, message in (
        (x, few, 0, "gather: axis must not be the batch axis, got 0"),
        (x, few, -3, "gather: axis must not be the batch axis, got -3"),
        (x, few, 3, r"gather: axis must be in -3\.\.2 for x \(None, 5, 6\), got 3"),
        (x, tokens, 1, r"gather: indices must have no batch axis where x has one, got \(None, 9\)"),
        (table, tokens, 1, "gather: axis must be 0 where indices have a batch axis, got 1"),
    ):
        with pytest.raises(ValueError, match=message):
            graph.gather(value, indices, axis=axis)
    with pytest.raises(DTypeError, match="gather: indices must be int32, got float32"):
        graph.gather(table, x)
    with pytest.raises(ShapeError, match="gather: rank of the output must be <= 8, got 9"):
        graph.gather(graph.parameter("deep", (1,) * 8), few)
    with pytest.raises(
        ShapeError, match=r"gather_backward: dy must have shape \(None, 9, 3\), got"
    ):
        graph.gather_backward(x, tokens, table)
