// SPDX-License-Identifier: Apache-2.0
// Loops over runs of floats in whole vectors, the last one masked. A body takes (offset, mask...):
// the mask is absent for whole vectors, so V::load(p + i, mask...) is the plain load there.
#pragma once

#include <cassert>
#include <cstdint>

#include "simd/vec.h"

namespace pycnn {
namespace {

template <class V, class Body>
[[gnu::always_inline]] inline void for_vectors(dim_t count, Body&& body) {
  assert(count >= 0);
  dim_t i = 0;
  for (; i + V::lanes <= count; i += V::lanes) body(i);
  if (i < count) body(i, V::tail_mask(count - i));
}

// Does writing y[0 ... count) change no x[0 ... count) that is still to be read?
inline bool same_or_apart(const float* y, const float* x, dim_t count) {
  const auto to = reinterpret_cast<std::uintptr_t>(y), from = reinterpret_cast<std::uintptr_t>(x);
  const std::uintptr_t bytes = static_cast<std::uintptr_t>(count) * sizeof(float);
  return to == from || to + bytes <= from || from + bytes <= to;
}

// y[i] = f(x[i]...); y may be one of the x.
template <class V, class F, class... P>
[[gnu::always_inline]] inline void map(F f, dim_t count, float* y, const P*... x) {
  assert((same_or_apart(y, x, count) && ...));
  for_vectors<V>(count, [&](dim_t i, auto... mask) __attribute__((always_inline)) {
    f(V::load(x + i, mask...)...).store(y + i, mask...);
  });
}

// v, with `neutral` in the lanes the mask leaves out.
template <class V>
inline V keep(V v, V) {
  return v;
}
template <class V>
inline V keep(V v, V neutral, typename V::Mask mask) {
  return select(mask, v, neutral);
}

// Rows of fewer channels than this are taken several at a time, as many as give `vectors` or more
// whole vectors: then vectors span pixels and only the last one of a run is masked.
constexpr dim_t kFewChannels = 32;

template <class V>
constexpr dim_t column_period(dim_t C, dim_t vectors) {
  dim_t period = C;
  while (C < kFewChannels && period % V::lanes != 0) period += C;
  const dim_t whole = period;
  while (period % V::lanes == 0 && period < vectors * V::lanes) period += whole;
  return period;
}

// K coefficients per channel, for x[rows][C].
template <class V, int K>
class Columns {
 public:
  Columns(dim_t C, const float* const (&coefficients)[K]) : C_(C), period_(column_period<V>(C, 4)) {
    assert(C >= 1);
    for (int k = 0; k < K; ++k) {
      source_[k] = coefficients[k];
      if (period_ == C) continue;
      for (dim_t i = 0; i < period_; i += C) {
        for (dim_t c = 0; c < C; ++c) pattern_[k][i + c] = coefficients[k][c];
      }
      source_[k] = pattern_[k];
    }
  }
  Columns(const Columns&) = delete;
  Columns& operator=(const Columns&) = delete;

  template <class... Mask>
  V load(int k, dim_t c, Mask... mask) const {
    return V::load(source_[k] + c, mask...);
  }

  // body(offset in x, offset for load, mask...)
  template <class Body>
  [[gnu::always_inline]] void for_each(dim_t rows, Body&& body) const {
    assert(rows >= 0);
    const dim_t total = rows * C_;
    for (dim_t i = 0; i < total; i += period_) {
      const dim_t width = total - i < period_ ? total - i : period_;
      for_vectors<V>(width, [&](dim_t c, auto... mask)
                                __attribute__((always_inline)) { body(i + c, c, mask...); });
    }
  }

 private:
  const dim_t C_, period_;
  const float* source_[K];
  float pattern_[K][kFewChannels * V::lanes];
};

}  // namespace
}  // namespace pycnn
