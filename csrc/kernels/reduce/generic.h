// SPDX-License-Identifier: Apache-2.0
// The reduce kernels for any vector type V; one instantiation per ISA file.
#pragma once

#include "kernels/reduce/columns.h"
#include "kernels/reduce/dots.h"
#include "kernels/reduce/loss.h"
#include "kernels/reduce/normalize.h"

namespace pycnn {
namespace {

template <class V>
dim_t arg_max(const float* x, dim_t count) noexcept {
  assert(count >= 1);
  V top = V::set1(-kInfinity), nan = V::zero();
  for_vectors<V>(count, [&](dim_t i, auto... mask) __attribute__((always_inline)) {
    const V v = keep(V::load(x + i, mask...), V::set1(-kInfinity), mask...);
    top = max(v, top);  // top where v is NaN
    nan = select(is_nan(v), v, nan);
  });
  const bool has_nan = V::any(is_nan(nan));
  const float wanted = reduce_max(top);
  for (dim_t i = 0; i < count; ++i) {
    if (has_nan ? x[i] != x[i] : x[i] == wanted) return i;
  }
  return 0;
}

// body(k, offset, mask...) for four vectors at a time, which hides the latencies where x is in
// cache.
template <class V, class Body>
[[gnu::always_inline]] inline void for_fours(dim_t count, Body&& body) {
  dim_t i = 0;
  for (; i + 4 * V::lanes <= count; i += 4 * V::lanes) {
#pragma GCC unroll 4
    for (int k = 0; k < 4; ++k) body(k, i + k * V::lanes);
  }
  for_vectors<V>(count - i, [&](dim_t j, auto... mask)
                                __attribute__((always_inline)) { body(0, i + j, mask...); });
}

template <class V>
bool all_finite(const float* x, dim_t rows, dim_t pitch, dim_t count) noexcept {
  assert(rows <= 1 || pitch >= count);
  V sum[4] = {V::zero(), V::zero(), V::zero(), V::zero()};
  for (dim_t row = 0; row < rows; ++row, x += pitch) {
    for_fours<V>(count, [&](int k, dim_t i, auto... mask) __attribute__((always_inline)) {
      sum[k] = fma(V::load(x + i, mask...), V::zero(), sum[k]);  // 0 * Inf and 0 * NaN are NaN
    });
  }
  return !V::any(is_nan((sum[0] + sum[1]) + (sum[2] + sum[3])));
}

template <class V>
float max_abs(const float* x, dim_t count) noexcept {
  V top[4] = {V::zero(), V::zero(), V::zero(), V::zero()};
  V sum[4] = {V::zero(), V::zero(), V::zero(), V::zero()};
  for_fours<V>(count, [&](int k, dim_t i, auto... mask) __attribute__((always_inline)) {
    const V v = V::load(x + i, mask...);
    top[k] = max(abs(v), top[k]);  // top where v is NaN
    sum[k] = fma(v, V::zero(), sum[k]);
  });
  if (!V::any(is_nan((sum[0] + sum[1]) + (sum[2] + sum[3])))) {
    return reduce_max(max(max(top[0], top[1]), max(top[2], top[3])));
  }
  for (dim_t i = 0; i < count; ++i) {
    if (x[i] != x[i]) return kNaN;
  }
  return kInfinity;
}

template <class V>
constexpr ReduceKernels make_reduce_kernels() {
  return {
      .column_sum = column_sum<V>,
      .column_moments = column_moments<V>,
      .column_gradients = column_gradients<V>,
      .normalize = normalize<V>,
      .normalize_gradient = normalize_gradient<V>,
      .dots = dots<V>,
      .softmax = softmax<V>,
      .softmax_gradient = softmax_gradient<V>,
      .loss = {{mean_loss<V, SquaredError<V>>, mean_loss<V, SquaredError<V>>},
               {mean_loss<V, BinaryCrossentropy<V>>, mean_loss<V, BinaryLogits<V>>},
               {categorical<V>, categorical_logits<V>},
               {sparse<V>, sparse_logits<V>}},
      .loss_gradient = {{mean_loss_gradient<V, SquaredError<V>>,
                         mean_loss_gradient<V, SquaredError<V>>},
                        {mean_loss_gradient<V, BinaryCrossentropy<V>>,
                         mean_loss_gradient<V, BinaryLogits<V>>},
                        {categorical_gradient<V>, categorical_logits_gradient<V>},
                        {sparse_gradient<V>, sparse_logits_gradient<V>}},
      .arg_max = arg_max<V>,
      .max_abs = max_abs<V>,
      .all_finite = all_finite<V>,
  };
}

}  // namespace
}  // namespace pycnn
