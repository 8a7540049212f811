# SPDX-License-Identifier: Apache-2.0
"""U-Net: its size, what it learns, losses of maps, files, threads and batches."""

from __future__ import annotations

import numpy as np
import pytest
from engine import Array, threads

import pycnn
from pycnn import losses, reference
from pycnn.applications import unet


def weights_of(inputs: int, classes: int, base: int, depth: int) -> int:
    """The paper's layers, counted by hand."""

    def conv(size: int, C: int, K: int) -> int:
        return size * size * C * K + K

    channels = [base << level for level in range(depth + 1)]
    total, C = conv(1, base, classes), inputs
    for K in channels:
        total, C = total + conv(3, C, K) + conv(3, K, K), K
    for K in channels[:-1]:
        total += conv(2, 2 * K, K) + conv(3, 2 * K, K) + conv(3, K, K)
    return total


@pytest.mark.parametrize(
    "shape, classes, base, depth",
    [((128, 128, 1), 1, 16, 4), ((32, 48, 3), 5, 8, 3), ((4, 6, 2), 2, 3, 1)],
)
def test_shape_and_number_of_weights(shape, classes, base, depth):
    model = unet(shape, classes, base, depth)
    assert model.output_shape == (None, *shape[:2], classes)
    assert model.count_params() == weights_of(shape[2], classes, base, depth)


def test_defaults():
    model = unet()
    assert model.input_shape == (None, 128, 128, 1)
    assert f"{model.count_params():,}" in (unet.__doc__ or "")


def test_sizes_that_cannot_be_halved_are_refused():
    with pytest.raises(
        ValueError, match=r"unet: height and width must be multiples of 16 .* \(128, 100\)"
    ):
        unet((128, 100, 1))


def test_summary_counts_the_multiplications_of_the_upward_path(capsys):
    unet((8, 8, 1), 1, 4, 1).summary()
    line = next(line for line in capsys.readouterr().out.splitlines() if "conv2d_transpose" in line)
    assert "(None, 8, 8, 4)" in line
    assert f"{4 * 4 * 2 * 2 * 8 * 4:,}" in line  # P * Q * R * S * C * K


def disks(samples: int, size: int = 16, seed: int = 0) -> tuple[Array, Array]:
    """Noisy bright disks, and which pixels belong to them."""
    rng = np.random.default_rng(seed)
    center = rng.uniform(4, size - 4, (2, samples, 1, 1))
    h, w = np.mgrid[:size, :size]
    inside = (h - center[0]) ** 2 + (w - center[1]) ** 2 < rng.uniform(6, 20, (samples, 1, 1))
    x = inside + 0.4 * rng.standard_normal(inside.shape)
    return x[..., None].astype(np.float32), inside.astype(np.int32)


@pytest.mark.parametrize("classes", [1, 2])
def test_it_learns_to_segment(classes):
    x, y = disks(64)
    pycnn.set_seed(1)
    model = unet((16, 16, 1), classes, base=4, depth=2)
    loss = "binary_crossentropy" if classes == 1 else "sparse_categorical_crossentropy"
    model.compile(pycnn.optimizers.Adam(0.01), loss, metrics=["accuracy"])
    model.fit(x, y, batch_size=8, epochs=6, verbose=0)
    test_x, test_y = disks(16, seed=1)
    _, accuracy = model.evaluate(test_x, test_y, verbose=0)
    assert accuracy > 0.95
    assert accuracy > 1 - test_y.mean() + 0.03  # of "no disk anywhere"


@pytest.mark.parametrize("kind", ["sparse_categorical_crossentropy", "binary_crossentropy"])
def test_losses_of_maps_are_means_over_pixels(kind):
    """Labels (N, H, W), or (N, H, W, 1) as well, as in Keras."""
    sparse = kind.startswith("sparse")
    model = unet((4, 4, 1), 3 if sparse else 1, base=2, depth=1)
    model.compile("sgd", losses.get(kind))
    rng = np.random.default_rng(2)
    x = rng.standard_normal((5, 4, 4, 1)).astype(np.float32)
    y = rng.integers(0, 3 if sparse else 2, (5, 4, 4))
    expected = getattr(reference, kind)(y, model.predict(x, verbose=0))
    assert model.evaluate(x, y, verbose=0) == pytest.approx(expected, rel=1e-5)
    assert model.evaluate(x, y[..., None], verbose=0) == pytest.approx(expected, rel=1e-5)


def test_it_is_saved_and_loaded(tmp_path):
    x, y = disks(8)
    model = unet((16, 16, 1), 2, base=3, depth=2)
    model.compile("adam", "sparse_categorical_crossentropy")
    model.train_on_batch(x, y)
    path = tmp_path / "unet.pycnn"
    model.save(path)
    again = pycnn.models.load_model(path)
    np.testing.assert_array_equal(again.predict(x, verbose=0), model.predict(x, verbose=0))
    assert again.train_on_batch(x, y) == model.train_on_batch(x, y)
    for a, b in zip(again.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def trained(count: int) -> list[Array]:
    """The weights after 3 steps with so many threads, then predictions."""
    x, y = disks(12)
    pycnn.set_seed(3)
    model = unet((16, 16, 1), 2, base=5, depth=2)
    model.compile("adam", "sparse_categorical_crossentropy")
    with threads(count):
        for _ in range(3):
            model.train_on_batch(x, y)
        return [*model.get_weights(), model.predict(x, verbose=0)]


def test_threads_and_batches_change_no_bit():
    expected = trained(1)
    for count in (2, 3):
        for a, b in zip(trained(count), expected, strict=True):
            np.testing.assert_array_equal(a, b)
    model, x = unet((16, 16, 1), 2, base=5, depth=2), disks(12)[0]
    whole = model.predict(x, batch_size=12, verbose=0)
    for batch in (1, 5):
        np.testing.assert_array_equal(model.predict(x, batch_size=batch, verbose=0), whole)


def test_every_prediction_is_the_first_one():
    """The second one was wrong by 0.6 where earlier layers wrote over the packed kernels."""
    model = unet((16, 16, 1), 2, 8, 3)
    x = np.random.default_rng(0).standard_normal((2, 16, 16, 1)).astype(np.float32)
    first = model.predict(x, verbose=0)
    for _ in range(2):
        np.testing.assert_array_equal(model.predict(x, verbose=0), first)
