# SPDX-License-Identifier: Apache-2.0
"""Losses, metrics and optimizers as values: equality, repr, configs."""

from __future__ import annotations

from pycnn import losses, metrics, optimizers


def test_specs_are_values():
    assert repr(optimizers.SGD(0.1, momentum=0.9)) == "SGD(learning_rate=0.1, momentum=0.9)"
    assert optimizers.Adam(0.1) == optimizers.Adam(0.1) != optimizers.Adam(0.2)
    assert losses.get("mse") == losses.MeanSquaredError()
    assert (
        optimizers.get({"class_name": "SGD", "config": {"learning_rate": 0.5}}).learning_rate == 0.5
    )
    assert metrics.BinaryAccuracy(threshold=0.3).get_config() == {
        "name": "binary_accuracy",
        "threshold": 0.3,
    }
