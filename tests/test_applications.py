# SPDX-License-Identifier: Apache-2.0
"""The networks of pycnn.applications: the papers' sizes, and that they run, save and learn."""

from __future__ import annotations

import re

import numpy as np
import pytest
from engine import threads

import pycnn
from pycnn import applications

# name: trainable weights, multiply-adds of a sample; as published, the small ones counted by hand
PUBLISHED = {
    "lenet5": (61_706, 416_520),
    "mnist_cnn": (34_826, 2_440_960),
    "resnet20": (272_474, 40_813_184),
    "resnet18": (11_689_512, 1_814_073_344),
    "resnet50": (25_557_032, 4_089_184_256),
    "mobilenetv2": (3_504_872, 300_774_272),
}
SMALL = {"resnet20": 8, "resnet18": 32, "resnet50": 32, "mobilenetv2": 32, "vgg16": 32}


def test_all_are_known():
    assert set(applications.__all__) == {*PUBLISHED, "unet", "vgg16"}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_sizes(name):
    model = getattr(applications, name)()
    lines: list[str] = []
    model.summary(lines.append)
    macs = re.search(r"MACs a sample: ([\d,]+)", "\n".join(lines))
    weights = sum(int(np.prod(w.shape)) for w in model.trainable_weights)
    assert (weights, int(macs[1].replace(",", ""))) == PUBLISHED[name]


def test_vgg16_without_its_dense_layers():
    """Of 138,357,544 weights 14,714,688 are convolutions; 224 pixels would take seconds to fill."""
    model = applications.vgg16((32, 32, 3), 10)
    sizes = [int(np.prod(w.shape)) for w in model.trainable_weights]
    assert sum(sizes[:26]) == 14_714_688
    dense = 512 * 4096 + 4096 + 4096 * 4096 + 4096 + 4096 * 10 + 10
    assert sum(sizes) == 14_714_688 + dense


@pytest.mark.parametrize("name", [name for name in SMALL if name != "vgg16"])
def test_learns_saves_and_ignores_threads(name, tmp_path):
    size = SMALL[name]
    pycnn.set_seed(0)
    model = getattr(applications, name)((size, size, 3), 4)
    labels = np.arange(8) % 4
    rng = np.random.default_rng(0)
    x = rng.normal(size=(8, size, size, 3)).astype(np.float32)
    x += labels[:, None, None, None] - 1.5
    model.compile(pycnn.optimizers.SGD(0.005, momentum=0.9), "sparse_categorical_crossentropy")
    first = model.train_on_batch(x, labels)
    for _ in range(12):
        last = model.train_on_batch(x, labels)
    assert last < first / 2

    model.save(tmp_path / "net.pycnn")
    with threads(1):
        serial = model.predict(x)
    with threads(2):
        parallel = pycnn.load_model(tmp_path / "net.pycnn").predict(x)
    np.testing.assert_array_equal(serial, parallel)
    np.testing.assert_array_equal(serial[:3], model.predict(x[:3]))
