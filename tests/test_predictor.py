# SPDX-License-Identifier: Apache-2.0
"""Predictor, the short way to a prediction: whatever it is given, it answers or refuses."""

from __future__ import annotations

import copy

import numpy as np
import pytest

import pycnn
from pycnn.layers import Dense
from pycnn.models import Sequential


@pytest.fixture
def predictor():
    return pycnn.Predictor(Sequential([Dense(2, input_dim=3)]), batch=2)


def test_there_is_none_without_a_model():
    with pytest.raises(TypeError):
        pycnn.Predictor.__new__(pycnn.Predictor)
    with pytest.raises(TypeError):
        pycnn.Predictor()


def test_it_is_not_copied(predictor):
    with pytest.raises(TypeError):
        copy.copy(predictor)


@pytest.mark.parametrize(
    ("x", "y"), [(None, None), (None, np.zeros(4, "f4")), (np.zeros(6, "f4"), None)]
)
def test_none_is_no_array(predictor, x, y):
    with pytest.raises(TypeError, match="x and y must be arrays, got None"):
        predictor.into(x, y)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [(5, 4, "x must hold 6 floats, got 5"), (6, 0, "y must hold 4 floats, got 0")],
)
def test_sizes_must_fit(predictor, x, y, message):
    with pytest.raises(ValueError, match=f"predictor: {message}"):
        predictor.into(np.zeros(x, "f4"), np.zeros(y, "f4"))
