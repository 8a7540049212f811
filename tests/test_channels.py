# SPDX-License-Identifier: Apache-2.0
"""concatenate, slice_channels and their gradients: copies, so equal to the reference."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from engine import GUARDS, Array, Check, Net, Probe, Setting, assert_equal, assert_guarded, run
from hypothesis import given
from hypothesis import strategies as st
from strategies import EXTENTS, random_array, seeds, small_integers

from pycnn import _core, reference
from pycnn.errors import DTypeError, ShapeError


@dataclass(frozen=True)
class Parts:
    """Inputs of shape (*rows, C) for each C of channels."""

    rows: tuple[int, ...]
    channels: tuple[int, ...]


@st.composite
def parts(draw) -> Parts:
    rank = draw(st.integers(1, 4))
    rows = (draw(st.integers(1, 4)), *(draw(st.sampled_from(EXTENTS[:8])) for _ in range(rank - 1)))
    channels = draw(st.lists(st.sampled_from((*EXTENTS, 31, 32, 33)), min_size=2, max_size=4))
    return Parts(rows, tuple(channels))


PICKED = [
    Parts((1,), (1, 1)),
    Parts((4, 60, 61), (3, 2)),  # several tasks
    Parts((2, 9, 8), (16, 16)),
    Parts((3, 5), (15, 17, 1, 16, 33)),
    Parts((2, 3), (9000, 8200)),  # a row is longer than a block
]


def names(case: Parts) -> list[str]:
    return [f"x{i}" for i in range(len(case.channels))]


def check_concatenate(case: Parts, seed: int, setting: Setting) -> None:
    arrays = [small_integers((*case.rows, C), seed, i) for i, C in enumerate(case.channels)]
    expected = reference.concatenate(arrays)
    probe = Probe.of(expected, seed)

    def build(graph: _core.Graph, v: dict[str, int]) -> list[int]:
        inputs = [v[name] for name in names(case)]
        y = graph.concatenate(inputs)
        loss = probe.loss(graph, v, y)
        return [y, *(i for i in graph.gradients(loss, inputs) if i is not None)]

    inputs = {**dict(zip(names(case), arrays, strict=True)), **probe.inputs}
    y, *gradients = run(build, inputs, probe.parameters, setting)
    assert_equal(y, expected, "y")
    first = 0
    for got, C in zip(gradients, case.channels, strict=True):
        assert_equal(got, reference.slice_channels(probe.dy, first, C), f"dx from {first}")
        first += C


def check_slice(case: Parts, seed: int, setting: Setting) -> None:
    """Of the channels, those of the second part."""
    first, count = case.channels[:2]
    x = small_integers((*case.rows, sum(case.channels)), seed)
    expected = reference.slice_channels(x, first, count)
    probe = Probe.of(expected, seed)

    def build(graph: _core.Graph, v: dict[str, int]) -> list[int]:
        y = graph.slice_channels(v["x"], first=first, count=count)
        return [y, *(i for i in graph.gradients(probe.loss(graph, v, y), [v["x"]]) if i)]

    y, dx = run(build, {"x": x, **probe.inputs}, probe.parameters, setting)
    assert_equal(y, expected, "y")
    assert_equal(dx, reference.slice_channels_backward(probe.dy, x.shape, first, count), "dx")


@pytest.mark.parametrize("case", PICKED, ids=str)
@pytest.mark.parametrize("check", [check_concatenate, check_slice])
@pytest.mark.parametrize("count", [1, 3])
def test_picked(case, check, count, isa):
    check(case, 0, Setting(isa, threads=count))


@given(parts(), seeds)
def test_concatenate(isa, case, seed):
    check_concatenate(case, seed, Setting(isa))


@given(parts(), seeds)
def test_slice_channels(isa, case, seed):
    check_slice(case, seed, Setting(isa))


@dataclass(frozen=True)
class Stack:
    """Inputs that differ along another axis than the last."""

    shape: tuple[int, ...]
    axis: int
    extents: tuple[int, ...]


@st.composite
def stacks(draw) -> Stack:
    shape = [draw(st.sampled_from(EXTENTS[:8])) for _ in range(draw(st.integers(2, 4)))]
    axis = draw(st.integers(0, len(shape) - 2)) + 1
    many = draw(st.lists(st.sampled_from(EXTENTS[:8]), min_size=2, max_size=4))
    shape = (draw(st.integers(1, 4)), *shape)
    return Stack(shape, axis - draw(st.sampled_from((0, len(shape)))), tuple(many))


STACKED = [
    Stack((1, 1, 1), 1, (1, 1)),
    Stack((4, 1, 60, 61), 1, (3, 2)),  # several tasks
    Stack((2, 9, 1, 7), -2, (8, 1, 17)),
    Stack((2, 1, 9000), 1, (1, 2)),  # a row is longer than a block
    Stack((3, 2, 1, 3, 2, 1, 2, 3), 5, (4, 3)),
]


def check_other_axes(case: Stack, seed: int, setting: Setting) -> None:
    shapes = []
    for extent in case.extents:
        shape = list(case.shape)
        shape[case.axis] = extent
        shapes.append(shape)
    arrays = {f"x{i}": small_integers(s, seed, i) for i, s in enumerate(shapes)}
    expected = reference.concatenate(list(arrays.values()), case.axis)
    probe = Probe.of(expected, seed)

    def build(graph: _core.Graph, v: dict[str, int]) -> list[int]:
        inputs = [v[name] for name in arrays]
        y = graph.concatenate(inputs, axis=case.axis)
        loss = probe.loss(graph, v, y)
        return [y, *(i for i in graph.gradients(loss, inputs) if i is not None)]

    y, *gradients = run(build, {**arrays, **probe.inputs}, probe.parameters, setting)
    assert_equal(y, expected, "y")
    parts = np.split(probe.dy, np.cumsum(case.extents)[:-1], axis=case.axis)
    for i, (got, part) in enumerate(zip(gradients, parts, strict=True)):
        assert_equal(got, part, f"gradient {i}")


@pytest.mark.parametrize("case", STACKED, ids=str)
@pytest.mark.parametrize("count", [1, 3])
def test_picked_axes(case, count, isa):
    check_other_axes(case, 0, Setting(isa, threads=count))


@given(stacks(), seeds)
def test_other_axes(isa, case, seed):
    check_other_axes(case, seed, Setting(isa))


def test_the_gradient_along_the_last_axis_is_a_slice_of_channels():
    graph = _core.Graph()
    x = graph.input("x", (None, 4, 3))
    for axis, op in ((-1, "slice_channels"), (2, "slice_channels"), (1, "slice"), (-2, "slice")):
        y = graph.concatenate([x, x], axis=axis)
        t = graph.input(f"t{axis}", graph.shape(y))
        graph.gradients(graph.loss("mean_squared_error", t, y), [x])
        assert [node["op"] for node in graph.nodes()[-3:]] == [op, op, "add"]


def test_integers_are_joined(isa):
    x = np.array([[2**31 - 1, -1], [5, -(2**31)]], np.int32)
    net = Net(lambda g, v: [g.concatenate([v["x"], v["x"]])], {"x": x}, {}, Setting(isa))
    y = np.zeros((2, 4), np.int32)
    net.run(outputs=[y])
    np.testing.assert_array_equal(y, np.concatenate([x, x], axis=1))


CHECKS = [
    Check(check_concatenate, parts(), PICKED),
    Check(check_slice, parts(), PICKED),
    Check(check_other_axes, stacks(), STACKED),
]


@pytest.mark.parametrize("memory", GUARDS)
def test_no_byte_outside(memory, isa):
    assert_guarded(__name__, memory, isa)


def test_a_value_may_be_joined_with_itself(isa):
    x = random_array((3, 2, 5), 1)

    def build(graph: _core.Graph, v: dict[str, int]) -> list[int]:
        h = graph.activation(v["x"], "relu")
        y = graph.concatenate([h, v["x"], h])
        loss = graph.loss("mean_squared_error", graph.input("t", graph.shape(y)), y)
        return [y, *(i for i in graph.gradients(loss, [v["x"]]) if i is not None)]

    net = Net(build, {"x": x}, {}, Setting(isa))
    net.inputs.append(np.zeros((3, 2, 15), np.float32))
    y, dx = net.run()
    x = net.inputs[0]
    h = np.maximum(x, 0)
    np.testing.assert_array_equal(y, np.concatenate([h, x, h], axis=-1))
    np.testing.assert_allclose(dx, (2 * x + 4 * h * (x > 0)) / y.size, rtol=1e-6)


def test_nan_and_infinity_are_copied(isa):
    x: Array = np.array([[np.nan, np.inf, -np.inf, -0.0]])
    y = run(lambda g, v: [g.concatenate([v["x"], v["x"]])], {"x": x}, {}, Setting(isa))[0]
    np.testing.assert_array_equal(y, np.concatenate([x, x], axis=-1).astype(np.float32))
    assert np.signbit(y[0, 3])


def test_bad_arguments():
    graph = _core.Graph()
    x, odd = graph.input("x", (None, 4, 3)), graph.input("odd", (None, 5, 3))
    row, label = graph.input("row", (None, 3)), graph.input("label", (None, 3), "int32")
    with pytest.raises(ValueError, match="concatenate: expected 2 or more inputs, got 1"):
        graph.concatenate([x])
    with pytest.raises(ShapeError, match=r"inputs\[1\] must have shape .None, 4, 3., got .None, 5"):
        graph.concatenate([x, odd])
    with pytest.raises(ShapeError, match=r"inputs\[1\] must have shape"):
        graph.concatenate([x, row])
    with pytest.raises(DTypeError, match=r"inputs\[1\] must be float32, got int32"):
        graph.concatenate([row, label])
    with pytest.raises(ShapeError, match=r"inputs\[1\] must have shape \(3,\), got \(None, 3\)"):
        graph.concatenate([graph.parameter("w", (3,)), row])
    with pytest.raises(ShapeError, match=r"inputs\[0\] must have an axis, got \(\)"):
        graph.concatenate([graph.parameter("s", ()), row])
    with pytest.raises(ValueError, match=r"inputs\[1\] is value 99"):
        graph.concatenate([x, 99])
    for axis, message in (
        (0, "concatenate: axis must not be the batch axis, got 0"),
        (-3, "concatenate: axis must not be the batch axis, got -3"),
        (3, r"concatenate: axis must be in -3\.\.2 for x \(None, 4, 3\), got 3"),
        (-(2**63), r"concatenate: axis must be in -3\.\.2 for x"),
    ):
        with pytest.raises(ValueError, match=message):
            graph.concatenate([x, x], axis=axis)
    with pytest.raises(ShapeError, match=r"inputs\[1\] must have shape .None, 5, 3., got"):
        graph.concatenate([x, graph.input("z", (None, 5, 2))], axis=1)
    for first, count in ((0, 4), (-1, 2), (3, 1), (0, 0), (2**62, 2**62), (1, -(2**63))):
        with pytest.raises(ValueError, match=r"must (lie in the 3 channels of x|be >= [01]), got"):
            graph.slice_channels(x, first=first, count=count)
