// SPDX-License-Identifier: Apache-2.0
// Pooling kernels, vectorised over channels. x, y, dx, dy have C floats per pixel and arg C bytes;
// inputs and outputs do not overlap. Nothing outside the given pixels is read or written.
// Forward, a run of output pixels whose windows have the same taps inside the image:
//   max        y = max over taps (NaN propagates); arg, if not null, the index of the first of them
//   average    y = sum over taps / divisor
// Backward, one input row dx[W][C] from the rows of windows dy[windows][Q][C] that cover it; window
// q covers the columns q*stride_w - pad ... + S - 1:
//   max_gather      dx = sum of dy over the windows with arg == their index of this pixel
//   max_unpool      the same for one row of windows and stride_w >= S: every pixel has <= 1 window
//   average_gather  dx = sum of dy / (pixels of the window inside the image)
//   average_unpool  the same where max_unpool could be used
//   spread          y[row] = x * factor for each of `rows` rows
#pragma once

#include "base/types.h"

namespace pycnn {

enum class Isa : int;

struct PoolRun {
  dim_t pixels = 0, C = 0;
  dim_t rows = 0, columns = 0;              // taps of each window
  dim_t row_stride = 0, column_stride = 0;  // elements of x between taps
  dim_t x_step = 0;                         // elements of x between neighbouring windows
  dim_t first_index = 0, index_stride = 0;  // of the first tap; between rows of taps
  float divisor = 1;
};

struct PoolRow {
  dim_t H = 0, W = 0, Q = 0, C = 0, R = 0, S = 0;
  dim_t stride_h = 1, stride_w = 1, pad = 0;  // pad: left
  dim_t h = 0;                                // this row
  dim_t r = 0;        // its place in the first row of windows; in the next ones r - stride_h ..
  dim_t windows = 0;  // rows of windows
};

struct PoolKernels {
  void (*max)(const PoolRun& run, const float* x, float* y, std::uint8_t* arg) noexcept;
  void (*average)(const PoolRun& run, const float* x, float* y) noexcept;
  void (*max_gather)(const PoolRow& row, const std::uint8_t* arg, const float* dy,
                     float* dx) noexcept;
  void (*max_unpool)(const PoolRow& row, const std::uint8_t* arg, const float* dy,
                     float* dx) noexcept;
  void (*average_gather)(const PoolRow& row, const float* dy, float* dx) noexcept;
  void (*average_unpool)(const PoolRow& row, const float* dy, float* dx) noexcept;
  void (*spread)(const float* x, float factor, float* y, dim_t rows, dim_t C) noexcept;
};

extern const PoolKernels pool_scalar, pool_avx2, pool_avx512;

const PoolKernels& pool_kernels(Isa isa);

}  // namespace pycnn
