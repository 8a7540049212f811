// SPDX-License-Identifier: Apache-2.0
// Optimizers and moving averages: elementwise updates of parameters, formulas as in Keras 3.
// SPMD functions, see ops/elementwise.h.
#pragma once

#include "base/arch.h"
#include "base/parallel.h"
#include "base/types.h"

namespace pycnn {

struct UpdateKernels;

struct Sgd {
  dim_t count = 0;
  float momentum = 0, weight_decay = 0;
  bool nesterov = false;
  const UpdateKernels* kernels = nullptr;
};
Sgd make_sgd(dim_t count, float momentum, bool nesterov, float weight_decay, Isa isa);

// w -= w*weight_decay*lr; velocity = momentum*velocity - lr*g;
// w += nesterov ? momentum*velocity - lr*g : velocity. velocity may be null where momentum is 0.
void sgd_update(const Sgd& op, float learning_rate, float* w, const float* g, float* velocity,
                Worker& worker) noexcept;

struct Adam {
  dim_t count = 0;
  float beta_1 = 0.9f, beta_2 = 0.999f, epsilon = 1e-7f, weight_decay = 0;
  const UpdateKernels* kernels = nullptr;
};
Adam make_adam(dim_t count, float beta_1, float beta_2, float epsilon, float weight_decay, Isa isa);

// m += (g-m)*(1-beta_1); v += (g*g-v)*(1-beta_2); w -= alpha*m/(sqrt(v)+epsilon) with
// alpha = lr*sqrt(1-beta_2^step)/(1-beta_1^step), step counted from 1 (computed in double once)
void adam_update(const Adam& op, float learning_rate, dim_t step, float* w, const float* g,
                 float* m, float* v, Worker& worker) noexcept;

double adam_alpha(const Adam& op, float learning_rate, dim_t step) noexcept;

// Whether the update would write finite numbers only; writes none. On the calling thread alone.
bool sgd_stays_finite(const Sgd& op, float learning_rate, const float* w, const float* g,
                      const float* velocity) noexcept;
bool adam_stays_finite(const Adam& op, float learning_rate, dim_t step, const float* w,
                       const float* g, const float* m, const float* v) noexcept;
float largest_magnitude(const float* x, dim_t count, Isa isa) noexcept;  // NaN if any is NaN

void copy_floats(const float* from, float* to, dim_t count, Worker& worker) noexcept;

struct MovingAverage {
  dim_t count = 0;
  float momentum = 0.99f;
};
// average = average*momentum + sample*(1-momentum)
void moving_average_update(const MovingAverage& op, float* average, const float* sample,
                           Worker& worker) noexcept;

}  // namespace pycnn
