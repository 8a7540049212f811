// SPDX-License-Identifier: Apache-2.0
// Column sums. The rows are folded onto one row of accumulators, four rows at a time; dense rows of
// few channels are first taken together so that all lanes work. The order of the additions depends
// on (rows, C) and the number of lanes only.
#pragma once

#include "kernels/reduce/reduce.h"
#include "simd/loops.h"

namespace pycnn {
namespace {

template <class V, int A>
struct Terms {
  V v[A];
  friend Terms operator+(Terms a, Terms b) {
    for (int i = 0; i < A; ++i) a.v[i] = a.v[i] + b.v[i];
    return a;
  }
};

// rows of `width` floats, `stride` apart, then `rest` more floats; width is a multiple of C.
struct FoldShape {
  dim_t width, stride, rows, rest;
};

template <class V>
FoldShape fold_shape(dim_t ldx, dim_t rows, dim_t C) {
  assert(rows >= 1 && 1 <= C && C <= kMaxColumns && (ldx >= C || rows == 1));
  // Eight vectors hide the latency of adding to the same accumulator.
  const dim_t wide = column_period<V>(C, 8);
  if (ldx != C || wide > kMaxColumns || rows * C < wide) return {C, ldx, rows, 0};
  return {wide, wide, rows * C / wide, rows * C % wide};
}

template <class V, int A>
struct Fold {
  const FoldShape shape;
  float sum[A][kMaxColumns];  // [width] used

  // term(offset in x, column in width, mask...) gives the A terms of one vector
  template <class Term>
  [[gnu::always_inline]] Fold(const FoldShape& shape, Term&& term) : shape(shape) {
    assert(shape.width <= kMaxColumns && 0 <= shape.rest && shape.rest < shape.width);
    for (int a = 0; a < A; ++a) {
      for (dim_t c = 0; c < shape.width; ++c) sum[a][c] = 0;
    }
    dim_t r = 0;
    const dim_t ld = shape.stride;
    for (; r + 4 <= shape.rows; r += 4) {
      const dim_t x = r * ld;
      accumulate(shape.width, [&](dim_t c, auto... mask) __attribute__((always_inline)) {
        return (term(x + c, c, mask...) + term(x + ld + c, c, mask...)) +
               (term(x + 2 * ld + c, c, mask...) + term(x + 3 * ld + c, c, mask...));
      });
    }
    for (; r <= shape.rows; ++r) {
      const dim_t x = r * ld;
      accumulate(r < shape.rows ? shape.width : shape.rest,
                 [&](dim_t c, auto... mask)
                     __attribute__((always_inline)) { return term(x + c, c, mask...); });
    }
  }

  // The sums of accumulator a per channel.
  void store(int a, dim_t C, float* out) const {
    for (dim_t c = 0; c < C; ++c) {
      float total = sum[a][c];
      for (dim_t i = c + C; i < shape.width; i += C) total += sum[a][i];
      out[c] = total;
    }
  }

 private:
  template <class Body>
  [[gnu::always_inline]] void accumulate(dim_t width, Body&& body) {
    for_vectors<V>(width, [&](dim_t c, auto... mask) __attribute__((always_inline)) {
      const Terms<V, A> terms = body(c, mask...);
      for (int a = 0; a < A; ++a) {
        (V::load(sum[a] + c, mask...) + terms.v[a]).store(sum[a] + c, mask...);
      }
    });
  }
};

template <class V>
void column_sum(const float* x, dim_t ldx, dim_t rows, dim_t C, float* sum) noexcept {
  const Fold<V, 1> fold(fold_shape<V>(ldx, rows, C),
                        [&](dim_t i, dim_t, auto... mask) __attribute__((always_inline)) {
                          return Terms<V, 1>{{V::load(x + i, mask...)}};
                        });
  fold.store(0, C, sum);
}

// The means repeated over the width of a fold.
struct WideMean {
  float v[kMaxColumns];
  WideMean(const float* mean, dim_t C, dim_t width) {
    for (dim_t i = 0; i < width; i += C) {
      for (dim_t c = 0; c < C; ++c) v[i + c] = mean[c];
    }
  }
};

template <class V>
void column_moments(const float* x, dim_t ldx, dim_t rows, dim_t C, float* mean, float* m1,
                    float* m2) noexcept {
  column_sum<V>(x, ldx, rows, C, mean);
  const float count = static_cast<float>(rows);
  for (dim_t c = 0; c < C; ++c) mean[c] /= count;
  const FoldShape shape = fold_shape<V>(ldx, rows, C);
  const WideMean wide(mean, C, shape.width);
  const Fold<V, 2> fold(shape, [&](dim_t i, dim_t c, auto... mask) __attribute__((always_inline)) {
    const V d = V::load(x + i, mask...) - V::load(wide.v + c, mask...);
    return Terms<V, 2>{{d, d * d}};
  });
  fold.store(0, C, m1);
  fold.store(1, C, m2);
}

template <class V>
void column_gradients(const float* x, const float* dy, dim_t ldx, dim_t rows, dim_t C,
                      const float* mean, float* sum_dy, float* sum_dyx) noexcept {
  const FoldShape shape = fold_shape<V>(ldx, rows, C);
  const WideMean wide(mean, C, shape.width);
  const Fold<V, 2> fold(shape, [&](dim_t i, dim_t c, auto... mask) __attribute__((always_inline)) {
    const V d = V::load(x + i, mask...) - V::load(wide.v + c, mask...);
    const V g = V::load(dy + i, mask...);
    return Terms<V, 2>{{g, g * d}};
  });
  fold.store(0, C, sum_dy);
  fold.store(1, C, sum_dyx);
}

}  // namespace
}  // namespace pycnn
