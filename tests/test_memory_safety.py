# SPDX-License-Identifier: Apache-2.0
"""No number of a value, buffer or node is used where there is none; no layout for another."""

from __future__ import annotations

import numpy as np
import pytest

import pycnn
from pycnn import _core
from pycnn import layers as L


@pytest.mark.parametrize("batch", [1, 2, 60])
def test_transposed_convolution_without_taps_has_no_packed_kernel(batch, tmp_path):
    """Finding 1: each output pixel lies between the taps, so there is nothing to pack."""
    layer = L.Conv2DTranspose(
        4, 2, strides=2, dilation_rate=2, padding=((1, 1), (1, 1)), bias_initializer="ones"
    )
    model = pycnn.Sequential([L.Input((1, 1, 3)), layer])
    x = np.ones((batch, 1, 1, 3), np.float32)
    np.testing.assert_array_equal(model.predict(x), np.ones((batch, 1, 1, 4)))
    model.save(tmp_path / "m.pycnn")
    loaded = pycnn.load_model(tmp_path / "m.pycnn")
    np.testing.assert_array_equal(loaded.predict(x), np.ones((batch, 1, 1, 4)))


def test_numbers_of_values_are_checked():
    graph = _core.Graph()
    x = graph.input("x", (None, 4, 4, 3))
    w = graph.parameter("w", (3, 3, 3, 2))
    for bad in (-1, 2, 2**40, -(2**40)):
        with pytest.raises(ValueError, match=f"value {bad}"):
            graph.conv2d(x, bad)
        with pytest.raises(ValueError, match=f"value {bad}"):
            graph.conv2d(x, w, bad)
        with pytest.raises(ValueError, match=f"value {bad}"):
            graph.mark_output(bad)
        with pytest.raises(ValueError, match=f"value {bad}"):
            graph.concatenate([x, bad])
    for absent in (None, 1.5, "x", 2**80):
        with pytest.raises(TypeError):
            graph.add(x, absent)
    graph.conv2d(x, w, None)
    assert graph.nodes()[-1]["inputs"] == [x, w, None, None]
