// SPDX-License-Identifier: Apache-2.0
// Sums over rows: bias gradients, statistics, windows of pixels. Rows are cut into chunks
// by shape alone, summed in single, and the chunks' sums are combined in double in index order: no
// thread count changes a bit, and whatever the extents a term is rounded kMostRoundings times at
// most, so that |error| <= kMostRoundings * 2^-24 * sum|x|. The mean of ones is one.
#pragma once

#include "base/arch.h"
#include "base/parallel.h"
#include "base/types.h"

namespace pycnn {

struct ReduceKernels;

constexpr int kMostRoundings = 192;

// sum[c] += sum of the channels c of rows x columns pixels
struct PixelWindow {
  dim_t rows = 1, columns = 1;
  dim_t row_stride = 0, column_stride = 0;  // floats between pixels
};
void sum_pixels(const ReduceKernels& kernels, const PixelWindow& window, const float* x, dim_t C,
                double* sum) noexcept;

struct RowReduction {
  dim_t rows = 0, C = 0;  // x[rows][C]
  dim_t chunk_rows = 0;   // rows per chunk, a function of (rows, C) only
  const ReduceKernels* kernels = nullptr;

  dim_t chunks() const { return (rows + chunk_rows - 1) / chunk_rows; }
  dim_t workspace_floats() const;  // shared by the workers; the caller provides it
};
RowReduction make_row_reduction(dim_t rows, dim_t C, Isa isa);

// db[c] = sum over rows of dy[row][c]
void bias_backward(const RowReduction& op, const float* dy, float* db, float* workspace,
                   Worker& worker) noexcept;

}  // namespace pycnn
