# SPDX-License-Identifier: Apache-2.0
# cython: language_level=3, boundscheck=False, wraparound=False
"""The shortest way from an array to a prediction: checks of shape and type, no GIL."""

from cpython.buffer cimport PyBUF_C_CONTIGUOUS, PyBUF_FORMAT, PyBuffer_Release, PyObject_GetBuffer
from cpython.pycapsule cimport PyCapsule_GetPointer

import numpy as np

from .ground.arrays import check_shape, checked_batch
from .errors import DTypeError


cdef extern from "bind/predict.h":
    ctypedef struct pycnn_predict:
        void* plan
        size_t input_floats
        size_t output_floats
        int (*run)(void* plan, const float* x, float* y) noexcept nogil
        const char* (*message)() noexcept nogil
    const char* PYCNN_PREDICT_CAPSULE


cdef extern from *:
    """
    static PyObject* pycnn_raised(void) { return NULL; }
    """
    object pycnn_raised()  # raises what is set


cdef class Predictor:
    """Predicts one batch of fixed size with a trained model.

    Args:
        model: a built model with one input and one output.
        batch: samples a call, >= 1.

    Shape: x (batch, ...) float32 C-contiguous -> (batch, outputs...) float32.

    Example:
        >>> predict = pycnn.Predictor(model)
        >>> probabilities = predict(image[None])
    """

    cdef object _keep, _shape
    cdef tuple _input_shape
    cdef pycnn_predict* _plan

    def __cinit__(self, model, batch=1):
        batch = checked_batch(batch)
        plan, shape = model.prediction_plan(batch)
        self._keep = plan.capsule()
        self._shape = (batch, *shape)
        self._input_shape = (batch, *model.input_shape[1:])
        self._plan = <pycnn_predict*>PyCapsule_GetPointer(self._keep, PYCNN_PREDICT_CAPSULE)

    cpdef void into(self, const float[::1] x, float[::1] y) except *:
        """Predicts from flat x into flat y, both contiguous and of the batch's size."""
        cdef int failed
        if x is None or y is None:
            raise TypeError("predictor: x and y must be arrays, got None")
        if <size_t>x.shape[0] != self._plan.input_floats:
            raise ValueError(
                f"predictor: x must hold {self._plan.input_floats} floats, got {x.shape[0]}"
            )
        if <size_t>y.shape[0] != self._plan.output_floats:
            raise ValueError(
                f"predictor: y must hold {self._plan.output_floats} floats, got {y.shape[0]}"
            )
        with nogil:
            failed = self._plan.run(self._plan.plan, &x[0], &y[0])
        if failed:
            self._fail(failed)

    def __call__(self, x):
        cdef Py_buffer buffer
        cdef float[::1] y
        cdef int failed
        if type(x) is not np.ndarray and isinstance(x, np.ma.MaskedArray):
            raise DTypeError("predictor: x must be a plain array, got a masked one; use .filled()")
        result = np.empty(self._shape, np.float32)
        y = result.reshape(-1)
        try:
            PyObject_GetBuffer(x, &buffer, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT)
        except TypeError:
            raise TypeError(f"predictor: x must be an array, got {type(x).__name__}") from None
        except (ValueError, BufferError) as error:
            raise ValueError(
                f"predictor: x must be a C-contiguous float32 array: {error}"
            ) from None
        try:
            self._check(&buffer)
            with nogil:
                failed = self._plan.run(self._plan.plan, <const float*>buffer.buf, &y[0])
        finally:
            PyBuffer_Release(&buffer)
        if failed:
            self._fail(failed)
        return result

    cdef int _fail(self, int failed) except -1:
        """Raises what stopped the run."""
        if failed == 2:
            pycnn_raised()
        raise RuntimeError(f"predictor: {self._plan.message().decode()}")

    cdef int _check(self, Py_buffer* x) except -1:
        """Refuses what is not a float32 array of exactly the input's shape."""
        cdef Py_ssize_t i
        cdef bint fits = x.ndim == len(self._input_shape)
        if x.format == NULL or x.format[0] != b"f" or x.format[1] != 0:
            raise DTypeError("predictor: x must be a float32 array; convert with .astype('f4')")
        for i in range(x.ndim if fits else 0):
            fits = fits and x.shape[i] == <Py_ssize_t>self._input_shape[i]
        if not fits:
            shape = tuple([x.shape[i] for i in range(x.ndim)])
            check_shape("predictor: x", shape, self._input_shape)
        return 0
