// SPDX-License-Identifier: Apache-2.0
// Batch normalisation over rows of C channels; sums as in ops/reduce.h.
#pragma once

#include "ops/reduce.h"

namespace pycnn {

struct BatchNorm {
  RowReduction reduction;
  float epsilon = 1e-3f;
};
BatchNorm make_batch_norm(dim_t rows, dim_t C, float epsilon, Isa isa);

// mean, var (biased) over rows; y = gamma*(x-mean)/sqrt(var+epsilon) + beta. The variance comes
// from squared deviations (per-chunk mean and sum of squares, combined in double by Chan's
// formula). An absent gamma is 1, an absent beta or mean 0.
void batch_norm_training_forward(const BatchNorm& op, const float* x, const float* gamma,
                                 const float* beta, float* y, float* mean, float* var,
                                 float* workspace, Worker& worker) noexcept;
// With mean and var given.
void batch_norm_inference_forward(const BatchNorm& op, const float* x, const float* gamma,
                                  const float* beta, const float* mean, const float* var, float* y,
                                  float* workspace, Worker& worker) noexcept;
// dx may be dy's memory
void batch_norm_backward(const BatchNorm& op, const float* x, const float* gamma, const float* mean,
                         const float* var, const float* dy, float* dx, float* dgamma, float* dbeta,
                         float* workspace, Worker& worker) noexcept;

}  // namespace pycnn
