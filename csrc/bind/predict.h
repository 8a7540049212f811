/* SPDX-License-Identifier: Apache-2.0
 * What _core lends to the Cython predictor, in a capsule: one plan and the call that runs it. */
#pragma once

#include <stddef.h>

typedef struct {
  void* plan;
  size_t input_floats, output_floats; /* of the whole batch */
  /* Returns 0; 1 where it failed, and message() says why; 2 where a signal handler raised, and the
   * exception is set. To be called without Python's lock; any thread, one run at a time (it
   * waits). */
  int (*run)(void* plan, const float* x, float* y);
  const char* (*message)(void);
} pycnn_predict;

#define PYCNN_PREDICT_CAPSULE "pycnn.predict"
