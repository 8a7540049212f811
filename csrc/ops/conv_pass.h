// SPDX-License-Identifier: Apache-2.0
// The loop nest shared by convolution forward and each stride phase of backward_data: a correlation
// of NHWC input rows with packed weights, whose outputs may be strided.
#pragma once

#include <optional>
#include <vector>

#include "base/arch.h"
#include "base/parallel.h"
#include "base/shape.h"
#include "kernels/brgemm/brgemm.h"
#include "ops/axis.h"
#include "ops/pool2d.h"

namespace pycnn {

struct ReduceKernels;

// How much one task does: a block of images x output rows x output columns, for some k blocks.
struct ConvBlocking {
  dim_t images = 1, rows = 1, columns = 1, kblocks = 1;
};

// Neighbouring columns of the output seen as one pixel (ops/widen.h): column j has the channels
// j * K / count ... of it, and weights that are not zero for the taps j * step ... only.
struct WideColumns {
  dim_t count = 1, step = 1;
};

struct ConvPass {
  Axis h, w;
  CopiedAxis read_h, read_w;  // in the matrix that the kernel reads: x, or the copy where staged
  dim_t N = 1, C = 1, K = 1, G = 1;  // input and output channels of the whole layer
  WideColumns wide;
  bool mostly_outside = false;  // the taps of a row: those inside are looked for
  const ReduceKernels* reduce = nullptr;
  const BrgemmTile* tile = nullptr;
  ConvBlocking block;
  std::optional<Pool2d>
      unpool;  // x is the gradient of this pool's output: rows of its input are made
  std::optional<Pool2d> pool;  // y is pooled while it is in cache; disjoint windows, all channels
  std::vector<dim_t> tap_offset;  // of each segment from tap (0, 0), in the matrix the kernel reads

  // The kernel reads a copy: zeros where columns lie outside the image, rows made by unpooling.
  bool staged() const { return h.taps > 0 && w.taps > 0 && (!w.inside() || unpool); }
  bool merged() const { return read_w.tap_step == 1 && G == 1; }  // taps of a row are one long k
  bool streams() const { return h.taps * w.taps == 1 && !staged(); }  // tiles of x lie in a row
  dim_t segments() const { return merged() ? 1 : w.taps; }            // A matrices per tap row
  dim_t staged_columns() const { return read_w.size(block.columns, w.taps); }
  dim_t staged_rows() const;
  dim_t staged_floats() const;
  dim_t row_pitch() const { return (staged() ? staged_columns() : w.in) * C; }
  dim_t kblocks() const { return G * ceil_div(K / G, tile->nr); }
  dim_t tasks() const;
  dim_t scratch_floats() const;
};

// Chooses the tile, the blocking and the tap offsets.
void prepare(ConvPass& pass, Isa isa);

struct ConvOperands {
  const float* x;
  const std::uint8_t* x_arg;  // of the pool to undo, or null
  const float* weights;
  Epilogue epilogue;  // bias starts at channel 0; residual and gate lie like y; none with a pool
  float* y;
  std::uint8_t* y_arg;  // of the pool that follows, or null
};

// y = epilogue(correlation), pooled where the pass says so.
void run(const ConvPass& pass, const ConvOperands& operands, Worker& worker) noexcept;

}  // namespace pycnn
