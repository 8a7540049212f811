# SPDX-License-Identifier: Apache-2.0
"""slice and its gradient: copies, so equal to the reference."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from engine import GUARDS, Check, Net, Probe, Setting, assert_equal, assert_guarded, run
from hypothesis import given
from hypothesis import strategies as st
from strategies import EXTENTS, seeds, small_integers

from pycnn import _core, reference
from pycnn.errors import DTypeError, ShapeError


@dataclass(frozen=True)
class Range:
    """One call; count without the batch axis, which comes first and is whole."""

    x_shape: tuple[int, ...]
    start: tuple[int, ...]
    count: tuple[int, ...]
    steps: tuple[int, ...]

    @property
    def arguments(self):
        """As graphs take them."""
        steps = () if set(self.steps) <= {1} else (1, *self.steps)
        return {"start": (0, *self.start), "count": (None, *self.count), "steps": steps}


@st.composite
def ranges(draw) -> Range:
    batch, rank = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    extents, start, count, steps = [], [], [], []
    for _ in range(rank):
        n = draw(st.sampled_from(EXTENTS if rank < 4 else EXTENTS[:7]))
        step = draw(st.sampled_from([1, 1, 1, 2, 3, 5, -1, -1, -2, -3]))
        first = draw(st.integers(0, n - 1))
        if draw(st.booleans()):  # all of it
            first = 0 if step > 0 else n - 1
        most = (n - 1 - first if step > 0 else first) // abs(step) + 1
        extents.append(n)
        start.append(first)
        steps.append(step)
        count.append(most if draw(st.booleans()) else draw(st.integers(1, most)))
    return Range((batch, *extents), tuple(start), tuple(count), tuple(steps))


PICKED = [
    Range((1, 1), (0,), (1,), (1,)),
    Range((4, 60, 61, 3), (1, 3, 0), (50, 29, 3), (1, 2, 1)),  # several tasks
    Range((2, 61, 60, 3), (60, 59, 2), (61, 60, 3), (-1, -1, -1)),
    Range((3, 9, 20001), (8, 2), (4, 6666), (-2, 3)),  # a row is longer than a block
    Range((3, 20001), (1,), (19000,), (1,)),
    Range((2, 3, 2, 3, 2, 3, 2, 9), (2, 1, 2, 1, 2, 1, 8), (3, 2, 2, 1, 1, 2, 5), (-1,) * 7),
    Range((4, 130, 131), (129, 0), (65, 131), (-2, 1)),
    Range((4, 33, 129), (0, 0), (33, 43), (1, 3)),
]


def check(case: Range, seed: int, setting: Setting) -> None:
    x = small_integers(case.x_shape, seed)
    expected = reference.slice(x, **case.arguments)
    probe = Probe.of(expected, seed)

    def build(graph: _core.Graph, v: dict[str, int]) -> list[int]:
        y = graph.slice(v["x"], **case.arguments)
        return [y, *(i for i in graph.gradients(probe.loss(graph, v, y), [v["x"]]) if i)]

    y, dx = run(build, {"x": x, **probe.inputs}, probe.parameters, setting)
    assert_equal(y, expected, "y")
    assert_equal(dx, reference.slice_backward(probe.dy, x.shape, **case.arguments), "dx")


@pytest.mark.parametrize("case", PICKED, ids=str)
@pytest.mark.parametrize("count", [1, 3])
def test_picked(case, count, isa):
    check(case, 0, Setting(isa, threads=count))


@given(ranges(), seeds)
def test_slice(isa, case, seed):
    check(case, seed, Setting(isa))


CHECKS = [Check(check, ranges(), PICKED)]


@pytest.mark.parametrize("memory", GUARDS)
def test_no_byte_outside(memory, isa):
    assert_guarded(__name__, memory, isa)


def test_by_hand():
    x = np.arange(10.0)
    assert reference.slice(x, [1], [3], [2]).tolist() == [1, 3, 5]
    assert reference.slice(x, [9], [4], [-3]).tolist() == [9, 6, 3, 0]
    assert reference.slice_backward(np.array([1.0, 2]), (5,), [4], [2], [-3]).tolist() == [
        *(0, 2, 0, 0, 1)
    ]
    with pytest.raises(ValueError, match="slice: start, count and step must be in the 10 elements"):
        reference.slice(x, [9], [5], [-3])


def test_bits_are_copied(isa):
    """Integers, NaN, infinities and the sign of zero, of inputs and of parameters."""
    labels = np.array([[2**31 - 1, -1, 1], [5, -(2**31), 7]], np.int32)
    x = np.array([[np.nan, np.inf, -0.0], [1, -np.inf, 2]])
    table = np.array([[1.0, 2, 3], [4, 5, 6]])

    def build(g: _core.Graph, v: dict[str, int]) -> list[int]:
        flip = {"start": (0, 2), "count": (None, 3), "steps": (1, -1)}
        rows = g.slice(v["table"], start=(1, 0), count=(2, 2), steps=(-1, 2))
        return [g.slice(v["x"], **flip), g.slice(v["labels"], **flip), rows]

    net = Net(build, {"x": x, "labels": labels}, {"table": table}, Setting(isa))
    integers = np.zeros((2, 3), np.int32)
    y, _, rows = net.run(outputs=[None, integers, None])
    np.testing.assert_array_equal(y, x[:, ::-1].astype(np.float32))
    assert np.signbit(y[0, 0])
    np.testing.assert_array_equal(integers, labels[:, ::-1])
    assert rows.tolist() == [[4, 6], [1, 3]]


def test_bad_arguments():
    graph = _core.Graph()
    x, byte = graph.input("x", (None, 5, 3)), graph.input("byte", (None, 3), "uint8")
    full: dict[str, list[int | None]] = {"start": [0, 0, 0], "count": [None, 5, 3]}
    for change, message in (
        ({"start": [0, 0]}, r"slice: start must be 3 numbers for x \(None, 5, 3\), got 2"),
        ({"count": [None, 5]}, r"slice: count must be 3 numbers for x \(None, 5, 3\), got 2"),
        ({"steps": [1]}, r"slice: steps must be 3 numbers for x \(None, 5, 3\), got 1"),
        (
            {"steps": [1, 0, 1]},
            "slice: steps must not be 0 nor beyond 2147483647, got 0",
        ),
        ({"steps": [1, -1, 1]}, "must lie in the 5 elements of axis 1, got 0, 5 and -1"),
        ({"steps": [1, 2, 1]}, "must lie in the 5 elements of axis 1, got 0, 5 and 2"),
        ({"steps": [1, 2**31, 1]}, "beyond 2147483647, got 2147483648 for axis 1"),
        ({"steps": [1, -(2**63), 1]}, "beyond 2147483647, got -9223372036854775808 for"),
        ({"start": [0, 1, 0]}, "must lie in the 5 elements of axis 1, got 1, 5 and 1"),
        ({"start": [0, 2**63 - 1, 0]}, "must lie in the 5 elements of axis 1"),
        ({"start": [0, -1, 0]}, r"slice: start must be >= 0, got \(0, -1, 0\)"),
        ({"count": [None, 0, 3]}, "slice: count must be >= 1, got 0 for axis 1"),
        ({"count": [None, 2**62, 3]}, "must lie in the 5 elements of axis 1"),
        ({"count": [2, 5, 3]}, "the batch axis must be whole: start 0, count None, step 1; got"),
        ({"start": [1, 0, 0]}, "the batch axis must be whole"),
        ({"steps": [-1, 1, 1]}, "the batch axis must be whole"),
        ({"start": 3}, "slice: start must be a list of integers, got 3"),
        ({"start": [None, 0, 0]}, r"slice: start must be a list of integers, got \(None, 0, 0\)"),
        ({"start": [0] * 17}, "slice: start must be at most 16 integers, got 17"),
    ):
        with pytest.raises(ValueError, match=message):
            graph.slice(x, **{**full, **change})
    with pytest.raises(ShapeError, match="rank must be <= 8"):
        graph.slice(x, start=[0, 0, 0], count=[None] * 9)
    with pytest.raises(DTypeError, match="slice: x must be float32 or int32, got uint8"):
        graph.slice(byte, start=[0, 0], count=[None, 3])
    with pytest.raises(ShapeError, match=r"slice_backward: dy must have shape \(None, 5, 2\), got"):
        graph.slice_backward(x, x, start=[0, 0, 0], count=[None, 5, 2])
