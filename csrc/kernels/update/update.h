// SPDX-License-Identifier: Apache-2.0
// Optimizer updates over contiguous runs, w in place. decay = weight_decay * learning_rate.
//   sgd            w -= w*decay; w -= lr*g
//   sgd_momentum   w -= w*decay; velocity = momentum*velocity - lr*g; w += velocity
//   sgd_nesterov   the same, then w += momentum*velocity - lr*g instead of velocity
//   adam           w -= w*decay; m += (g-m)*(1-beta_1); v += (g*g-v)*(1-beta_2);
//                  w -= alpha*m / (sqrt(v)+epsilon)
#pragma once

#include "base/types.h"

namespace pycnn {

enum class Isa : int;

struct SgdStep {
  float learning_rate = 0, momentum = 0, decay = 0;
};

struct AdamStep {
  float alpha = 0, gain_1 = 0, gain_2 = 0;  // gain = 1 - beta
  float epsilon = 0, decay = 0;
};

struct UpdateKernels {
  using Momentum = void (*)(const SgdStep& step, const float* g, float* w, float* velocity,
                            dim_t count) noexcept;
  void (*sgd)(const SgdStep& step, const float* g, float* w, dim_t count) noexcept;
  Momentum sgd_momentum, sgd_nesterov;
  void (*adam)(const AdamStep& step, const float* g, float* w, float* m, float* v,
               dim_t count) noexcept;
};

extern const UpdateKernels update_scalar, update_avx2, update_avx512;

const UpdateKernels& update_kernels(Isa isa);

}  // namespace pycnn
