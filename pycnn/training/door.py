# SPDX-License-Identifier: Apache-2.0
"""Where arrays and calls come in: checked once, so that steps need not look again."""

from __future__ import annotations

import functools
import os
import weakref
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, TypeVar

from numpy.typing import NDArray

from ..engine.tensors import Tensor
from ..errors import ShapeError
from ..ground.arrays import (
    as_float32,
    as_images,
    as_numbers,
    check_shape,
    class_labels,
    dense_labels,
)
from ..ground.text import quoted
from ..losses import Loss

Arrays = list[NDArray[Any]]
P = ParamSpec("P")
R = TypeVar("R")


def inputs(model: str, tensors: Sequence[Tensor], x: Any) -> Arrays:
    """One checked float32 array for each input, all of the same length.

    A model of one input takes the array or, as Keras does, a list of it.
    """
    if len(tensors) == 1:
        x = x if is_listed(x, len(tensors[0].shape)) else (x,)
    elif not isinstance(x, (list, tuple)) or len(x) != len(tensors):
        got = f"{len(x)}" if isinstance(x, (list, tuple)) else f"a {type(x).__name__}"
        raise ValueError(f"{model}: expected a list of {len(tensors)} input arrays, got {got}")
    arrays: Arrays = []
    for tensor, given in zip(tensors, x, strict=True):
        where = f"{model}: input {tensor.layer.name}"
        array = as_images(where, given)
        check_shape(where, array.shape, tensor.shape)
        arrays.append(array)
    if len({len(array) for array in arrays}) != 1:
        raise ValueError(f"{model}: inputs differ in their number of samples")
    return arrays


def is_listed(x: Any, rank: int) -> bool:
    """Whether x is a list of one array of that rank, rather than an array written as a list."""
    return isinstance(x, (list, tuple)) and len(x) == 1 and getattr(x[0], "ndim", None) == rank


def labels(model: str, output: Tensor, loss: Loss, y: Any, samples: int) -> NDArray[Any]:
    """Checked labels of that many samples, at least one, as the loss wants them."""
    where = f"{model}: y"
    if loss.kind == "custom":
        array = _any_labels(where, y, output.shape)
    elif loss.sparse:
        array = class_labels(where, y, output.shape)
    else:
        array = dense_labels(where, y, output.shape, probability=loss.probability)
    if samples != len(array):
        raise ValueError(f"{model}: x has {samples} samples but y has {len(array)}")
    if samples == 0:
        raise ValueError(f"{model}: expected at least one sample, got none")
    return array


def _any_labels(where: str, y: Any, output: Sequence[int | None]) -> NDArray[Any]:
    """Of any shape, as numbers; with the last axis of an output of one column."""
    array: NDArray[Any] = as_float32(where, y)
    if array.ndim == 0:
        raise ShapeError(f"{where}: expected an array of samples, got one number")
    if output[-1:] == (1,) and array.ndim == len(output) - 1:
        array = array[..., None]
    return array


def shape_of(model: str, x: Any) -> tuple[int, ...]:
    """Of the one array that a model is built for, the samples first."""
    if isinstance(x, (list, tuple)) and len(x) == 1 and getattr(x[0], "ndim", 0) > 1:
        x = x[0]  # a list of one array, as of models of several inputs
    shape: tuple[int, ...] = as_numbers(f"{model}: x", x).shape
    if len(shape) < 2:
        raise ShapeError(f"{model}: expected x of shape (N, ...), got {shape}")
    return shape


def pair(given: Any) -> tuple[Any, Any]:
    """The x and y of validation_data."""
    if isinstance(given, (list, tuple)) and len(given) == 2:
        return given[0], given[1]
    got = quoted(given)
    if isinstance(given, (list, tuple)):
        got = f"a {type(given).__name__} of {len(given)}"
        got += "; weights of samples are not supported" if len(given) == 3 else ""
    raise ValueError(f"fit: validation_data must be (x, y), got {got}")


def split(arrays: Arrays, share: float) -> tuple[Arrays, Arrays | None]:
    """The samples without the last `share` of them, and these; nothing where the share is 0."""
    if share == 0:
        return arrays, None
    samples = len(arrays[0])
    kept = int(samples * (1 - share))
    if not 0 < kept < samples:
        raise ValueError(f"fit: validation_split {share} leaves a part of {samples} empty")
    return [array[:kept] for array in arrays], [array[kept:] for array in arrays]


class _Token:
    """Of a call that runs. It ends with the call, whatever line an interrupt comes between."""

    ended = False

    def is_first(self, running: list[weakref.ref[_Token]]) -> bool:
        """Whether nobody came earlier who still runs."""
        running.append(weakref.ref(self, running.remove))
        tokens = (ref() for ref in list(running))
        return next(t for t in tokens if t is not None and not t.ended) is self


def one_at_a_time(fit: Callable[P, R]) -> Callable[P, R]:
    """A method that a model runs once at a time, whatever the thread; a fork begins afresh."""

    @functools.wraps(fit)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        model: Any = args[0]
        token = _Token()
        try:
            if not token.is_first(model.fitting.setdefault(os.getpid(), [])):
                raise RuntimeError(f"{model.name}: fit is running already")
            return fit(*args, **kwargs)
        finally:
            token.ended = True

    return call
