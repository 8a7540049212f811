// SPDX-License-Identifier: Apache-2.0
#include "ops/update.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <initializer_list>

#include "base/shape.h"
#include "kernels/reduce/reduce.h"
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

SgdStep constants(const Sgd& op, float learning_rate) noexcept {
  return {.learning_rate = learning_rate,
          .momentum = op.momentum,
          .decay = op.weight_decay * learning_rate};
}

AdamStep constants(const Adam& op, float learning_rate, dim_t step) noexcept {
  return {.alpha = static_cast<float>(adam_alpha(op, learning_rate, step)),
          .gain_1 = static_cast<float>(1 - double{op.beta_1}),
          .gain_2 = static_cast<float>(1 - double{op.beta_2}),
          .epsilon = op.epsilon,
          .decay = op.weight_decay * learning_rate};
}

void update(const Sgd& op, const SgdStep& step, const float* g, float* w, float* velocity,
            dim_t count) noexcept {
  if (op.momentum == 0) return op.kernels->sgd(step, g, w, count);
  (op.nesterov ? op.kernels->sgd_nesterov : op.kernels->sgd_momentum)(step, g, w, velocity, count);
}

// Copies of a stretch of up to three arrays, for an update that must not be seen.
constexpr dim_t kCopied = 512;
struct Copies {
  float of[3][kCopied] = {};

  void take(std::initializer_list<const float*> arrays, dim_t first, dim_t count) noexcept {
    float (*copy)[kCopied] = of;
    for (const float* array : arrays) {
      if (array != nullptr) std::copy_n(array + first, count, *copy);
      ++copy;
    }
  }
  bool finite(dim_t count) const noexcept {
    return std::ranges::all_of(of, [count](const float (&copy)[kCopied]) {
      return std::all_of(copy, copy + count, [](float x) { return std::isfinite(x); });
    });
  }
};

}  // namespace

Sgd make_sgd(dim_t count, float momentum, bool nesterov, float weight_decay, Isa isa) {
  return {count, momentum, weight_decay, nesterov, &update_kernels(isa)};
}

void sgd_update(const Sgd& op, float learning_rate, float* w, const float* g, float* velocity,
                Worker& worker) noexcept {
  assert(w != nullptr && g != nullptr && (velocity != nullptr || op.momentum == 0));
  const SgdStep step = constants(op, learning_rate);
  for_blocks(op.count, worker, [&](dim_t i, dim_t count) noexcept {
    update(op, step, g + i, w + i, velocity ? velocity + i : nullptr, count);
  });
}

bool sgd_stays_finite(const Sgd& op, float learning_rate, const float* w, const float* g,
                      const float* velocity) noexcept {
  assert(w != nullptr && g != nullptr && (velocity != nullptr || op.momentum == 0));
  const SgdStep step = constants(op, learning_rate);
  Copies copies;
  for (dim_t i = 0; i < op.count; i += kCopied) {
    const dim_t count = std::min(kCopied, op.count - i);
    copies.take({w, velocity}, i, count);
    update(op, step, g + i, copies.of[0], copies.of[1], count);
    if (!copies.finite(count)) return false;
  }
  return true;
}

Adam make_adam(dim_t count, float beta_1, float beta_2, float epsilon, float weight_decay,
               Isa isa) {
  return {count, beta_1, beta_2, epsilon, weight_decay, &update_kernels(isa)};
}

double adam_alpha(const Adam& op, float learning_rate, dim_t step) noexcept {
  const double t = static_cast<double>(step);
  return learning_rate * (std::sqrt(1 - std::pow(op.beta_2, t)) / (1 - std::pow(op.beta_1, t)));
}

void adam_update(const Adam& op, float learning_rate, dim_t step, float* w, const float* g,
                 float* m, float* v, Worker& worker) noexcept {
  assert(step >= 1 && w != nullptr && g != nullptr && m != nullptr && v != nullptr);
  const AdamStep now = constants(op, learning_rate, step);
  for_blocks(op.count, worker, [&](dim_t i, dim_t count) noexcept {
    op.kernels->adam(now, g + i, w + i, m + i, v + i, count);
  });
}

bool adam_stays_finite(const Adam& op, float learning_rate, dim_t step, const float* w,
                       const float* g, const float* m, const float* v) noexcept {
  assert(step >= 1 && w != nullptr && g != nullptr && m != nullptr && v != nullptr);
  const AdamStep now = constants(op, learning_rate, step);
  Copies copies;
  for (dim_t i = 0; i < op.count; i += kCopied) {
    const dim_t count = std::min(kCopied, op.count - i);
    copies.take({w, m, v}, i, count);
    op.kernels->adam(now, g + i, copies.of[0], copies.of[1], copies.of[2], count);
    if (!copies.finite(count)) return false;
  }
  return true;
}

float largest_magnitude(const float* x, dim_t count, Isa isa) noexcept {
  return reduce_kernels(isa).max_abs(x, count);
}

void copy_floats(const float* from, float* to, dim_t count, Worker& worker) noexcept {
  for_blocks(count, worker,
             [&](dim_t first, dim_t n) noexcept { std::copy_n(from + first, n, to + first); });
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
