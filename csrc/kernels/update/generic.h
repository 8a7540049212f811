// SPDX-License-Identifier: Apache-2.0
// The update kernels for any vector type V; one instantiation per ISA file.
#pragma once

#include "kernels/update/update.h"
#include "simd/loops.h"

namespace pycnn {
namespace {

template <class V>
void sgd(const SgdStep& step, const float* g, float* w, dim_t count) noexcept {
  const V rate = V::set1(step.learning_rate), decay = V::set1(step.decay);
  map<V>([=](V u, V v) { return (u - u * decay) - rate * v; }, count, w, w, g);
}

enum class Momentum { plain, nesterov };

template <class V, Momentum kMomentum>
void sgd_momentum(const SgdStep& step, const float* g, float* w, float* velocity,
                  dim_t count) noexcept {
  const V rate = V::set1(step.learning_rate), momentum = V::set1(step.momentum);
  const V decay = V::set1(step.decay);
  assert(same_or_apart(w, velocity, count) && w != velocity);
  for_vectors<V>(count, [&](dim_t i, auto... mask) __attribute__((always_inline)) {
    const V descent = rate * V::load(g + i, mask...), old = V::load(w + i, mask...);
    const V speed = momentum * V::load(velocity + i, mask...) - descent;
    const V move = kMomentum == Momentum::nesterov ? momentum * speed - descent : speed;
    speed.store(velocity + i, mask...);
    ((old - old * decay) + move).store(w + i, mask...);
  });
}

template <class V>
void adam(const AdamStep& step, const float* g, float* w, float* m, float* v,
          dim_t count) noexcept {
  assert(same_or_apart(m, v, count) && m != v && w != m && w != v);
  const V alpha = V::set1(step.alpha), epsilon = V::set1(step.epsilon);
  const V gain_1 = V::set1(step.gain_1), gain_2 = V::set1(step.gain_2);
  const V decay = V::set1(step.decay);
  for_vectors<V>(count, [&](dim_t i, auto... mask) __attribute__((always_inline)) {
    const V slope = V::load(g + i, mask...), old = V::load(w + i, mask...);
    V first = V::load(m + i, mask...), second = V::load(v + i, mask...);
    first = fma(slope - first, gain_1, first);
    second = fma(slope * slope - second, gain_2, second);
    first.store(m + i, mask...);
    second.store(v + i, mask...);
    const V move = alpha * first / (sqrt(second) + epsilon);
    ((old - old * decay) - move).store(w + i, mask...);
  });
}

template <class V>
constexpr UpdateKernels make_update_kernels() {
  return {.sgd = sgd<V>,
          .sgd_momentum = sgd_momentum<V, Momentum::plain>,
          .sgd_nesterov = sgd_momentum<V, Momentum::nesterov>,
          .adam = adam<V>};
}

}  // namespace
}  // namespace pycnn
