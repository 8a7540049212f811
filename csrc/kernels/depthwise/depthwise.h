// SPDX-License-Identifier: Apache-2.0
// Depthwise convolution kernels, vectorised over channels: every channel meets its own weights. A
// run is a row of pixels of the result that see the same rectangle of taps, all inside the image.
//   correlate    y[i][c] = epilogue(sum over taps (r, s) of x_tap[i][c] * w[r][s][c])
//   accumulate   dw[r][s][c] += sum over i of x_tap[i][c] * dy[i][c]        (dy lies like y)
// where x_tap[i] = x + i * x_step + r * row_stride + s * column_stride. Each y is one chain of
// multiply-adds in the order (r, s); each dw one in the order of pixels, from what it was. Nothing
// but the C floats of these pixels and weights is read or written.
#pragma once

#include "base/arch.h"
#include "kernels/epilogue.h"

namespace pycnn {

struct DepthwiseRun {
  dim_t pixels = 0, C = 0;
  dim_t rows = 0, columns = 0;              // taps
  dim_t row_stride = 0, column_stride = 0;  // floats of x between taps
  dim_t x_step = 0, y_step = 0;             // floats between neighbouring pixels
  // To be prefetched for the run below: rows of x it will be the first to need, and its row of y.
  dim_t x_ahead = 0, new_rows = 0, new_row_stride = 0;
  dim_t y_ahead = 0;
  dim_t w_row_stride = 0, w_column_stride = 0;  // floats between taps; negative where flipped
};

struct DepthwiseKernels {
  // epilogue.residual and gate lie like y; bias starts at channel 0 of the run.
  void (*correlate)(const DepthwiseRun& run, const float* x, const float* w,
                    const Epilogue& epilogue, float* y) noexcept;
  void (*accumulate)(const DepthwiseRun& run, const float* x, const float* dy, float* dw) noexcept;
};

extern const DepthwiseKernels depthwise_scalar;
extern const DepthwiseKernels depthwise_avx2;
extern const DepthwiseKernels depthwise_avx512;

const DepthwiseKernels& depthwise_kernels(Isa isa);

}  // namespace pycnn
