// SPDX-License-Identifier: Apache-2.0
#include "ops/widen.h"

#include <algorithm>

#include "kernels/brgemm/brgemm.h"
#include "ops/elementwise.h"

namespace pycnn {
namespace {

constexpr dim_t kEnoughPixels = 2048;
constexpr double kWorthwhile = 0.9;  // of the time: a gain below that is lost to preparations

bool can_widen(const Conv2dShape& s) {
  return s.G == 1 && s.dilation.w == 1 && s.S > 1 && s.N * s.P() * s.Q() >= kEnoughPixels;
}

// The divisor m of columns with the least cycles(m), for one column.
template <class Cycles>
dim_t cheapest(dim_t columns, dim_t n, Isa isa, Cycles cycles) {
  dim_t best = 1;
  double least = kWorthwhile * cycles(dim_t{1});
  for (dim_t m = 2; m <= columns && m * n <= widest_brgemm(isa); ++m) {
    const double now = cycles(m) / static_cast<double>(m);
    if (columns % m != 0 || now >= least) continue;
    best = m;
    least = now;
  }
  return best;
}

Widening make_widening(const Conv2dShape& s, dim_t columns, Isa isa) {
  const Conv2dShape w = widened(s, columns);
  return {columns, s.stride.w, make_packed_weights(s.R, s.S, s.C, s.K, 1, isa),
          make_packed_weights(w.R, w.S, w.C, w.K, 1, isa)};
}

dim_t row_of(const PackedWeights& w, dim_t r, dim_t s, dim_t c) {
  return ((r * w.S + s) * w.C + c) * w.nr;  // in each block of output channels
}

// visit(index of the weight, index of its copy in column j of a wide pixel)
template <class Visit>
void for_each_copy(const Widening& op, Visit visit) {
  const PackedWeights &a = op.narrow, &b = op.wide;
  const auto at = [](const PackedWeights& w, dim_t row, dim_t k) {
    return k / w.nr * w.block_floats() + row + k % w.nr;
  };
  for (dim_t r = 0; r < a.R; ++r) {
    for (dim_t s = 0; s < a.S; ++s) {
      for (dim_t c = 0; c < a.C; ++c) {
        for (dim_t j = 0; j < op.columns; ++j) {
          const dim_t from = row_of(a, r, s, c), to = row_of(b, r, s + j * op.stride, c);
          for (dim_t k = 0; k < a.K; ++k) visit(at(a, from, k), at(b, to, j * a.K + k));
        }
      }
    }
  }
}

}  // namespace

dim_t columns_to_widen(dim_t pixels, dim_t columns, dim_t n, dim_t taps, dim_t stride, Isa isa) {
  if (pixels < kEnoughPixels) return 1;
  return cheapest(columns, n, isa, [&](dim_t m) {
    const dim_t rows = columns / m;
    return brgemm_cycles(rows, m * n, isa) / static_cast<double>(rows) *
           static_cast<double>(taps + (m - 1) * stride);
  });
}

Conv2dShape widened(const Conv2dShape& shape, dim_t columns) {
  Conv2dShape s = shape;
  s.S += (columns - 1) * s.stride.w;
  s.stride.w *= columns;
  s.K *= columns;
  return s;
}

Widening widen_forward(const Conv2dShape& s, Isa isa) {
  if (!can_widen(s)) return {};
  const dim_t m = columns_to_widen(s.N * s.P() * s.Q(), s.Q(), s.K, s.S, s.stride.w, isa);
  const Conv2dShape w = widened(s, m);
  const bool is_long = w.R * w.S * w.C > kSectionTerms;  // zeros would move its sections
  return m > 1 && !is_long ? make_widening(s, m, isa) : Widening{};
}

Widening widen_backward_weights(const Conv2dShape& s, Isa isa) {
  if (!can_widen(s)) return {};
  const dim_t m = cheapest(s.Q(), s.K, isa, [&](dim_t columns) {
    const Conv2dShape w = widened(s, columns);
    return brgemm_cycles(w.S * w.C, w.K, isa);
  });
  return m > 1 ? make_widening(s, m, isa) : Widening{};
}

void widen_weights(const Widening& op, const float* w, float* wide) noexcept {
  std::fill_n(wide, op.wide.count(), 0.0f);
  for_each_copy(op, [&](dim_t from, dim_t to) { wide[to] = w[from]; });
}

void narrow_gradient(const Widening& op, const float* wide, float* dw) noexcept {
  std::fill_n(dw, op.narrow.count(), 0.0f);
  for_each_copy(op, [&](dim_t to, dim_t from) { dw[to] += wide[from]; });
}

}  // namespace pycnn
