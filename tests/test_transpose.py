# SPDX-License-Identifier: Apache-2.0
"""transpose and its gradient: copies, so equal to the reference."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations

import numpy as np
import pytest
from engine import GUARDS, Check, Net, Probe, Setting, assert_equal, assert_guarded, run
from hypothesis import given
from hypothesis import strategies as st
from strategies import EXTENTS, seeds, small_integers

from pycnn import _core, reference
from pycnn.errors import DTypeError


@dataclass(frozen=True)
class Order:
    """One call; the batch axis comes first in both."""

    x_shape: tuple[int, ...]
    axes: tuple[int, ...]


@st.composite
def orders(draw) -> Order:
    rank = draw(st.integers(1, 8))
    most = {1: 9, 2: 9, 3: 9, 4: 9, 5: 5}.get(rank, 3)
    extents = [n for n in (*EXTENTS, 31, 33) if n <= most or rank < 5]
    shape = [draw(st.sampled_from(extents)) for _ in range(rank - 1)]
    axes = draw(st.permutations(range(1, rank)))
    return Order((draw(st.integers(1, 4)), *shape), (0, *axes))


PICKED = [
    Order((3,), (0,)),
    Order((2, 7, 9), (0, 1, 2)),  # nothing moves
    Order((4, 60, 61, 3), (0, 2, 1, 3)),  # several tasks
    Order((4, 60, 61, 3), (0, 3, 1, 2)),
    Order((4, 3, 60, 61), (0, 2, 3, 1)),
    Order((2, 129, 257), (0, 2, 1)),
    Order((2, 9, 9001), (0, 2, 1)),  # a row is longer than a block
    Order((2, 9001, 9), (0, 2, 1)),
    Order((2, 3, 2, 9001), (0, 2, 1, 3)),
    Order((2, 33, 17, 65), (0, 2, 1, 3)),
    Order((2, 2, 3, 2, 3, 2, 3, 2), (0, 7, 5, 6, 2, 3, 4, 1)),
]


def check(case: Order, seed: int, setting: Setting) -> None:
    x = small_integers(case.x_shape, seed)
    expected = reference.transpose(x, case.axes)
    probe = Probe.of(expected, seed)

    def build(graph: _core.Graph, v: dict[str, int]) -> list[int]:
        y = graph.transpose(v["x"], axes=case.axes)
        return [y, *(i for i in graph.gradients(probe.loss(graph, v, y), [v["x"]]) if i)]

    y, dx = run(build, {"x": x, **probe.inputs}, probe.parameters, setting)
    assert_equal(y, expected, "y")
    assert_equal(dx, reference.transpose(probe.dy, np.argsort(case.axes)), "dx")


@pytest.mark.parametrize("case", PICKED, ids=str)
@pytest.mark.parametrize("count", [1, 3])
def test_picked(case, count, isa):
    check(case, 0, Setting(isa, threads=count))


@given(orders(), seeds)
def test_transpose(isa, case, seed):
    check(case, seed, Setting(isa))


@pytest.mark.parametrize("axes", list(permutations((1, 2, 3))))
def test_every_order(axes, isa):
    check(Order((2, 19, 34, 50), (0, *axes)), 1, Setting(isa))


def test_large_ones_are_streamed(isa):
    """Past the caches, where the rows of y are whole cache lines; the edges are not."""
    x = np.arange(2 * 1040 * 530, dtype=np.float32).reshape(2, 1040, 530)
    for count in (1, 3):
        setting = Setting(isa, threads=count)
        y = run(lambda g, v: [g.transpose(v["x"], (0, 2, 1))], {"x": x}, {}, setting)[0]
        np.testing.assert_array_equal(y, x.transpose(0, 2, 1))


CHECKS = [Check(check, orders(), PICKED)]


@pytest.mark.parametrize("memory", GUARDS)
def test_no_byte_outside(memory, isa):
    assert_guarded(__name__, memory, isa)


def test_bits_are_copied(isa):
    """Integers, NaN, infinities and the sign of zero, of inputs and of parameters."""
    labels = np.array([[[2**31 - 1, -1, 1], [5, -(2**31), 7]]], np.int32)
    x = np.array([[[np.nan, np.inf, -0.0], [1, -np.inf, 2]]])
    table = np.array([[1.0, 2, 3], [4, 5, 6]])

    def build(g: _core.Graph, v: dict[str, int]) -> list[int]:
        values = [g.transpose(v[name], axes=(0, 2, 1)) for name in ("x", "labels")]
        return [*values, g.transpose(v["table"], axes=(1, 0))]

    net = Net(build, {"x": x, "labels": labels}, {"table": table}, Setting(isa))
    integers = np.zeros((1, 3, 2), np.int32)
    y, _, turned = net.run(outputs=[None, integers, None])
    np.testing.assert_array_equal(y, x.transpose(0, 2, 1).astype(np.float32))
    assert np.signbit(y[0, 2, 0])
    np.testing.assert_array_equal(integers, labels.transpose(0, 2, 1))
    np.testing.assert_array_equal(turned, table.T)


def test_bad_arguments():
    graph = _core.Graph()
    x, byte = graph.input("x", (None, 5, 3)), graph.input("byte", (None, 3), "uint8")
    for axes, message in (
        ((0, 1), r"transpose: axes must be 3 numbers for x \(None, 5, 3\), got 2"),
        ((0, 1, 1), r"transpose: axes must be a permutation of 0\.\.2, got 1 twice"),
        ((0, 1, 3), r"transpose: axes must be a permutation of 0\.\.2, got 3 among them"),
        (
            (0, 1, 2**62),
            r"transpose: axes must be a permutation of 0\.\.2, got 4611686018427387904",
        ),
        ((0, -1, 1), r"transpose: axes must be >= 0, got \(0, -1, 1\)"),
        ((1, 0, 2), "transpose: axes must begin with 0, the batch axis, got 1"),
    ):
        with pytest.raises(ValueError, match=message):
            graph.transpose(x, axes=axes)
    with pytest.raises(DTypeError, match="transpose: x must be float32 or int32, got uint8"):
        graph.transpose(byte, axes=(0, 1))
    with pytest.raises(ValueError, match=r"transpose: axes must be a permutation of 0\.\.1, got"):
        reference.transpose(np.ones((2, 3)), (0, 0))
