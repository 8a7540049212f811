// SPDX-License-Identifier: Apache-2.0
// What a kernel does to its sums before it stores them; for brgemm and depthwise.
#pragma once

#include "base/types.h"

namespace pycnn {

// In this order, each where given: + bias[j], + residual, activation, zero where gate <= 0.
// residual and gate lie like C (same ldc). act is linear, relu or relu6.
struct Epilogue {
  const float* bias = nullptr;
  const float* residual = nullptr;
  const float* gate = nullptr;
  float gate_ceiling = 0;  // > 0: also zero where gate >= it (relu6)
  ActivationKind act = ActivationKind::linear;
};

}  // namespace pycnn
