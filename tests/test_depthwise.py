# SPDX-License-Identifier: Apache-2.0
"""Convolutions with one channel and one filter per group, which have kernels of their own."""

from __future__ import annotations

import time

import numpy as np
import pytest
from engine import GUARDS, Array, Check, Net, Setting, assert_equal, assert_guarded
from hypothesis import given
from hypothesis import strategies as st
from strategies import ConvShape, conv_shapes, random_array, seeds, small_integers
from test_conv2d import (
    NAMES,
    all_passes,
    arrays,
    check_epilogues,
    check_gates,
    check_integers,
    check_pooled,
    check_real,
)

from pycnn import _core, reference

# around the widths of vectors (4, 8, 16) and of tiles of channels (32), and primes
CHANNELS = (2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 37, 64, 65, 97)


def depthwise(size, channels, kernel=(3, 3), batch=2, **geometry) -> ConvShape:
    shape = (batch, *size, channels)
    return ConvShape(shape, (*kernel, 1, channels), groups=channels, **geometry)


PICKED = [depthwise((4, 9), C, padding="same") for C in CHANNELS]
PICKED += [depthwise((3, W), 5, padding="same") for W in (1, 2, 7, 8, 9, 10, 15, 16, 17, 31)]
PICKED += [depthwise((9, 10), 17, (k, k), padding="same") for k in range(1, 8)]
PICKED += [
    depthwise((7, 7), 960, padding="same"),  # channels in groups
    depthwise((14, 14), 96, strides=(2, 2), padding="same"),
    depthwise((20, 61), 33, strides=(2, 2), padding="same"),  # columns in tiles
    depthwise((40, 40), 32, padding="same", batch=3),  # weight gradients in chunks
    depthwise((33, 35), 20, (5, 5), strides=(2, 1), padding="same", batch=3),
    depthwise((11, 12), 40, strides=(2, 3), dilation=(3, 2), padding=(2, 1, 1, 2)),
    depthwise((13, 14), 5, (2, 2), strides=(4, 3)),  # pixels that no window sees
    depthwise((1, 1), 7, (7, 7), padding=(3, 3, 3, 3)),  # one pixel, mostly padding
    depthwise((1, 2), 9, (3, 3), strides=(4, 4), padding=(1, 1, 1, 1)),  # stride > size
    depthwise((30, 4), 8, (2, 5), padding=(7, 0, 1, 0)),  # windows wholly in padding
]


@st.composite
def depthwise_shapes(draw, channels=CHANNELS, **limits) -> ConvShape:
    """Any geometry of conv_shapes, with one channel per group."""
    case = draw(conv_shapes(grouped=False, **limits))
    C = draw(st.sampled_from(channels))
    shape, kernel = (*case.x_shape[:3], C), (*case.w_shape[:2], 1, C)
    return ConvShape(shape, kernel, case.strides, case.padding, case.dilation, C)


SHAPES = depthwise_shapes()
SMALL = depthwise_shapes(channels=CHANNELS[:10], max_size=9, max_window=3)


@pytest.mark.parametrize("case", PICKED, ids=str)
def test_picked_integers(case, isa):
    check_integers(case, 0, Setting(isa))


@given(SHAPES, seeds)
def test_integers(isa, case, seed):
    check_integers(case, seed, Setting(isa))


@pytest.mark.parametrize("case", PICKED, ids=str)
def test_picked_real_values(case, isa):
    check_real(case, 1, Setting(isa))


@given(SHAPES, seeds)
def test_real_values(isa, case, seed):
    check_real(case, seed, Setting(isa))


@given(SHAPES, seeds)
def test_epilogues(isa, case, seed):
    check_epilogues(case, seed, Setting(isa))


@given(SMALL, seeds)
def test_gates(isa, case, seed):
    check_gates(case, seed, Setting(isa))


@given(SMALL, seeds)
def test_pools_stay_steps_of_their_own(isa, case, seed):
    check_pooled(case, seed, Setting(isa))


@pytest.mark.parametrize("case", PICKED[-10:], ids=str)
def test_threads_change_no_bit(case, isa):
    values = arrays(case, 2, random_array)
    serial = all_passes(case, *values, Setting(isa))
    for count in (2, 3, 5):
        parallel = all_passes(case, *values, Setting(isa, threads=count))
        for name, a, b in zip(NAMES, serial, parallel, strict=True):
            np.testing.assert_array_equal(a, b, err_msg=f"{name} with {count} threads")


