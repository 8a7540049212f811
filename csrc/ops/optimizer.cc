// SPDX-License-Identifier: Apache-2.0
#include "ops/optimizer.h"

#include <algorithm>
#include <cassert>
#include <cmath>

#include "base/shape.h"
#include "kernels/update/update.h"

namespace pycnn {
namespace {

constexpr dim_t kBlock = 4096;  // 16 KB in each of up to four streams

// body(first element, count) over [0, count) in blocks
template <class Body>
void for_blocks(dim_t count, Worker& worker, Body&& body) noexcept {
  worker.parallel_for(ceil_div(count, kBlock), [&](dim_t begin, dim_t end) noexcept {
    const dim_t first = begin * kBlock;
    body(first, std::min(end * kBlock, count) - first);
  });
}

}  // namespace

Sgd make_sgd(dim_t count, float momentum, bool nesterov, float weight_decay, Isa isa) {
  return {count, momentum, weight_decay, nesterov, &update_kernels(isa)};
}

void sgd_update(const Sgd& op, float learning_rate, float* w, const float* g, float* velocity,
                Worker& worker) noexcept {
  assert(w != nullptr && g != nullptr && (velocity != nullptr || op.momentum == 0));
  const SgdStep step{.learning_rate = learning_rate,
                     .momentum = op.momentum,
                     .decay = op.weight_decay * learning_rate};
  if (op.momentum == 0) {
    for_blocks(op.count, worker,
               [&](dim_t i, dim_t count) noexcept { op.kernels->sgd(step, g + i, w + i, count); });
    return;
  }
  const auto update = op.nesterov ? op.kernels->sgd_nesterov : op.kernels->sgd_momentum;
  for_blocks(op.count, worker, [&](dim_t i, dim_t count) noexcept {
    update(step, g + i, w + i, velocity + i, count);
  });
}

Adam make_adam(dim_t count, float beta_1, float beta_2, float epsilon, float weight_decay,
               Isa isa) {
  return {count, beta_1, beta_2, epsilon, weight_decay, &update_kernels(isa)};
}

void adam_update(const Adam& op, float learning_rate, dim_t step, float* w, const float* g,
                 float* m, float* v, Worker& worker) noexcept {
  assert(step >= 1 && w != nullptr && g != nullptr && m != nullptr && v != nullptr);
  const double beta_1 = op.beta_1, beta_2 = op.beta_2, t = static_cast<double>(step);
  const double correction = std::sqrt(1 - std::pow(beta_2, t)) / (1 - std::pow(beta_1, t));
  const AdamStep constants{.alpha = static_cast<float>(learning_rate * correction),
                           .gain_1 = static_cast<float>(1 - beta_1),
                           .gain_2 = static_cast<float>(1 - beta_2),
                           .epsilon = op.epsilon,
                           .decay = op.weight_decay * learning_rate};
  for_blocks(op.count, worker, [&](dim_t i, dim_t count) noexcept {
    op.kernels->adam(constants, g + i, w + i, m + i, v + i, count);
  });
}

void moving_average_update(const MovingAverage& op, float* average, const float* sample,
                           Worker& worker) noexcept {
  assert(average != nullptr && sample != nullptr && average != sample);
  const float gain = static_cast<float>(1 - static_cast<double>(op.momentum));
  for_blocks(op.count, worker, [&](dim_t first, dim_t count) noexcept {
    for (dim_t i = first; i < first + count; ++i) {
      average[i] = average[i] * op.momentum + sample[i] * gain;
    }
  });
}

}  // namespace pycnn
