# SPDX-License-Identifier: Apache-2.0
"""The door for data: everything becomes a C-contiguous float32 (or int32) array once, or an error.

Integers and uint8 images are cast, never scaled. An array that already fits is not copied.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DTypeError, ShapeError

DEFAULT_BATCH = 32
Extents = Sequence[int | None]


def as_float32(where: str, values: Any) -> NDArray[np.float32]:
    """values as a C-contiguous float32 array; itself where it is one."""
    if type(values) is np.ndarray and values.dtype == np.float32 and values.flags.c_contiguous:
        return values
    array = as_numbers(where, values)
    try:
        with np.errstate(over="raise", under="ignore", invalid="ignore"):
            return np.ascontiguousarray(array, np.float32).reshape(array.shape)
    except FloatingPointError:
        raise ValueError(f"{where}: a value is beyond the range of float32") from None


def as_images(where: str, values: Any) -> NDArray[Any]:
    """As as_float32(); but bytes stay bytes, a quarter as large: the core casts them row by row."""
    if type(values) is np.ndarray and values.dtype == np.uint8:
        return np.ascontiguousarray(values).reshape(values.shape)
    return as_float32(where, values)


def as_numbers(where: str, values: Any) -> NDArray[Any]:
    """values as an array of real numbers of any type; other types are refused unread."""
    if isinstance(values, np.ma.MaskedArray):
        raise DTypeError(f"{where}: expected a plain array, got a masked one; use .filled()")
    try:
        array = np.asarray(values)
    except ValueError as error:
        got = f"a {type(values).__name__}"
        if isinstance(values, (list, tuple)):
            got = "nested lists of unequal lengths"
        raise ValueError(f"{where}: expected an array, got {got}") from error
    if array.dtype.kind not in "fiub":
        got = f"dtype {array.dtype}; convert with .astype('f4')"
        if values is None:
            got = "None: it is missing"
        elif array.ndim == 0 and not hasattr(values, "dtype"):  # to NumPy one object
            got = f"{type(values).__name__}; pass an array"
        raise DTypeError(f"{where}: expected real numbers, got {got}")
    return array


def check_shape(where: str, shape: Sequence[int], expected: Extents) -> None:
    """Refuses a shape that differs; None in `expected` stands for any extent."""
    fits = len(shape) == len(expected) and all(
        want is None or got == want for got, want in zip(shape, expected, strict=True)
    )
    if fits:
        return
    text = ", ".join("N" if extent is None else str(extent) for extent in expected)
    hint = _axis_hint(tuple(shape), tuple(expected))
    raise ShapeError(f"{where}: expected shape ({text}), got {tuple(shape)}{hint}")


def _axis_hint(shape: tuple[int, ...], expected: tuple[int | None, ...]) -> str:
    """What would make the shape fit, where that is plain."""
    sample = expected[1:]
    if shape == sample:
        return "; one sample needs a batch axis: x[None]"
    if sample and sample[-1] == 1:
        if shape[1:] == sample[:-1]:
            return "; add the channel axis with x[..., None]"
        if len(sample) > 1 and shape == sample[:-1]:
            return "; add the batch and the channel axis with x[None, ..., None]"
    if len(sample) == 3 and shape[1:] == (sample[2], *sample[:2]):
        return "; images are NHWC: x.transpose(0, 2, 3, 1)"
    return ""


def _first(bad: NDArray[np.bool_]) -> tuple[int, ...]:
    return tuple(int(i) for i in np.argwhere(bad)[0])


def class_labels(where: str, values: Any, output: Extents) -> NDArray[np.int32]:
    """Class numbers for outputs of shape (N, ..., K): shape (N, ...) or (N, ..., 1), 0 .. K-1."""
    array = as_numbers(where, values)
    if array.ndim == len(output) and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim == len(output) and array.shape[-1] == output[-1]:
        raise ShapeError(
            f"{where}: expected class numbers, got shape {array.shape}; "
            "one-hot labels go with categorical_crossentropy"
        )
    check_shape(where, array.shape, output[:-1])
    classes = output[-1] or 0
    if array.dtype in (np.int32, np.int64):  # the usual: what is below 0 is large without its sign
        bad = array.view(f"u{array.itemsize}") >= classes
    else:
        bad = ~((array >= 0) & (array < classes))
    if array.dtype.kind == "f":
        bad |= array != np.floor(array)
    if np.count_nonzero(bad):  # any() costs more, of a small batch
        index = _first(bad)
        raise ValueError(
            f"{where}: labels must be integers in 0..{classes - 1}, "
            f"got {array[index]} at index {index[0] if len(index) == 1 else index}"
        )
    return np.ascontiguousarray(array, np.int32)


def dense_labels(
    where: str, values: Any, output: Extents, *, probability: bool
) -> NDArray[np.float32]:
    """One value an output; (N,) is taken for (N, 1). Probabilities must lie in [0, 1]."""
    array = as_float32(where, values)
    if output[-1] == 1 and array.ndim == len(output) - 1:
        array = array.reshape(*array.shape, 1)
    if array.ndim == 1 and len(output) == 2:
        raise ShapeError(
            f"{where}: expected one value an output ({output[-1]}), got shape {array.shape}; "
            "class numbers go with sparse_categorical_crossentropy"
        )
    check_shape(where, array.shape, output)
    bad = ~((array >= 0) & (array <= 1)) if probability else ~np.isfinite(array)
    if np.count_nonzero(bad):  # any() costs more, of a small batch
        index = _first(bad)
        raise ValueError(
            f"{where}: labels must be {'in [0, 1]' if probability else 'finite'}, "
            f"got {array[index]} at index {index[0] if array.shape[-1] == 1 else index}"
        )
    return array


def checked_batch(batch_size: int | None) -> int:
    if batch_size is None:
        return DEFAULT_BATCH
    if isinstance(batch_size, bool) or not isinstance(batch_size, (int, np.integer)):
        raise TypeError(f"batch_size must be an integer, got {batch_size!r}")
    if batch_size < 1:
        raise ValueError(f"batch_size must be >= 1, got {batch_size!r}")
    return int(batch_size)
