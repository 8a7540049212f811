// SPDX-License-Identifier: Apache-2.0
// The elementwise pass of batch normalisation. The mean is subtracted first: folding it into the
// shift would cancel where the mean is large beside the deviation.
#pragma once

#include "kernels/reduce/reduce.h"
#include "simd/loops.h"

namespace pycnn {
namespace {

template <class V>
void normalize(const float* x, const float* mean, const float* scale, const float* shift, float* y,
               dim_t rows, dim_t C) noexcept {
  const Columns<V, 3> columns(C, {mean, scale, shift});
  columns.for_each(rows, [&](dim_t i, dim_t c, auto... mask) __attribute__((always_inline)) {
    const V centered = V::load(x + i, mask...) - columns.load(0, c, mask...);
    const V z = fma(centered, columns.load(1, c, mask...), columns.load(2, c, mask...));
    z.store(y + i, mask...);
  });
}

template <class V>
void normalize_gradient(const float* x, const float* dy, const float* mean, const float* k1,
                        const float* k2, const float* k3, float* dx, dim_t rows, dim_t C) noexcept {
  const Columns<V, 4> columns(C, {mean, k1, k2, k3});
  columns.for_each(rows, [&](dim_t i, dim_t c, auto... mask) __attribute__((always_inline)) {
    const V centered = V::load(x + i, mask...) - columns.load(0, c, mask...);
    V z = fma(centered, columns.load(2, c, mask...), columns.load(3, c, mask...));
    z = fma(V::load(dy + i, mask...), columns.load(1, c, mask...), z);
    z.store(dx + i, mask...);
  });
}

}  // namespace
}  // namespace pycnn
