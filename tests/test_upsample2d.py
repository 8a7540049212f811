# SPDX-License-Identifier: Apache-2.0
"""upsample2d and its gradient against the reference."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from engine import GUARDS, Check, Probe, Setting, assert_equal, assert_guarded, run
from hypothesis import given
from hypothesis import strategies as st
from strategies import extents, seeds, small_integers

from pycnn import _core, reference
from pycnn.errors import ShapeError


@dataclass(frozen=True)
class Blocks:
    """One call: x (N,H,W,C)."""

    x_shape: tuple[int, int, int, int]
    size: tuple[int, int]


@st.composite
def blocks(draw) -> Blocks:
    x_shape = (draw(st.integers(1, 3)), draw(extents(9)), draw(extents(9)), draw(extents(17)))
    return Blocks(x_shape, (draw(st.integers(1, 4)), draw(st.integers(1, 4))))


PICKED = [
    Blocks((1, 1, 1, 1), (1, 1)),
    Blocks((2, 31, 33, 16), (2, 2)),  # several tasks
    Blocks((4, 5, 6, 3), (3, 2)),
    Blocks((2, 3, 400, 33), (1, 2)),  # a row is longer than a block
    Blocks((1, 2, 3, 5), (7, 1)),
]


def check(case: Blocks, seed: int, setting: Setting) -> None:
    x = small_integers(case.x_shape, seed)
    expected = reference.upsample2d(x, case.size)
    probe = Probe.of(expected, seed)

    def build(graph: _core.Graph, v: dict[str, int]) -> list[int]:
        y = graph.upsample2d(v["x"], size=case.size)
        ids = graph.gradients(probe.loss(graph, v, y), [v["x"]])
        return [y, *(i for i in ids if i is not None)]

    y, dx = run(build, {"x": x, **probe.inputs}, probe.parameters, setting)
    assert_equal(y, expected, "y")
    assert_equal(dx, reference.upsample2d_backward(probe.dy, case.size), "dx")
    dx = dx.astype(np.float64)
    assert np.vdot(x, dx) == np.vdot(expected, probe.dy)


@pytest.mark.parametrize("case", PICKED, ids=str)
@pytest.mark.parametrize("count", [1, 3])
def test_picked(case, count, isa):
    check(case, 0, Setting(isa, threads=count))


@given(blocks(), seeds)
def test_upsample2d(isa, case, seed):
    check(case, seed, Setting(isa))


CHECKS = [Check(check, blocks(), PICKED)]


@pytest.mark.parametrize("memory", GUARDS)
def test_no_byte_outside(memory, isa):
    assert_guarded(__name__, memory, isa)


def test_by_hand():
    x = np.array([[1.0, 2]]).reshape(1, 1, 2, 1)
    y = reference.upsample2d(x, (2, 2))
    assert y[0, :, :, 0].tolist() == [[1, 1, 2, 2], [1, 1, 2, 2]]
    assert reference.upsample2d_backward(y, (2, 2)).ravel().tolist() == [4, 8]
    with pytest.raises(ValueError, match="upsample2d_backward: dy must be of whole blocks"):
        reference.upsample2d_backward(y, (2, 3))


def test_bad_arguments():
    graph = _core.Graph()
    x, row = graph.input("x", (None, 4, 2**30, 3)), graph.input("row", (None, 3))
    with pytest.raises(ValueError, match=r"upsample2d: size must be >= 1, got \(0, 2\)"):
        graph.upsample2d(x, size=(0, 2))
    with pytest.raises(ShapeError, match="upsample2d: height and width of the output must be <="):
        graph.upsample2d(x, size=(1, 2))
    with pytest.raises(ShapeError, match=r"upsample2d: x must be \(None, H, W, C\), got"):
        graph.upsample2d(row, size=(2, 2))
