# SPDX-License-Identifier: Apache-2.0
# cython: language_level=3, boundscheck=False, wraparound=False
"""The shortest way from an array to a prediction: no checks but the size, no GIL, no allocation."""

from cpython.pycapsule cimport PyCapsule_GetPointer

import numpy as np


cdef extern from "bind/predict.h":
    ctypedef struct pycnn_predict:
        void* plan
        size_t input_floats
        size_t output_floats
        int (*run)(void* plan, const float* x, float* y) noexcept nogil
    const char* PYCNN_PREDICT_CAPSULE


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
    cdef pycnn_predict* _plan

    def __cinit__(self, model, int batch=1):
        plan, shape = model.prediction_plan(batch)
        self._keep = plan.capsule()
        self._shape = (batch, *shape)
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
            raise RuntimeError("predictor: the run failed")

    def __call__(self, x):
        y = np.empty(self._shape, np.float32)
        self.into(x.reshape(-1), y.reshape(-1))
        return y
