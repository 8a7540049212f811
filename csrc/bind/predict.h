/* SPDX-License-Identifier: Apache-2.0
 * What _core lends to the Cython predictor, in a capsule: one plan and the call that runs it. */
#pragma once

#include <stddef.h>

typedef struct {
  void* plan;
  size_t input_floats, output_floats; /* of the whole batch */
  /* Returns 0, or 1 where it failed. Runs without the Python interpreter; any thread, one run at a
   * time (it waits). */
  int (*run)(void* plan, const float* x, float* y);
} pycnn_predict;

#define PYCNN_PREDICT_CAPSULE "pycnn.predict"
