// SPDX-License-Identifier: Apache-2.0
// The eltwise kernels for any vector type V; one instantiation per ISA file.
#pragma once

#include "kernels/eltwise/activations.h"
#include "kernels/eltwise/eltwise.h"
#include "kernels/philox.h"
#include "simd/loops.h"

namespace pycnn {
namespace {

template <class V>
void add(const float* a, const float* b, float* y, dim_t count) noexcept {
  map<V>([](V u, V v) { return u + v; }, count, y, a, b);
}

template <class V>
void copy_rows(const float* x, dim_t x_pitch, float* y, dim_t y_pitch, dim_t rows,
               dim_t count) noexcept {
  assert(rows <= 1 || y_pitch >= count);  // a pitch of x may be 0
  for (dim_t row = 0; row < rows; ++row, x += x_pitch, y += y_pitch) {
    map<V>([](V v) { return v; }, count, y, x);
  }
}

template <class V>
void add_rows(const float* x, dim_t x_pitch, float* y, dim_t y_pitch, dim_t rows,
              dim_t count) noexcept {
  assert(rows <= 1 || y_pitch >= count);  // a pitch of x may be 0
  for (dim_t row = 0; row < rows; ++row, x += x_pitch, y += y_pitch) add<V>(y, x, y, count);
}

template <class V, template <class> class F>
void activation(const float* x, float* y, dim_t count, float alpha) noexcept {
  map<V>(F<V>(alpha), count, y, x);
}

template <class V, template <class> class F>
void activation_gradient(const float* y, const float* dy, float* dx, dim_t count,
                         float alpha) noexcept {
  const F<V> f(alpha);
  map<V>([f](V u, V v) { return f.gradient(u, v); }, count, dx, y, dy);
}

template <class V>
void dropout(const DropoutKey& key, dim_t first, const float* x, float* y, dim_t count) noexcept {
  assert(first >= 0 && first % kDropoutAlign == 0 && same_or_apart(y, x, count));
  static_assert(kDropoutAlign % (4 * V::lanes) == 0);
  const V rate = V::set1(key.rate), keep = V::set1(1.0f - key.rate);
  for (dim_t i = 0; i < count; i += 4 * V::lanes) {
    typename V::Bits word[4];
    philox<V>(key.seed, key.stream, key.step, static_cast<std::uint64_t>(first + i) / 4, word);
    const auto drop = [&](int j, auto... mask) __attribute__((always_inline)) {
      const dim_t at = i + j * V::lanes;
      const V u = to_uniform<V>(word[j]);
      const V kept = V::load(x + at, mask...) / keep;
      select(le(rate, u), kept, V::zero()).store(y + at, mask...);
    };
    if (i + 4 * V::lanes <= count) {
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) drop(j);
    } else {
      for (int j = 0; j < 4; ++j) drop(j, V::tail_mask(count - i - j * V::lanes));
    }
  }
}

template <class V, template <class> class... Functions>
constexpr EltwiseKernels make_kernels(FunctionList<Functions...>) {
  static_assert(sizeof...(Functions) == kActivationKinds);
  return {
      .add = add<V>,
      .copy_rows = copy_rows<V>,
      .add_rows = add_rows<V>,
      .activation = {activation<V, Functions>...},
      .activation_gradient = {activation_gradient<V, Functions>...},
      .dropout = dropout<V>,
  };
}
template <class V>
constexpr EltwiseKernels make_eltwise_kernels() {
  return make_kernels<V>(Activations());
}

}  // namespace
}  // namespace pycnn
