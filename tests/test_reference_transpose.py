# SPDX-License-Identifier: Apache-2.0
"""The NumPy definitions of conv2d_transpose, concatenate and slice_channels."""

import numpy as np
import pytest
from hypothesis import given, settings
from strategies import conv_shapes, seeds, small_integers, transposed_shapes

from pycnn import reference

few = settings(max_examples=25)


def dot(a, b):
    return float((a * b).sum())


def naive_conv2d_transpose(x, w, y_shape, begin, strides, dilation):
    """Scatters; begin is the first row and column of the output."""
    y = np.zeros(y_shape)
    for n, p, q, c in np.ndindex(x.shape):
        for r, s, k in np.ndindex(w.shape[:3]):
            h = p * strides[0] + r * dilation[0] - begin[0]
            v = q * strides[1] + s * dilation[1] - begin[1]
            if 0 <= h < y_shape[1] and 0 <= v < y_shape[2]:
                y[n, h, v, k] += x[n, p, q, c] * w[r, s, k, c]
    return y


@few
@given(transposed_shapes(max_batch=2, max_size=5, max_channels=3, max_window=3), seeds)
def test_conv2d_transpose_scatters_and_its_adjoints_are_exact(case, seed):
    x, w = small_integers(case.x_shape, seed), small_integers(case.w_shape, seed, 1)
    y = reference.conv2d_transpose(x, w, **case.arguments)
    pads = case.padding if isinstance(case.padding, tuple) else (0, 0, 0, 0)
    if case.padding != "same":
        begin = pads[::2]
        naive = naive_conv2d_transpose(x, w, y.shape, begin, case.strides, case.dilation)
        np.testing.assert_array_equal(y, naive)
    dy = small_integers(y.shape, seed, 2)
    dx = reference.conv2d_transpose_backward_data(dy, w, case.x_shape, **case.arguments)
    dw = reference.conv2d_transpose_backward_weights(x, dy, case.w_shape, **case.arguments)
    assert dot(y, dy) == dot(x, dx) == dot(w, dw)


@few
@given(conv_shapes(max_batch=2, max_channels=4, max_window=3, grouped=False), seeds)
def test_conv2d_transpose_is_the_gradient_of_conv2d(case, seed):
    """ "same" of an image whose size is a multiple of the strides, as Keras defines it."""
    N, P, Q, K = case.y_shape
    x_shape = (N, P * case.strides[0], Q * case.strides[1], case.x_shape[3])
    arguments = {"strides": case.strides, "padding": "same", "dilation": case.dilation}
    dy, w = small_integers((N, P, Q, K), seed), small_integers(case.w_shape, seed, 1)
    expected = reference.conv2d_backward_data(dy, w, x_shape, **arguments)
    np.testing.assert_array_equal(reference.conv2d_transpose(dy, w, **arguments), expected)


def test_conv2d_transpose_sizes_are_those_of_keras():
    """(size, kernel, stride, padding, output_padding) -> size, computed with Keras 3's formulas"""
    cases = {
        (4, 3, 2, "valid", None): 9, (4, 2, 2, "valid", None): 8, (4, 1, 3, "valid", None): 12,
        (4, 3, 2, "valid", 1): 10, (4, 3, 2, "same", None): 8, (4, 3, 2, "same", 0): 7,
        (4, 3, 2, "same", 1): 8, (4, 2, 2, "same", 0): 6, (4, 2, 2, "same", 1): 7,
        (5, 5, 3, "same", 2): 15, (4, 1, 2, "same", None): 8,
    }  # fmt: skip
    for (size, kernel, stride, padding, extra), expected in cases.items():
        y = reference.conv2d_transpose(
            np.ones((1, size, size, 1)),
            np.ones((kernel, kernel, 1, 1)),
            strides=(stride, stride),
            padding=padding,
            output_padding=None if extra is None else (extra, extra),
        )
        assert y.shape == (1, expected, expected, 1)


def test_conv2d_transpose_by_hand():
    """One pixel of value 1: the kernel itself, cut off and centered as the padding says."""
    x, w = np.ones((1, 1, 1, 1)), np.arange(1.0, 10).reshape(3, 3, 1, 1)

    def y(**options):
        return reference.conv2d_transpose(x, w, **options)[0, :, :, 0].tolist()

    assert y() == [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
    assert y(strides=(2, 2), padding="same") == [[1, 2], [4, 5]]
    assert y(strides=(2, 2), padding="same", output_padding=(0, 0)) == [[5]]
    assert y(padding=(1, 0, 0, 1)) == [[4, 5], [7, 8]]
    assert y(strides=(2, 1), output_padding=(1, 0))[3] == [0, 0, 0]


@pytest.mark.parametrize(
    "options, text",
    [
        ({"strides": (2, 2), "output_padding": (2, 0)}, "output_padding must be less than strides"),
        ({"output_padding": (-1, 0)}, "output_padding must be >= 0, got -1"),
        ({"padding": "full"}, 'padding must be "valid", "same" or four integers'),
        ({"padding": (3, 3, 0, 0)}, "padding must be smaller than the output"),
        ({"strides": (2, 0)}, "strides must be >= 1, got 0"),
    ],
)
def test_conv2d_transpose_refuses(options, text):
    with pytest.raises(ValueError, match="conv2d_transpose: " + text):
        reference.conv2d_transpose(np.ones((1, 2, 2, 3)), np.ones((2, 2, 4, 3)), **options)


def test_channels_by_hand():
    a, b = np.array([[1.0], [2]]), np.array([[3.0, 4], [5, 6]])
    y = reference.concatenate([a, b, a])
    assert y.tolist() == [[1, 3, 4, 1], [2, 5, 6, 2]]
    assert reference.slice_channels(y, 1, 2).tolist() == b.tolist()
    dx = reference.slice_channels_backward(b, y.shape, 1, 2)
    assert dx.tolist() == [[0, 3, 4, 0], [0, 5, 6, 0]]
    with pytest.raises(ValueError, match="concatenate: inputs must be 2 or more arrays"):
        reference.concatenate([a])
    with pytest.raises(ValueError, match=r"concatenate: inputs\[1\] must be of shape"):
        reference.concatenate([a, b[:1]])
    with pytest.raises(ValueError, match=r"slice_channels: count must be in \[1, 2\], got 3"):
        reference.slice_channels(y, 2, 3)
