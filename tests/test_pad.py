# SPDX-License-Identifier: Apache-2.0
"""pad and its gradients against the reference."""

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

MODES = ("constant", "reflect", "symmetric")


@dataclass(frozen=True)
class Border:
    """One call; pads without those of the batch axis."""

    x_shape: tuple[int, ...]
    pads: tuple[int, ...]
    mode: str
    value: float = 0.0

    @property
    def arguments(self):
        """As graphs take them."""
        return {"pads": (0, 0, *self.pads), "mode": self.mode, "value": self.value}


@st.composite
def borders(draw) -> Border:
    rank, mode = draw(st.integers(1, 4)), draw(st.sampled_from(MODES))
    shape = [draw(st.sampled_from(EXTENTS if rank < 4 else EXTENTS[:6])) for _ in range(rank)]
    pads = []
    for n in shape:
        most = min(n - 1, 9) if mode == "reflect" else 7
        limit = draw(st.sampled_from([0, most]))
        pads += [draw(st.integers(0, limit)), draw(st.integers(0, limit))]
    value = float(draw(st.integers(-3, 3))) if mode == "constant" else 0.0
    return Border((draw(st.integers(1, 4)), *shape), tuple(pads), mode, value)


PICKED = [
    Border((1, 1), (0, 0), "constant"),
    Border((2, 1), (3, 2), "symmetric"),  # wider than x
    Border((2, 1, 3), (0, 0, 2, 2), "reflect"),
    *(Border((4, 40, 41, 3), (2, 1, 0, 3, 0, 0), mode) for mode in MODES),  # several tasks
    *(Border((4, 10, 61, 13), (2, 1, 0, 3, 3, 2), mode) for mode in MODES),
    *(Border((3, 9000), (8000, 1), mode) for mode in MODES),  # a row is longer than a block
    *(Border((2, 3, 9000), (1, 2, 0, 0), mode) for mode in MODES),
    Border((3, 2, 3), (1000, 2000, 1, 2), "constant", -2.0),
    Border((3, 2, 3), (300, 301, 40, 2), "symmetric"),  # sums of many terms
    Border((2, 1, 2, 1, 2, 1, 2, 3), (1, 0, 0, 1, 2, 0, 0, 0, 1, 1, 0, 0, 2, 1), "constant", 1.0),
    Border((2, 1, 2, 1, 2, 1, 2, 3), (1, 0, 0, 1, 2, 0, 0, 0, 1, 1, 0, 0, 2, 1), "symmetric"),
]


def check(case: Border, seed: int, setting: Setting) -> None:
    x = small_integers(case.x_shape, seed)
    expected = reference.pad(x, **case.arguments)
    probe = Probe.of(expected, seed)

    def build(graph: _core.Graph, v: dict[str, int]) -> list[int]:
        y = graph.pad(v["x"], **case.arguments)
        return [y, *(i for i in graph.gradients(probe.loss(graph, v, y), [v["x"]]) if i)]

    y, dx = run(build, {"x": x, **probe.inputs}, probe.parameters, setting)
    assert_equal(y, expected, "y")
    assert_equal(dx, reference.pad_backward(probe.dy, x.shape, **case.arguments), "dx")


@pytest.mark.parametrize("case", PICKED, ids=str)
@pytest.mark.parametrize("count", [1, 3])
def test_picked(case, count, isa):
    check(case, 0, Setting(isa, threads=count))


@given(borders(), seeds)
def test_pad(isa, case, seed):
    check(case, seed, Setting(isa))


CHECKS = [Check(check, borders(), PICKED)]


@pytest.mark.parametrize("memory", GUARDS)
def test_no_byte_outside(memory, isa):
    assert_guarded(__name__, memory, isa)


