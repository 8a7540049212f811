# SPDX-License-Identifier: Apache-2.0
"""What weights add to the loss: values, gradients, files; kernels of convolutions are packed."""

from __future__ import annotations

import numpy as np
import pytest

import pycnn
from pycnn import Model, Sequential, layers, ops, optimizers, regularizers

RNG = np.random.default_rng(0)


def orthogonal(w, mode):
    rows = w if mode == "rows" else w.T
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    cosines = unit @ unit.T * (1 - np.eye(len(rows)))
    return 0.5 * np.abs(cosines).sum() / (len(rows) * (len(rows) - 1) / 2)


@pycnn.register_serializable("tests")
def cubes(w):
    return 0.1 * ops.sum(ops.absolute(w) ** 3)


CASES = [
    ("l1", lambda w: 0.01 * np.abs(w).sum()),
    ("l2", lambda w: 0.01 * (w**2).sum()),
    (regularizers.L1L2(0.02, 0.03), lambda w: 0.02 * np.abs(w).sum() + 0.03 * (w**2).sum()),
    (regularizers.OrthogonalRegularizer(0.5), lambda w: 0.5 * orthogonal(w, "rows")),
    (regularizers.OrthogonalRegularizer(0.5, "columns"), lambda w: 0.5 * orthogonal(w, "columns")),
    (cubes, lambda w: 0.1 * (np.abs(w) ** 3).sum()),
    ({"class_name": "L2", "config": {"l2": 0.5}}, lambda w: 0.5 * (w**2).sum()),
]


@pytest.mark.parametrize(("given", "numpy"), CASES)
def test_values_and_gradients(given, numpy):
    """Of a dense kernel, beside a loss that is 0 and has no slope."""
    x = np.zeros((2, 4), np.float32)
    model = Sequential([pycnn.Input((4,)), layers.Dense(5, kernel_regularizer=given)])
    model.compile(optimizers.SGD(1.0), "mse")
    w = np.float64(model.get_weights()[0])
    y = np.zeros((2, 5), np.float32)
    np.testing.assert_allclose(model.test_on_batch(x, y), numpy(w), rtol=1e-5)
    np.testing.assert_allclose(model.train_on_batch(x, y), numpy(w), rtol=1e-5)
    gradient = w - model.get_weights()[0]
    for at in np.ndindex(w.shape):
        step = np.zeros_like(w)
        step[at] = 1e-6
        slope = (numpy(w + step) - numpy(w - step)) / 2e-6
        np.testing.assert_allclose(gradient[at], slope, rtol=1e-3, atol=1e-4)


KERNELS = [
    layers.Conv2D(5, 3, kernel_regularizer="l2"),
    layers.Conv2D(6, 3, groups=3, kernel_regularizer="l2"),
    layers.Conv2DTranspose(5, 3, kernel_regularizer="l2"),
    layers.DepthwiseConv2D(3, depth_multiplier=2, depthwise_regularizer="l2"),
]


@pytest.mark.parametrize("layer", KERNELS, ids=lambda layer: layer.name)
def test_packed_kernels(layer):
    """Padding counts for nothing, and the update is that of the kernel alone."""
    model = Sequential([pycnn.Input((6, 6, 3)), layer])
    model.compile(optimizers.SGD(0.5), "mse")
    x = np.zeros((2, 6, 6, 3), np.float32)
    y = np.zeros((2, *model.output_shape[1:]), np.float32)
    w = np.float64(model.get_weights()[0])
    np.testing.assert_allclose(model.train_on_batch(x, y), 0.01 * (w**2).sum(), rtol=1e-5)
    np.testing.assert_allclose(model.get_weights()[0], w - 0.5 * 0.02 * w, rtol=1e-5, atol=1e-7)


def test_frozen_weights_add_nothing_and_shared_ones_once():
    x, y = np.zeros((2, 4), np.float32), np.zeros((2, 4), np.float32)
    layer = layers.Dense(4, kernel_regularizer="l2", bias_regularizer="l1")
    ends = pycnn.Input((4,))
    model = Model(ends, layer(layer(ends)))
    model.compile("sgd", "mse")
    w, b = model.get_weights()
    np.testing.assert_allclose(model.test_on_batch(x, y), 0.01 * (w**2).sum(), rtol=1e-5)
    layer.trainable = False
    model.compile("sgd", "mse")
    assert model.test_on_batch(x, y) == 0 and not b.any()


def test_weights_of_users():
    class Scaled(layers.Layer):
        def build(self, input_shape):
            self.w = self.add_weight((input_shape[-1],), "ones", regularizer=cubes)

        def call(self, x):
            return x * self.w

    model = Sequential([pycnn.Input((4,)), Scaled()])
    model.compile("sgd", "mse")
    zeros = np.zeros((2, 4), np.float32)
    np.testing.assert_allclose(model.test_on_batch(zeros, zeros), 0.1 * 4, rtol=1e-6)


@pytest.mark.parametrize("given", ["l1", regularizers.L2(0.5), cubes])
def test_files(given, tmp_path):
    model = Sequential([pycnn.Input((4,)), layers.Dense(3, kernel_regularizer=given)])
    model.compile("sgd", "mse")
    model.save(tmp_path / "m.pycnn")
    again = pycnn.load_model(tmp_path / "m.pycnn")
    zeros = np.zeros((2, 4), np.float32), np.zeros((2, 3), np.float32)
    assert again.test_on_batch(*zeros) == model.test_on_batch(*zeros) > 0
    assert again.layers[0].get_config() == model.layers[0].get_config()


def test_bad_regularizers():
    with pytest.raises(ValueError, match="regularizer: expected one of l1, l2"):
        layers.Dense(3, kernel_regularizer="l3")
    with pytest.raises(ValueError, match="L2: l2 must be"):
        regularizers.L2(-1.0)
    with pytest.raises(ValueError, match="mode must be 'rows' or 'columns'"):
        regularizers.OrthogonalRegularizer(mode="all")
    model = Sequential([pycnn.Input((4,)), layers.Dense(3, kernel_regularizer=lambda w: 3.0)])
    model.compile("sgd", "mse")
    with pytest.raises(TypeError, match="regularizer of dense/kernel: expected a tensor"):
        model.train_on_batch(np.zeros((2, 4)), np.zeros((2, 3)))
