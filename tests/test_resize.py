# SPDX-License-Identifier: Apache-2.0
"""resize and its gradient against the reference."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from engine import (
    GUARDS,
    Check,
    Probe,
    Setting,
    assert_equal,
    assert_guarded,
    assert_within,
    run,
    sum_bound,
)
from hypothesis import given
from hypothesis import strategies as st
from strategies import extents, seeds, small_integers

from pycnn import _core, reference
from pycnn.errors import ShapeError

COORDINATES = ("half_pixel", "align_corners", "asymmetric", "pytorch_half_pixel")
ROUNDINGS = ("floor", "ceil", "round_prefer_floor", "round_prefer_ceil")


@dataclass(frozen=True)
class Images:
    """One call: x (N,H,W,C)."""

    x_shape: tuple[int, int, int, int]
    size: tuple[int, int]
    interpolation: str
    coordinates: str = "half_pixel"
    rounding: str = "round_prefer_ceil"

    @property
    def arguments(self):
        """As graphs take them."""
        names = ("size", "interpolation", "coordinates", "rounding")
        return {name: getattr(self, name) for name in names}


@st.composite
def images(draw) -> Images:
    x_shape = (draw(st.integers(1, 3)), draw(extents(13)), draw(extents(13)), draw(extents(17)))
    size = (draw(extents(17)), draw(extents(17)))
    names = [draw(st.sampled_from(c)) for c in (("nearest", "bilinear"), COORDINATES, ROUNDINGS)]
    return Images(x_shape, size, *names)


PICKED = [
    Images((1, 1, 1, 1), (1, 1), "bilinear"),
    Images((2, 1, 1, 3), (5, 4), "bilinear"),
    *(Images((2, 31, 33, 16), (62, 66), i) for i in ("nearest", "bilinear")),  # several tasks
    *(Images((4, 40, 41, 3), (17, 90), i) for i in ("nearest", "bilinear")),
    *(Images((2, 3, 2, 9000), (4, 3), i) for i in ("nearest", "bilinear")),
    *(Images((2, 5, 7, 3), (5, 9), i) for i in ("nearest", "bilinear")),  # one axis stays
    *(Images((1, 2, 1, 3), (40, 41), i) for i in ("nearest", "bilinear")),  # long sums
    *(Images((2, 9, 8, 5), (13, 1), "bilinear", c) for c in COORDINATES),
    *(Images((2, 8, 8, 5), (4, 12), "nearest", c, r) for c in COORDINATES for r in ROUNDINGS),
]


def check(case: Images, seed: int, setting: Setting) -> None:
    x = small_integers(case.x_shape, seed)
    expected = reference.resize(x, **case.arguments)
    dy = small_integers(expected.shape, seed, 1)

    def build(graph: _core.Graph, v: dict[str, int]) -> list[int]:
        y = graph.resize(v["x"], **case.arguments)
        return [y, graph.resize_backward(v["dy"], v["x"], **case.arguments)]

    y, dx = run(build, {"x": x, "dy": dy}, {}, setting)
    gradient = reference.resize_backward(dy, x.shape, **case.arguments)
    if case.interpolation == "nearest":
        assert_equal(y, expected, "y")
        assert_equal(dx, gradient, "dx")
        return
    magnitude = reference.resize(abs(x), **case.arguments)
    assert_within(y, expected, sum_bound(8, magnitude), "y")
    magnitude = reference.resize_backward(abs(dy), x.shape, **case.arguments)
    assert_within(dx, gradient, sum_bound(64, magnitude), "dx")


@pytest.mark.parametrize("case", PICKED, ids=str)
@pytest.mark.parametrize("count", [1, 3])
def test_picked(case, count, isa):
    check(case, 0, Setting(isa, threads=count))


@given(images(), seeds)
def test_resize(isa, case, seed):
    check(case, seed, Setting(isa))


CHECKS = [Check(check, images(), PICKED)]


@pytest.mark.parametrize("memory", GUARDS)
def test_no_byte_outside(memory, isa):
    assert_guarded(__name__, memory, isa)


@pytest.mark.parametrize("case", PICKED[3:12], ids=str)
def test_any_number_of_threads_gives_the_same_bits(case, isa):
    rng = np.random.default_rng(2)
    x = rng.standard_normal(case.x_shape)
    dy = rng.standard_normal((len(x), *case.size, x.shape[-1]))

    def build(graph: _core.Graph, v: dict[str, int]) -> list[int]:
        y = graph.resize(v["x"], **case.arguments)
        return [y, graph.resize_backward(v["dy"], v["x"], **case.arguments)]

    one, three = (run(build, {"x": x, "dy": dy}, {}, Setting(isa, threads=n)) for n in (1, 3))
    for a, b in zip(one, three, strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_gradient_is_taken_by_graphs(isa):
    case = Images((2, 3, 4, 5), (7, 2), "nearest")
    x = small_integers(case.x_shape, 3)
    expected = reference.resize(x, **case.arguments)
    probe = Probe.of(expected, 3)

    def build(graph: _core.Graph, v: dict[str, int]) -> list[int]:
        y = graph.resize(v["x"], **case.arguments)
        return [y, *(i for i in graph.gradients(probe.loss(graph, v, y), [v["x"]]) if i)]

    y, dx = run(build, {"x": x, **probe.inputs}, probe.parameters, Setting(isa))
    assert_equal(y, expected, "y")
    assert_equal(dx, reference.resize_backward(probe.dy, x.shape, **case.arguments), "dx")


def row(n: int, m: int, interpolation: str, *names: str) -> list[float]:
    x = np.arange(float(n)).reshape(1, 1, n, 1)
    return reference.resize(x, (1, m), interpolation, *names).ravel().tolist()


def test_by_hand():
    """ONNX' examples of its operator Resize, in one dimension."""
    assert row(4, 8, "bilinear") == [0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3]
    assert row(2, 4, "bilinear", "asymmetric") == [0, 0.5, 1, 1]
    assert row(2, 5, "bilinear", "align_corners") == [0, 0.25, 0.5, 0.75, 1]
    assert row(4, 1, "bilinear", "pytorch_half_pixel") == [0]
    assert row(4, 1, "bilinear") == [1.5]
    assert row(2, 4, "nearest", "half_pixel", "round_prefer_floor") == [0, 0, 1, 1]
    assert row(4, 2, "nearest", "half_pixel", "round_prefer_floor") == [0, 2]
    assert row(4, 2, "nearest", "half_pixel", "round_prefer_ceil") == [1, 3]
    assert row(4, 3, "nearest", "asymmetric", "floor") == [0, 1, 2]
    assert row(4, 3, "nearest", "asymmetric", "ceil") == [0, 2, 3]
    # Keras: floor((i + 1/2) * n / m)
    for n in range(1, 12):
        for m in range(1, 12):
            assert row(n, m, "nearest") == [(2 * i + 1) * n // (2 * m) for i in range(m)]


def test_bad_arguments():
    graph = _core.Graph()
    x, wide = graph.input("x", (None, 5, 6, 3)), graph.input("wide", (None, 2**40, 1, 1))
    with pytest.raises(ValueError, match=r"resize: size must be >= 1, got \(0, 2\)"):
        graph.resize(x, size=(0, 2))
    with pytest.raises(ValueError, match="resize: size must be <= 2147483647, got"):
        graph.resize(x, size=(2**31, 2))
    with pytest.raises(ShapeError, match="resize: height and width must be <= 16777216, got"):
        graph.resize(wide, size=(2, 2))
    with pytest.raises(ShapeError, match=r"resize: x must be \(None, H, W, C\), got"):
        graph.resize(graph.input("row", (None, 3)), size=(2, 2))
    with pytest.raises(ShapeError, match="resize: height and width must be <= 16777216, got"):
        graph.resize(x, size=(2, 2**24 + 1))
    for name, choices in (
        ("interpolation", "nearest, bilinear"),
        ("coordinates", "half_pixel, align_corners, asymmetric, pytorch_half_pixel"),
        ("rounding", "floor, ceil, round_prefer_floor, round_prefer_ceil"),
    ):
        with pytest.raises(ValueError, match=f"{name}: expected one of {choices}; got 'best'"):
            graph.resize(x, (2, 2), **{name: "best"})
    with pytest.raises(ShapeError, match=r"resize_backward: dy must have shape \(None, 2, 2, 3\)"):
        graph.resize_backward(x, x, size=(2, 2))
