// SPDX-License-Identifier: Apache-2.0
// Elementwise kernels over contiguous runs. y (dx) may be the memory of any input. Pointers need no
// more than float alignment; nothing outside the given runs is read or written.
//   add                  y = a + b
//   activation           y = f(x), alpha for leaky_relu and elu; NaN propagates, save step(NaN) = 0
//   activation_gradient  dx = dy * f'(x), with f' expressed by y
//   copy_rows            y[row][i] = x[row][i], i < count, rows x_pitch and y_pitch floats apart
//   add_rows             y[row][i] += x[row][i], likewise
//   transpose            y[j][i] = x[i][j], i < rows, j < columns; y is apart from x, and written
//                        past the caches where `streams` and its lines are whole
//   weighted_sum         y[i] = sum over k of terms[k].weight * x[terms[k].at + i], in their order;
//                        added to y[i] where `adds`. No terms make 0. y is apart from x
//   dropout              y = u >= rate ? x / (1 - rate) : 0, u as in base/rng.h
#pragma once

#include "base/types.h"

namespace pycnn {

enum class Isa : int;

struct DropoutKey {
  std::uint64_t seed = 0;
  std::uint32_t stream = 0, step = 0;
  float rate = 0;
};

struct WeightedTerm {
  dim_t at = 0;
  float weight = 1;
};

constexpr dim_t kDropoutAlign = 64;  // 4 words of 16 counters

struct EltwiseKernels {
  using Map = void (*)(const float* x, float* y, dim_t count, float alpha) noexcept;
  using MapGradient = void (*)(const float* y, const float* dy, float* dx, dim_t count,
                               float alpha) noexcept;

  void (*add)(const float* a, const float* b, float* y, dim_t count) noexcept;
  using Rows = void (*)(const float* x, dim_t x_pitch, float* y, dim_t y_pitch, dim_t rows,
                        dim_t count) noexcept;
  Rows copy_rows, add_rows;
  void (*transpose)(const float* x, dim_t x_pitch, float* y, dim_t y_pitch, dim_t rows,
                    dim_t columns, bool streams) noexcept;
  void (*weighted_sum)(const WeightedTerm* terms, dim_t term_count, const float* x, float* y,
                       dim_t count, bool adds) noexcept;
  Map activation[kActivationKinds];  // by ActivationKind
  MapGradient activation_gradient[kActivationKinds];
  // x[0] is element `first` of the stream, a multiple of kDropoutAlign.
  void (*dropout)(const DropoutKey& key, dim_t first, const float* x, float* y,
                  dim_t count) noexcept;
};

extern const EltwiseKernels eltwise_scalar, eltwise_avx2, eltwise_avx512;

const EltwiseKernels& eltwise_kernels(Isa isa);

}  // namespace pycnn
