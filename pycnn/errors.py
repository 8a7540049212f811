# SPDX-License-Identifier: Apache-2.0
"""Exceptions. Each is also the built-in exception a caller would expect.

A message reads "op or layer: what was expected, got what"; the compiled core raises the same
classes.
"""


class ShapeError(ValueError):
    """A rank or an extent does not fit."""


class DTypeError(TypeError):
    """An array of a kind of number (or of something else) that is not accepted."""


class NumericError(ArithmeticError):
    """A loss, gradient or weight became NaN or infinite."""


class ModelFormatError(ValueError):
    """A file is not a well-formed pycnn model."""


class ModelVersionError(ModelFormatError):
    """A model needs a newer pycnn: unknown format version, layer or option."""


class ChecksumError(ModelFormatError):
    """A model file was damaged after it was written."""
