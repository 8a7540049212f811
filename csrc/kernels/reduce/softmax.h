// SPDX-License-Identifier: Apache-2.0
// Softmax over rows. An inactive lane of a masked vector counts as -Inf for max and 0 for sums.
#pragma once

#include "kernels/reduce/reduce.h"
#include "simd/loops.h"
#include "simd/math.h"

namespace pycnn {
namespace {

template <class V>
inline float row_max(const float* x, dim_t classes) {
  assert(classes >= 1);
  V top = V::set1(-kInfinity);
  for_vectors<V>(classes, [&](dim_t i, auto... mask) __attribute__((always_inline)) {
    top = max(top, keep(V::load(x + i, mask...), V::set1(-kInfinity), mask...));
  });
  return reduce_max(top);
}

constexpr dim_t kSumVectors = 64;  // added in single: a term is rounded 70 times at most

// The sum of body(i, mask...) over a row: pieces of it in single, and those in double.
template <class V, class Body>
[[gnu::always_inline]] inline float row_sum(dim_t classes, Body&& body) {
  assert(classes >= 1);
  constexpr dim_t kPiece = kSumVectors * V::lanes;
  double total = 0;
  for (dim_t first = 0; first < classes; first += kPiece) {
    V sum = V::zero();
    const dim_t count = classes - first < kPiece ? classes - first : kPiece;
    for_vectors<V>(count, [&](dim_t i, auto... mask) __attribute__((always_inline)) {
      sum = sum + keep(body(first + i, mask...), V::zero(), mask...);
    });
    total += static_cast<double>(reduce_add(sum));
  }
  return static_cast<float>(total);
}

template <class V>
inline float row_sum(const float* x, dim_t classes) {
  return row_sum<V>(classes, [x](dim_t i, auto... mask) __attribute__((always_inline)) {
    return V::load(x + i, mask...);
  });
}

// y = exp(x - max(x)), returns its sum.
template <class V>
inline float row_exp(const float* x, float* y, dim_t classes) {
  const V top = V::set1(row_max<V>(x, classes));
  return row_sum<V>(classes, [&](dim_t i, auto... mask) __attribute__((always_inline)) {
    const V e = exp(V::load(x + i, mask...) - top);
    e.store(y + i, mask...);
    return e;
  });
}

template <class V>
void softmax(const float* x, float* y, dim_t rows, dim_t classes) noexcept {
  for (dim_t row = 0; row < rows; ++row, x += classes, y += classes) {
    const V sum = V::set1(row_exp<V>(x, y, classes));
    map<V>([sum](V e) { return e / sum; }, classes, y, y);
  }
}

template <class V>
void softmax_gradient(const float* y, const float* dy, float* dx, dim_t rows,
                      dim_t classes) noexcept {
  for (dim_t row = 0; row < rows; ++row, y += classes, dy += classes, dx += classes) {
    const auto product = [&](dim_t i, auto... mask) __attribute__((always_inline)) {
      return V::load(y + i, mask...) * V::load(dy + i, mask...);
    };
    const V shift = V::set1(row_sum<V>(classes, product));
    map<V>([shift](V u, V g) { return u * (g - shift); }, classes, dx, y, dy);
  }
}

}  // namespace
}  // namespace pycnn
