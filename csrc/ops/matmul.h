// SPDX-License-Identifier: Apache-2.0
// Products of matrices, many of one shape: y[item] = a[item] b[item]. Each element is one chain of
// fused multiply-adds along K, in sections of kSectionTerms, in whatever way the work is cut.
// SPMD, see ops/elementwise.h.
#pragma once

#include <array>

#include "base/parallel.h"
#include "base/shape.h"
#include "kernels/brgemm/brgemm.h"
#include "ops/elementwise.h"

namespace pycnn {

struct ReduceKernels;

struct Matmul {
  // Items along one leading axis, and how far apart their matrices lie; 0: all read the same.
  struct Axis {
    dim_t count = 1, a = 0, b = 0;
  };

  std::array<Axis, kMaxRank> axes{};  // those that stay together are one
  int rank = 0;
  dim_t items = 1, M = 1, N = 1, K = 1;
  bool transpose_a = false, transpose_b = false;  // stored (K, M), (N, K)
  bool swapped = false;                           // b^T a^T is made, which lies as a b does
  bool dots = false;                              // vectors with matrices that lie along K
  const BrgemmTile* tile = nullptr;
  PackPanelsFn pack_panels = nullptr;
  const EltwiseKernels* kernels = nullptr;
  const ReduceKernels* reduce = nullptr;
  dim_t rows = 1, columns = 1;  // of y that a task makes
  dim_t depth = 1;              // of K that is packed at a time

  static constexpr dim_t kAliased = 1024;

  // Rows of a tile a multiple of 4 KB apart would share a set of the cache, which holds fewer.
  bool copies_a() const { return !transpose_a && K % kAliased == 0; }
  // One row and b as it lies: its rows are added up, nothing is packed.
  bool sums_rows() const { return M == 1 && !dots; }
  dim_t tasks() const { return items * ceil_div(M, rows) * ceil_div(N, columns); }
  dim_t tile_rows() const { return ceil_div(rows, ceil_div(rows, tile->mr)); }
  dim_t b_floats() const { return round_up(columns, tile->nr) * depth; }
  dim_t copied_pitch() const { return depth + kLine; }
  dim_t a_floats() const { return copies_a() ? tile_rows() * copied_pitch() : 0; }
  dim_t scratch_floats() const;  // per thread
};
// a: (..., M, K), or (..., K, M) where transpose_a; b likewise (..., K, N). Their leading axes
// broadcast.
Matmul make_matmul(const Shape& a, bool transpose_a, const Shape& b, bool transpose_b, Isa isa);

void matmul(const Matmul& op, const float* a, const float* b, float* y, Worker& worker) noexcept;

}  // namespace pycnn
