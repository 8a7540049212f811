// SPDX-License-Identifier: Apache-2.0
// The convolution with as many groups as channels and filters (Conv2dShape::depthwise): the
// formulas of ops/conv2d.h without their sums over channels. Weights lie as w[R][S][C]. Every pass
// moves about two tensors for R*S multiply-adds an element: memory sets the pace.
// SPMD functions, see ops/elementwise.h.
#pragma once

#include <vector>

#include "base/parallel.h"
#include "kernels/depthwise/depthwise.h"
#include "ops/axis.h"
#include "ops/elementwise.h"

namespace pycnn {

// Neighbouring outputs [begin, end) of an axis with the same taps inside the input.
struct TapRun {
  dim_t begin, end, first_tap, taps;
};

// One dimension of the result, or one of its phases where the stride separates them.
struct DepthwiseAxis {
  Axis axis;
  dim_t weight_at, weight_step;  // tap t of the axis is row, or column, weight_at + t * weight_step
  std::vector<TapRun> runs;
};

// What is done at a time, down a block of rows: the input rows that one output row needs stay in
// L1.
struct DepthwiseTile {
  dim_t columns = 1, channels = 1;  // columns: outputs of an axis, in each of its phases
};

// forward and backward_data: both gather. rows and columns of the result may be in several phases;
// those of backward_data that no tap reaches are in none.
struct DepthwisePass {
  dim_t N = 1, C = 1, S = 1;   // S: of the kernel
  dim_t H_out = 1, W_out = 1;  // of the result
  std::vector<DepthwiseAxis> rows, columns;
  bool background = false;  // some pixels are in no phase
  DepthwiseTile tile;
  const DepthwiseKernels* kernels = nullptr;
};
DepthwisePass make_depthwise_forward(const Conv2dShape& shape, Isa isa);
DepthwisePass make_depthwise_backward_data(const Conv2dShape& shape, Isa isa);
// y = epilogue(correlation of x with w); for backward_data x is dy and y is dx. epilogue.residual
// and gate lie like y.
void depthwise_gather(const DepthwisePass& op, const float* x, const float* w,
                      const Epilogue& epilogue, float* y, Worker& worker) noexcept;

// Rows of the batch in chunks, and channels in groups (of tile.channels), by shape alone. A task
// sums one chunk for one group, in sections of kSectionTerms (ops/elementwise.h), and the chunks
// are added in a fixed tree.
struct DepthwiseBackwardWeights {
  Conv2dShape shape;
  DepthwiseAxis rows, columns;
  DepthwiseTile tile;
  dim_t chunks = 1;
  const DepthwiseKernels* kernels = nullptr;
  Elementwise sum;  // of the chunks

  dim_t count() const { return shape.R * shape.S * shape.C; }
  dim_t groups() const { return ceil_div(shape.C, tile.channels); }
  bool sections() const {
    return ceil_div(shape.N * shape.P(), chunks) * shape.Q() > kSectionTerms;
  }
  dim_t partial_floats() const { return chunks > 1 ? chunks * count() : 0; }
  dim_t workspace_floats() const { return partial_floats() + (sections() ? chunks * count() : 0); }
};
DepthwiseBackwardWeights make_depthwise_backward_weights(const Conv2dShape& shape, Isa isa);
void depthwise_backward_weights(const DepthwiseBackwardWeights& op, const float* x, const float* dy,
                                float* dw, float* workspace, Worker& worker) noexcept;

}  // namespace pycnn
