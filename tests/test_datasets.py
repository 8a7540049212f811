# SPDX-License-Identifier: Apache-2.0
"""Data sets: the real ones where they are, and files that are not what they should be."""

from __future__ import annotations

import gzip
import os
import struct

import numpy as np
import pytest

from pycnn import datasets
from pycnn.datasets import load_digits, load_mnist, read_idx


def idx(array, kind=0x08):
    array = np.asarray(array)
    header = struct.pack(">BBBB", 0, 0, kind, array.ndim)
    return header + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.fixture
def folder(tmp_path):
    """MNIST of three images a part."""
    images, labels = np.arange(3 * 4, dtype="u1").reshape(3, 2, 2), np.array([0, 9, 5], "u1")
    for pair in datasets.MNIST_FILES.values():
        (tmp_path / pair[0]).write_bytes(idx(images))
        (tmp_path / f"{pair[1]}.gz").write_bytes(gzip.compress(idx(labels)))
    return tmp_path


def test_digits_are_split_by_class_and_always_the_same():
    (x, y), (x_test, y_test) = load_digits()
    assert x.shape == (1438, 8, 8, 1)
    assert x_test.shape == (359, 8, 8, 1)
    assert (x.dtype, y.dtype) == (np.float32, np.int32)
    assert (x.min(), x.max()) == (0, 1)
    assert set(np.bincount(y_test)) <= set(range(34, 38))
    again = load_digits()
    np.testing.assert_array_equal(again[0][0], x)
    np.testing.assert_array_equal(again[1][1], y_test)
    train = {image.tobytes() for image in x}
    assert not any(image.tobytes() in train for image in x_test)
    assert (load_digits(seed=1)[1][0] != x_test).any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"test_fraction": 2}, r"test_fraction must be in \[0, 1\), got 2"),
        ({"test_fraction": -0.1}, r"test_fraction must be in \[0, 1\), got -0.1"),
        ({"test_fraction": "0.2"}, "test_fraction must be a number, got '0.2'"),
        ({"test_fraction": 0.9999}, "test_fraction 0.9999 leaves no sample for training"),
        ({"seed": -1}, "seed must be an integer in 0..4294967295, got -1"),
    ],
)
def test_splits_of_the_digits_that_make_no_sense_are_refused(options, message):
    """test_fraction=2 gave an empty training set."""
    with pytest.raises((ValueError, TypeError), match=f"load_digits: {message}"):
        load_digits(**options)


def test_real_mnist(data_home, monkeypatch):
    if not (data_home / "mnist").is_dir():
        pytest.skip(f"no MNIST in {data_home}")
    monkeypatch.setenv("PYCNN_HOME", str(data_home))
    (x, y), (x_test, y_test) = load_mnist()
    assert (x.shape, x.dtype) == ((60_000, 28, 28), np.uint8)
    assert (x_test.shape, y_test.shape) == ((10_000, 28, 28), (10_000,))
    assert list(y[:5]) == [5, 0, 4, 1, 9]  # in the original order
    assert x.mean() == pytest.approx(33.318, abs=1e-3)


def test_plain_and_compressed_files(folder):
    (x, y), (x_test, y_test) = load_mnist(folder)
    np.testing.assert_array_equal(x, np.arange(12).reshape(3, 2, 2))
    np.testing.assert_array_equal(y, [0, 9, 5])
    np.testing.assert_array_equal(x_test, x)
    np.testing.assert_array_equal(y_test, y)


