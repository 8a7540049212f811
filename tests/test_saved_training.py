# SPDX-License-Identifier: Apache-2.0
"""What copies and files keep of how a model is trained."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from toys import linear, same_weights

from pycnn import optimizers
from pycnn.layers import Dense, Input
from pycnn.models import Model, Sequential, load_model


@pytest.mark.parametrize("rest", ["momentum", "frozen"])
def test_slots_that_rest_are_copied_and_saved(rest, tmp_path):
    """A copy of a model whose momentum was 0 for a while went on without its velocity."""
    x, y = np.ones((8, 2)), np.zeros((8, 1))
    model = linear(optimizers.SGD(0.01, momentum=0.9))
    model.fit(x, y, epochs=3, verbose=0)

    def set_resting(one, now):
        if rest == "momentum":
            one.optimizer.momentum = 0.0 if now else 0.9
        else:
            one.trainable = not now
            one.compile(one.optimizer, "mse")

    set_resting(model, True)
    model.fit(x, y, verbose=0)
    model.save(tmp_path / "m.pycnn")
    copies = [copy.deepcopy(model), load_model(tmp_path / "m.pycnn")]
    for one in (model, *copies):
        set_resting(one, False)
        one.fit(x, y, verbose=0)
    assert all(same_weights(model, one) for one in copies)


def test_models_can_be_saved_whatever_compile_took(tmp_path):
    """Wrong metrics were found by fit(), save() and deepcopy(); two outputs could not be saved."""
    x = Input((4,))
    two = Model(x, [Dense(1)(x), Dense(2)(x)])
    two.compile("adam", "mse", metrics=["accuracy"])
    with pytest.raises(ValueError, match="fit needs 1 output, got 2"):
        two.fit(np.ones((4, 4)), np.ones((4, 1)))
    built, unbuilt = Sequential([Input((4,)), Dense(3)]), Sequential([Dense(3)])
    built.compile("sgd", "mse", metrics=["accuracy"])
    for model in (built, unbuilt):
        with pytest.raises(ValueError, match="got 'acuracy'"):
            model.compile("adam", "mse", metrics=["acuracy"])
    assert built.metrics_names == ["loss", "accuracy"]  # as it was
    for model in (two, built, unbuilt):
        assert copy.deepcopy(model).is_compiled == model.is_compiled == (model is not unbuilt)
    two.save(tmp_path / "two.pycnn")
    assert load_model(tmp_path / "two.pycnn").is_compiled