def test_by_hand():
    x = np.array([1.0, 2, 3])
    assert reference.pad(x, [2, 1], "constant", 7).tolist() == [7, 7, 1, 2, 3, 7]
    assert reference.pad(x, [2, 1], "reflect").tolist() == [3, 2, 1, 2, 3, 2]
    assert reference.pad(x, [2, 1], "symmetric").tolist() == [2, 1, 1, 2, 3, 3]
    dy = np.array([1.0, 10, 100, 1000, 10000, 100000])
    assert reference.pad_backward(dy, (3,), [2, 1], "constant").tolist() == [100, 1000, 10000]
    assert reference.pad_backward(dy, (3,), [2, 1], "reflect").tolist() == [100, 101010, 10001]
    assert reference.pad_backward(dy, (3,), [2, 1], "symmetric").tolist() == [110, 1001, 110000]


def test_bits_are_copied(isa):
    """Integers, NaN, infinities and the sign of zero; borders of integers are integers."""
    labels = np.array([[2**31 - 1, -1, -(2**31)]], np.int32)
    x = np.array([[np.nan, -np.inf, -0.0]])

    def build(g: _core.Graph, v: dict[str, int]) -> list[int]:
        mirrored = [g.pad(v[name], (0, 0, 1, 2), "symmetric") for name in ("x", "labels")]
        return [*mirrored, g.pad(v["labels"], (0, 0, 1, 0), value=-5.0)]

    net = Net(build, {"x": x, "labels": labels}, {}, Setting(isa))
    integers, constant = np.zeros((1, 6), np.int32), np.zeros((1, 4), np.int32)
    y = net.run(outputs=[None, integers, constant])[0]
    np.testing.assert_array_equal(y, np.pad(x, ((0, 0), (1, 2)), "symmetric").astype(np.float32))
    assert np.signbit(y[0, 3])
    np.testing.assert_array_equal(integers, np.pad(labels, ((0, 0), (1, 2)), "symmetric"))
    assert constant.tolist() == [[-5, *labels[0]]]


def test_bad_arguments():
    graph = _core.Graph()
    x, label = graph.input("x", (None, 5, 3)), graph.input("label", (None, 3), "int32")
    for pads, mode, message in (
        ((0, 0, 1), "constant", r"pad: pads must be 6 numbers for x \(None, 5, 3\), got 3"),
        ((0, 0, 1, -1, 0, 0), "constant", r"pad: pads must be >= 0, got \(0, 0, 1, -1, 0, 0\)"),
        ((0, 0, 1, 2**31, 0, 0), "constant", "pad: pads must be <= 2147483647, got"),
        ((0, 1, 0, 0, 0, 0), "constant", "pad: pads must be 0 for the batch axis, got 0 and 1"),
        ((0, 0, 0, 0, 1, 3), "reflect", "pads must be less than the 3 elements of axis 2 to refl"),
        ((0,) * 6, "edge", "mode: expected one of constant, reflect, symmetric; got 'edge'"),
    ):
        with pytest.raises(ValueError, match=message):
            graph.pad(x, pads, mode=mode)
    with pytest.raises(ShapeError, match="pad: a mirrored axis must have <= 16777216 elements"):
        graph.pad(x, (0, 0, 2**31 - 1, 2, 0, 0), mode="symmetric")
    with pytest.raises(ValueError, match="pad: value must be finite, got"):
        graph.pad(x, (0,) * 6, value=float("inf"))
    for value in (0.5, 2.0**31):
        with pytest.raises(ValueError, match="pad: value must be an integer of 32 bits, as x is"):
            graph.pad(label, (0,) * 4, value=value)
    with pytest.raises(DTypeError, match="pad: x must be float32 or int32, got uint8"):
        graph.pad(graph.input("byte", (None, 3), "uint8"), (0,) * 4)
    with pytest.raises(ValueError, match="pad_backward: mode must be reflect or symmetric, got c"):
        graph.pad_backward(x, x, (0,) * 6)
    with pytest.raises(ShapeError, match=r"pad_backward: dy must have shape \(None, 6, 3\), got"):
        graph.pad_backward(x, x, (0, 0, 1, 0, 0, 0), mode="reflect")
