// SPDX-License-Identifier: Apache-2.0
// How backward_weights is cut into tasks, chunks and blocks: by the shape alone.
#include <algorithm>

#include "kernels/reduce/reduce.h"
#include "ops/conv2d.h"

namespace pycnn {
namespace {

constexpr dim_t kEnoughTasks = 16;
constexpr dim_t kFlatRow = 64;               // pixels in a row of a 1x1 layer seen as rows
constexpr dim_t kBlockPixels = 192;          // products summed between loads and stores of a tile
constexpr dim_t kScratchFloats = 72 * 1024;  // packed operands stay in L2
constexpr dim_t kChunkPixels = 512;   // a chunk smaller than this is not worth its partial sums
constexpr dim_t kAliasFloats = 1024;  // pixels 4 KB apart share a set of L1
constexpr dim_t kLongRow = 4096;      // longer rows are taken in pieces

void choose_blocking(Conv2dBackwardWeights& op) {
  const Conv2dShape& s = op.shape;
  const dim_t Cg = s.C / s.G, blocks = op.weights.blocks(), nr = op.weights.nr;
  op.panel = Cg <= op.tile->mr ? Cg : ceil_div(Cg, ceil_div(Cg, op.tile->mr));
  const dim_t kchannels = op.weights.count() > 256 * 1024 ? 64 : 256;  // fewer passes over x
  op.kgroup = std::clamp<dim_t>(kchannels / nr, 1, blocks);
  const dim_t ktasks = s.G * ceil_div(blocks, op.kgroup);
  const dim_t cgroups = std::clamp<dim_t>(kEnoughTasks / ktasks, 1, std::max<dim_t>(1, Cg / 32));
  op.cgroup = ceil_div(op.panels(), std::min(cgroups, op.panels()));
  op.chunks = 1;
  while (op.tasks() < kEnoughTasks && op.rows() >= 2 * op.chunks &&
         op.rows() * s.Q() >= 2 * op.chunks * kChunkPixels) {
    op.chunks *= 2;
  }
  op.block_columns = s.Q() > kLongRow ? kLongRow : s.Q();
  const Axis h = forward_axis(s.H, s.P(), s.R, s.stride.h, s.dilation.h, s.pad.top);
  const Axis w = forward_axis(s.W, s.Q(), s.S, s.stride.w, s.dilation.w, s.pad.left);
  op.read_w = copied_axis(w, op.block_columns);
  op.mostly_outside = w.mostly_outside();
  const auto too_large = [&] {
    op.read_h = copied_axis(h, op.block_rows);
    return op.scratch_floats() > kScratchFloats;
  };
  op.block_rows = std::clamp<dim_t>(ceil_div(kBlockPixels, s.Q()), 1, op.rows());
  while (too_large() && op.block_rows > 1) op.block_rows = ceil_div(op.block_rows, 2);
}

}  // namespace

dim_t Conv2dBackwardWeights::input_rows() const {
  if (read_h.apart) return block_rows * shape.R;
  const dim_t images = (block_rows + shape.P() - 2) / shape.P() + 1;  // touched at most
  const dim_t extent = kernel_extent(shape.R, shape.dilation.h);
  return std::min(images * shape.H, (block_rows - 1) * shape.stride.h + images * extent);
}

dim_t Conv2dBackwardWeights::scratch_floats() const {
  const Checked offsets = 2 * 2 * Checked(shape.R) * block_rows;  // two lists of 8-byte offsets
  const dim_t dy_row = unpool ? shape.Q() * shape.K : 0;
  const Checked pitch = Checked(input_rows()) * columns() * panel + kPanelSlack;
  const Checked x = direct ? 0 : pitch * cgroup;
  return (offsets + x + Checked(kgroup) * dy_pitch() + kPanelSlack + dy_row).value();
}

Conv2dBackwardWeights make_conv2d_backward_weights(const Conv2dShape& shape, Size2d pool, Isa isa) {
  Conv2dBackwardWeights op;
  const Conv2dShape whole = cropped_to_windows(shape, pool);
  op.unpool = pool_of_output(whole, pool, isa);
  op.crop = make_kernel_crop(whole, isa);
  if (!op.crop.any()) op.widening = widen_backward_weights(whole, isa);
  op.shape = widened(cropped(whole, op.crop), op.widening.columns);
  Conv2dShape& s = op.shape;
  if (is_flat(s, pool)) {
    op.flat_pixels = s.N * s.H * s.W;
    s.W = std::min(kFlatRow, op.flat_pixels);
    s.H = ceil_div(op.flat_pixels, s.W);
    s.N = 1;
  }
  op.x_image = s.H * s.W * s.C;
  op.x_row = s.W * s.C;
  op.x_pixel = s.C;
  if (s.R == 1 && s.S == 1 && !s.pad.any() && !op.unpool) {  // the pixels between are not read
    op.direct = s.C * s.stride.w % kAliasFloats != 0;
    op.x_row *= s.stride.h;
    op.x_pixel *= s.stride.w;
    s.H = s.P();
    s.W = s.Q();
    s.stride = {};
  }
  op.weights = make_packed_weights(s.R, s.S, s.C, s.K, s.G, isa);
  op.tile = &select_brgemm(s.K / s.G, isa);
  op.sum = make_elementwise(op.weights.count(), isa);
  op.reduce = &reduce_kernels(isa);
  op.pack_panels = brgemm_family(isa).pack_panels;
  choose_blocking(op);
  return op;
}

}  // namespace pycnn
