// SPDX-License-Identifier: Apache-2.0
// Rows of a matrix, each times one vector.
#pragma once

#include "kernels/reduce/reduce.h"
#include "simd/loops.h"

namespace pycnn {
namespace {

// Two vectors of sums for each of the rows: enough chains that none waits for the one before.
template <class V, int kRows>
[[gnu::always_inline]] inline void dot_rows(const float* x, dim_t ldx, dim_t count, const float* v,
                                            float* y, bool adds) {
  V sum[kRows][2];
#pragma GCC unroll 8
  for (int row = 0; row < kRows; ++row) sum[row][0] = sum[row][1] = V::zero();
  const auto add = [&](dim_t i, int half, auto... mask) __attribute__((always_inline)) {
    const V factor = V::load(v + i, mask...);
#pragma GCC unroll 8
    for (int row = 0; row < kRows; ++row) {
      sum[row][half] = fma(V::load(x + row * ldx + i, mask...), factor, sum[row][half]);
    }
  };
  dim_t i = 0;
  for (; i + 2 * V::lanes <= count; i += 2 * V::lanes) add(i, 0), add(i + V::lanes, 1);
  if (i + V::lanes <= count) add(i, 0), i += V::lanes;
  if (i < count) add(i, 1, V::tail_mask(count - i));
#pragma GCC unroll 8
  for (int row = 0; row < kRows; ++row) {
    const float dot = reduce_add(sum[row][0] + sum[row][1]);
    y[row] = adds ? y[row] + dot : dot;
  }
}

template <class V>
void dots(const float* x, dim_t ldx, dim_t rows, dim_t count, const float* v, float* y,
          bool adds) noexcept {
  dim_t row = 0;
  for (; row + 4 <= rows; row += 4) dot_rows<V, 4>(x + row * ldx, ldx, count, v, y + row, adds);
  for (; row < rows; ++row) dot_rows<V, 1>(x + row * ldx, ldx, count, v, y + row, adds);
}

}  // namespace
}  // namespace pycnn
