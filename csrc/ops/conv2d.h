// SPDX-License-Identifier: Apache-2.0
// Convolution over NHWC, kernels packed as ops/weights.h says. dense is the 1x1 case.
//   y[n,p,q,k]  = b[k] + sum_{r,s,c} x[n, p*u + r*e - top, q*v + s*f - left, c] * w[r,s,c,k]
//   dx[n,h,w,c] = sum over the (r,s,k) whose output pixel exists of dy * w
//   dw[r,s,c,k] = sum_{n,p,q} x[...] * dy[n,p,q,k]
// SPMD functions, see ops/elementwise.h.
#pragma once

#include <optional>
#include <vector>

#include "ops/conv_pass.h"
#include "ops/crop.h"
#include "ops/elementwise.h"
#include "ops/weights.h"
#include "ops/widen.h"

namespace pycnn {

// The shape without the output pixels that lie in no window of the pool.
Conv2dShape cropped_to_windows(const Conv2dShape& shape, Size2d pool);
// That pool over the cropped output; nothing for {0, 0}.
std::optional<Pool2d> pool_of_output(const Conv2dShape& cropped, Size2d pool, Isa isa);
// 1x1 and dense: every pixel alike, so rows need not be told apart.
bool is_flat(const Conv2dShape& shape, Size2d pool);

struct Conv2dForward {
  ConvPass pass;
  KernelCrop crop;  // where it crops, nothing is widened
  Widening widening;
  dim_t workspace_floats() const;  // the cropped kernel, or the widened one and bias
  dim_t scratch_floats() const { return pass.scratch_floats(); }
};
// pool: windows of a max pooling that follows, disjoint and unpadded ({0, 0}: none). Then y and arg
// are the pool's outputs; output pixels in no window are not computed.
Conv2dForward make_conv2d_forward(const Conv2dShape& shape, Size2d pool, Isa isa);
void conv2d_forward(const Conv2dForward& op, const float* x, const float* w,
                    const Epilogue& epilogue, float* y, std::uint8_t* arg, float* workspace,
                    Worker& worker) noexcept;

// Input pixels of equal residue modulo the stride see the same taps: each such phase is a stride-1
// correlation of dy with a flipped sub-kernel. No zero-insertion, no scatter.
struct StridePhase {
  ConvPass pass;
  dim_t first_r, step_r, first_s,
      step_s;         // tap (t_h, t_w) of the pass is w[first_r - t_h*step_r][..]
  dim_t weights_at;   // of its packed sub-kernel
  dim_t columns = 1;  // of dx that make one pixel (ops/widen.h)
};

struct Conv2dBackwardData {
  PackedWeights forward;
  std::vector<StridePhase> phases;     // those that have taps
  std::optional<ConvPass> background;  // where others have none: all of dx as a sum of nothing
  dim_t weights_floats = 0;            // of the repacked kernel, shared by the workers
  // The columns of a pixel; only phases of whole rows are widened, and those have equal columns.
  dim_t columns() const { return phases.empty() ? 1 : phases.front().columns; }
  dim_t bias_floats() const { return columns() > 1 ? phases.front().pass.K : 0; }
  dim_t packed_floats() const { return weights_floats + bias_floats(); }
  dim_t scratch_floats() const;
};
// pool as in the forward pass: dy is then the gradient of the pool's output.
Conv2dBackwardData make_conv2d_backward_data(const Conv2dShape& shape, Size2d pool, Isa isa);
// Fills packed_floats for the function below; bias may be null.
void pack_backward_data(const Conv2dBackwardData& op, const float* w, const float* bias,
                        float* packed, Worker& worker) noexcept;
// epilogue.gate and residual lie like dx; epilogue.bias is the one that was packed.
void conv2d_backward_data(const Conv2dBackwardData& op, const float* dy, const std::uint8_t* arg,
                          const float* packed, const Epilogue& epilogue, float* dx,
                          Worker& worker) noexcept;

// An outer product over pixels. Output rows are cut into chunks by shape alone; a task sums one
// chunk for some input and output channels, in sections of kSectionTerms (ops/elementwise.h), and
// the chunks' results are added in a fixed tree.
struct Conv2dBackwardWeights {
  Conv2dShape shape;  // of the cropped or widened layer
  PackedWeights weights;
  KernelCrop crop;  // where it crops, nothing is widened
  Widening widening;
  CopiedAxis read_h, read_w;  // in a packed panel
  const BrgemmTile* tile = nullptr;
  PackPanelsFn pack_panels = nullptr;
  const ReduceKernels* reduce = nullptr;
  Elementwise sum;                            // of the chunks
  std::optional<Pool2d> unpool;               // dy is the gradient of this pool's output
  dim_t x_image = 0, x_row = 0, x_pixel = 0;  // distances in x
  bool direct = false;                        // 1x1: the kernel reads x itself
  bool mostly_outside = false;  // the taps of a row: only products inside the image are made
  dim_t flat_pixels = 0;  // > 0: a 1x1 layer as rows of Q pixels, of which the last may be short
  dim_t panel = 1;        // input channels side by side in a packed x panel
  dim_t chunks = 1, cgroup = 1, kgroup = 1;  // panels and k blocks per task
  dim_t block_rows = 1;                      // output rows packed at a time
  dim_t block_columns = 1;                   // and their pixels: all but for very long rows

  dim_t rows() const { return shape.N * shape.P(); }
  dim_t panels() const { return ceil_div(shape.C / shape.G, panel); }
  bool merged() const { return panels() == 1 && read_w.tap_step == 1; }
  dim_t columns() const { return read_w.size(block_columns, shape.S); }
  dim_t input_rows() const;  // that block_rows output rows can need
  dim_t x_pitch() const {    // of panels
    return direct ? panel : input_rows() * columns() * panel + kPanelSlack;
  }
  dim_t dy_pitch() const { return block_rows * block_columns * weights.nr + kPanelSlack; }
  dim_t tasks() const {
    return chunks * shape.G * ceil_div(panels(), cgroup) * ceil_div(weights.blocks(), kgroup);
  }
  dim_t scratch_floats() const;
  bool partial() const { return chunks > 1 || widening.columns > 1 || crop.any(); }
  bool sections() const { return ceil_div(rows(), chunks) * shape.Q() > kSectionTerms; }
  dim_t partial_floats() const {
    return partial() ? (Checked(chunks) * weights.count()).value() : 0;
  }
  dim_t workspace_floats() const {
    const dim_t more = sections() ? (Checked(chunks) * weights.count()).value() : 0;
    return (Checked(more) + partial_floats()).value();
  }
};
Conv2dBackwardWeights make_conv2d_backward_weights(const Conv2dShape& shape, Size2d pool, Isa isa);
void conv2d_backward_weights(const Conv2dBackwardWeights& op, const float* x, const float* dy,
                             const std::uint8_t* arg, float* dw, float* workspace,
                             Worker& worker) noexcept;

}  // namespace pycnn