def test_the_folder_comes_from_the_environment(folder, monkeypatch, tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    folder.rename(home / "mnist")
    monkeypatch.setenv("PYCNN_HOME", str(home))
    assert len(load_mnist()[0][0]) == 3
    monkeypatch.delenv("PYCNN_HOME")
    monkeypatch.setenv("HOME", str(home))
    assert datasets.home() == home / ".cache" / "pycnn"


def test_missing_files_are_named(folder):
    (folder / "t10k-labels-idx1-ubyte.gz").unlink()
    (folder / "train-images-idx3-ubyte").unlink()
    with pytest.raises(FileNotFoundError) as caught:
        load_mnist(folder)
    message = str(caught.value)
    assert (
        "lacks train-images-idx3-ubyte, t10k-labels-idx1-ubyte (each plain or with .gz)" in message
    )
    assert "PYCNN_HOME" in message
    assert str(folder) in message


@pytest.mark.parametrize(
    ("kind", "dtype"), [(8, "u1"), (9, "i1"), (0x0B, ">i2"), (0x0C, ">i4"), (0x0D, ">f4")]
)
def test_idx_types(kind, dtype, tmp_path):
    values = np.array([[1, 2, 3], [4, 5, 100]], dtype)
    (tmp_path / "file").write_bytes(idx(values, kind))
    np.testing.assert_array_equal(read_idx(tmp_path / "file"), values)
    np.testing.assert_array_equal(read_idx(str(tmp_path / "file")), values)


GOOD = idx(np.arange(12, dtype="u1").reshape(3, 4))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "bad magic number in an empty file"),
        (b"\0\0\x08", "bad magic number 000008"),
        (b"\0\0\x07\x02" + GOOD[4:], "bad magic number 00000702"),
        (b"\x89PNG" + GOOD[4:], "bad magic number 89504e47"),
        (b"\0\0\x08\xff" + GOOD[4:], "bad magic number"),
        (GOOD[:9], "ends within the header"),
        (GOOD[:-1], r"expected 12 bytes of values for shape \(3, 4\), got only 11"),
        (GOOD + b"\0", r"expected 12 bytes of values for shape \(3, 4\), got more"),
        (GOOD[:4] + b"\xff" * 8 + GOOD[12:], "got only 12"),
    ],
)
@pytest.mark.parametrize("name", ["file", "file.gz"])
def test_files_that_are_no_idx_are_refused(name, data, message, tmp_path):
    path = tmp_path / name
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    with pytest.raises(ValueError, match=message) as caught:
        read_idx(tmp_path / "file")
    assert str(path) in str(caught.value)


def test_damaged_gzip_is_refused(tmp_path):
    compressed = gzip.compress(GOOD)
    (tmp_path / "a.gz").write_bytes(compressed[:-9])
    (tmp_path / "b.gz").write_bytes(GOOD)
    for name in ("a", "b"):
        with pytest.raises(ValueError, match="not a whole idx file"):
            read_idx(tmp_path / name)


def test_a_gzip_bomb_is_read_no_further_than_its_header_says(tmp_path):
    (tmp_path / "bomb.gz").write_bytes(gzip.compress(GOOD + bytes(200_000_000), 1))
    with pytest.raises(ValueError, match="got more"):
        read_idx(tmp_path / "bomb")


@pytest.mark.parametrize("name", ["file", "file.gz"])
def test_expanded_sizes_are_limited(name, tmp_path, monkeypatch):
    """Robustness row 101: a small file may be a whole idx file of any size."""
    data = idx(np.zeros((30, 40), "u1"))
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    monkeypatch.setattr(datasets, "MAX_IDX_BYTES", 1200)
    assert read_idx(tmp_path / name).shape == (30, 40)
    monkeypatch.setattr(datasets, "MAX_IDX_BYTES", 1199)
    with pytest.raises(ValueError, match="takes 1200 bytes, over 1199"):
        read_idx(tmp_path / name)


@pytest.mark.parametrize("name", ["file", "file.gz"])
def test_only_regular_files_are_read(name, tmp_path):
    """Finding 14: read_idx on a FIFO waited for ever."""
    os.mkfifo(tmp_path / name)
    with pytest.raises(OSError, match="read_idx: not a regular file"):
        read_idx(tmp_path / name)
    with pytest.raises(IsADirectoryError):
        read_idx(tmp_path)


def test_values_of_an_idx_file_can_be_changed(tmp_path):
    (tmp_path / "file").write_bytes(GOOD)
    read_idx(tmp_path / "file")[0] = 0


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (np.zeros((3, 2, 2), "u1"), np.zeros(2, "u1"), r"expected \(N, H, W\) and \(N\)"),
        (np.zeros((3, 4), "u1"), np.zeros(3, "u1"), r"expected \(N, H, W\) and \(N\)"),
        (np.zeros((0, 2, 2), "u1"), np.zeros(0, "u1"), r"expected \(N, H, W\) and \(N\)"),
        (np.zeros((2, 2, 2), "u1"), np.array([1, 10], "u1"), r"labels in 0..9, got 10"),
    ],
)
def test_images_and_labels_that_do_not_match(images, labels, message, folder):
    (folder / "train-images-idx3-ubyte").write_bytes(idx(images))
    (folder / "train-labels-idx1-ubyte").write_bytes(idx(labels))
    with pytest.raises(ValueError, match=message):
        load_mnist(folder)
