# SPDX-License-Identifier: Apache-2.0
"""The jobs of `pycnn train`."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from pycnn import recipes


def test_the_learning_rate_falls_by_epochs():
    images, labels = np.zeros((20, 8, 8, 1), np.float32), np.zeros(20, np.int32)
    recipe = dataclasses.replace(
        recipes.RECIPES["digits"],
        load=lambda: recipes.Data(images, labels, images, labels),
        learning_rate=0.004,
        decay=0.5,
    )
    outcome = recipes.run(recipe, epochs=3, batch_size=10, verbose=0)
    assert outcome.model.optimizer.learning_rate == pytest.approx(0.001)