@pytest.mark.parametrize("case", PICKED[-10:], ids=str)
def test_batch_changes_no_bit(case, isa):
    x, w, b, dy = arrays(case, 3, random_array)
    whole = all_passes(case, x, w, b, dy, Setting(isa))
    for n in range(len(x)):
        y, dx, *_ = all_passes(case, x[n : n + 1], w, b, dy[n : n + 1], Setting(isa))
        np.testing.assert_array_equal(y[0], whole[0][n])
        np.testing.assert_array_equal(dx[0], whole[1][n])


def test_weights_come_back_as_they_went(isa):
    """In memory, too, they are what the user sees: no padding to vectors."""
    w = random_array((3, 2, 1, 37), 4).astype(np.float32)

    def build(graph: _core.Graph, v: dict[str, int]) -> list[int]:
        return [graph.conv2d(v["x"], v["w"], groups=37)]

    net = Net(build, {"x": np.zeros((1, 5, 5, 37))}, {"w": w}, Setting(isa))
    np.testing.assert_array_equal(net.parameters.get("w"), w)


def test_one_kernel_for_two_numbers_of_groups_is_refused(isa):
    """As many filters for one channel, and for as many channels: other layouts in memory."""
    graph = _core.Graph()
    x, z = graph.input("x", (None, 5, 5, 8)), graph.input("z", (None, 5, 5, 1))
    w = graph.parameter("w", (3, 3, 1, 8))
    graph.mark_output(graph.conv2d(x, w, groups=8))
    graph.mark_output(graph.conv2d(z, w))
    with pytest.raises(ValueError, match="groups"):
        _core.Parameters(graph, isa)


def numeric_gradient(f, at: Array, step: float = 1e-3) -> Array:
    gradient = np.zeros_like(at)
    for i in np.ndindex(at.shape):
        up, down = at.copy(), at.copy()
        up[i] += step
        down[i] -= step
        gradient[i] = (f(up) - f(down)) / (2 * step)
    return gradient


@pytest.mark.parametrize("strides", [(1, 1), (2, 2)])
def test_gradients_are_differences_of_the_reference(strides, isa):
    case = depthwise((5, 4), 3, strides=strides, padding="same")
    x, w, b, dy = arrays(case, 5, random_array)
    _, dx, dw, _ = all_passes(case, x, w, b, dy, Setting(isa))

    def loss(x: Array, w: Array) -> float:
        return float(np.vdot(reference.conv2d(x, w, b, **case.arguments), dy))

    np.testing.assert_allclose(dx, numeric_gradient(lambda v: loss(v, w), x), rtol=0, atol=1e-5)
    np.testing.assert_allclose(dw, numeric_gradient(lambda v: loss(x, v), w), rtol=0, atol=1e-5)


CHECKS = [
    Check(check_integers, SHAPES, PICKED),
    Check(check_epilogues, SHAPES, PICKED[:6]),
    Check(check_gates, SMALL),
    Check(check_pooled, SMALL),
]


@pytest.mark.parametrize("strides", [(2**31 - 1, 5), (5, 2**31 - 1), (2**31 - 1, 2**31 - 1)])
def test_strides_beyond_the_image_cost_no_time(isa, strides):
    """Each row of the result looked for its next row's input, a row of the image at a time."""
    x, w = small_integers((1, 11, 2, 3), 1), small_integers((2, 3, 1, 3), 2)
    options = {"strides": strides, "padding": (0, 0, 2, 1), "groups": 3}

    def build(graph: _core.Graph, v: dict[str, int]) -> list[int]:
        return [graph.conv2d(v["x"], v["w"], **options)]

    net = Net(build, {"x": x}, {"w": w}, Setting(isa))
    start = time.process_time()
    assert_equal(net.run()[0], reference.conv2d(x, w, **options), "y")
    assert time.process_time() - start < 1


@pytest.mark.parametrize("memory", GUARDS)
def test_no_byte_outside(memory, isa):
    assert_guarded(__name__, memory, isa)
