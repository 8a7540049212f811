# SPDX-License-Identifier: Apache-2.0
"""Data sets. Files are read from $PYCNN_HOME (default ~/.cache/pycnn); nothing is downloaded."""

from __future__ import annotations

import gzip
import math
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .ground.checks import checked_share
from .ground.disk import open_regular
from .ground.seeding import checked_seed

Split = tuple[NDArray[Any], NDArray[Any]]

IDX_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
GZIP_MOST = 1032  # bytes that one byte of a gzip file can stand for
MAX_IDX_BYTES = 4 << 30
MNIST_FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}


def home() -> Path:
    """Where data sets lie: $PYCNN_HOME, or ~/.cache/pycnn."""
    return Path(os.environ.get("PYCNN_HOME") or Path.home() / ".cache" / "pycnn")


def load_digits(test_fraction: float = 0.2, seed: int = 0) -> tuple[Split, Split]:
    """scikit-learn's 1797 handwritten digits: ((x_train, y_train), (x_test, y_test)).

    Args:
        test_fraction: of every class, in [0, 1), chosen by `seed`; the same samples every time.

    Shape: x (N, 8, 8, 1) float32 in 0..1, y (N) int32 in 0..9
    """
    fraction = checked_share("load_digits", "test_fraction", test_fraction)
    seed = checked_seed("load_digits", seed)
    try:
        from sklearn.datasets import load_digits as load
    except ImportError as error:
        raise ImportError("load_digits needs scikit-learn: pip install 'pycnn[demo]'") from error
    bunch = load()
    x = (bunch.images[..., None] / 16.0).astype(np.float32)
    y = bunch.target.astype(np.int32)
    generator = np.random.Generator(np.random.Philox(key=[seed, 0]))
    is_test = np.zeros(len(y), bool)
    for digit in np.unique(y):
        members = generator.permutation(np.flatnonzero(y == digit))
        is_test[members[: round(fraction * len(members))]] = True
    order = generator.permutation(np.flatnonzero(~is_test))
    if not len(order):
        raise ValueError(f"load_digits: test_fraction {fraction} leaves no sample for training")
    return (x[order], y[order]), (x[is_test], y[is_test])


def load_mnist(folder: str | Path | None = None) -> tuple[Split, Split]:
    """MNIST: ((x_train, y_train), (x_test, y_test)) from its idx files, plain or .gz.

    Shape: x (N, 28, 28) uint8, y (N) uint8
    """
    folder = home() / "mnist" if folder is None else Path(folder)
    missing = [
        name
        for names in MNIST_FILES.values()
        for name in names
        if not any((folder / (name + end)).exists() for end in ("", ".gz"))
    ]
    if missing:
        raise FileNotFoundError(
            f"load_mnist: {folder} lacks {', '.join(missing)} (each plain or with .gz); "
            "put the four MNIST idx files there, or set PYCNN_HOME to the folder above mnist/"
        )
    train, test = (_load_pair(folder, *names) for names in MNIST_FILES.values())
    return train, test


def _load_pair(folder: Path, images: str, labels: str) -> Split:
    x, y = read_idx(folder / images), read_idx(folder / labels)
    if x.ndim != 3 or y.ndim != 1 or len(x) != len(y) or len(x) == 0:
        raise ValueError(
            f"load_mnist: {images} has shape {x.shape} and {labels} {y.shape}, "
            "expected (N, H, W) and (N)"
        )
    if y.max() > 9:
        raise ValueError(f"load_mnist: {labels}: expected labels in 0..9, got {y.max()}")
    return x, y


def read_idx(path: str | Path) -> NDArray[Any]:
    """An idx file, or the same name with .gz: two 0 bytes, type, rank, extents, values."""
    path = Path(path)
    if not path.exists():
        path = path.with_name(path.name + ".gz")
    plain, size = open_regular("read_idx", path)
    with plain:
        try:
            if path.suffix == ".gz":
                with gzip.open(plain, "rb") as file:
                    return _read_idx(file, size * GZIP_MOST)
            return _read_idx(plain, size)
        except (ValueError, EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise ValueError(f"{path}: not a whole idx file: {error}") from error


def _read_idx(file: Any, most: int) -> NDArray[Any]:
    """The array in a file that holds at most that many bytes."""
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in IDX_TYPES or magic[3] > 8:
        raise ValueError(f"bad magic number {magic.hex() or 'in an empty file'}")
    dtype, rank = np.dtype(IDX_TYPES[magic[2]]), magic[3]
    header = file.read(4 * rank)
    if len(header) < 4 * rank:
        raise ValueError("ends within the header")
    shape = struct.unpack(f">{rank}I", header)
    size = math.prod(shape) * dtype.itemsize
    data = _read_bounded(file, min(size, most, MAX_IDX_BYTES) + 1)
    if len(data) > MAX_IDX_BYTES:
        raise ValueError(f"shape {shape} takes {size} bytes, over {MAX_IDX_BYTES}")
    if len(data) != size:
        problem = "more" if len(data) > size else f"only {len(data)}"
        raise ValueError(f"expected {size} bytes of values for shape {shape}, got {problem}")
    return np.frombuffer(data, dtype).reshape(shape)


def _read_bounded(file: Any, most: int) -> bytearray:
    """Up to so many bytes, in pieces: the file's content, not its header, decides the memory."""
    data = bytearray()
    while len(data) < most and (piece := file.read(min(most - len(data), 1 << 24))):
        data += piece
    return data
