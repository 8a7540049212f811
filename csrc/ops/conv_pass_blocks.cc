// SPDX-License-Identifier: Apache-2.0
// How a pass is cut into tasks, and how a task finds its input.
#include <algorithm>
#include <cassert>

#include "base/checked.h"
#include "kernels/reduce/reduce.h"
#include "ops/conv_pass.h"

namespace pycnn {
namespace {

constexpr dim_t kTaskPixels = 96;  // enough work to hide a task's set-up
constexpr dim_t kTaskPixelsBigWeights =
    320;  // weights beyond L2 are read once per task: fewer tasks
constexpr dim_t kBigWeightsFloats = 64 * 1024;
constexpr dim_t kStageFloats = 48 * 1024;  // 192 KB: staged input and a block of weights fit in L2
constexpr dim_t kStageMost = 8 * kStageFloats;  // rows wider than that are cut into columns
constexpr dim_t kEnoughTasks = 16;

dim_t pooled_floats(const ConvPass& op) {
  if (!op.pool) return 0;
  return (Checked(op.block.images) * op.block.rows * op.w.out * op.K).value();
}

// How a task finds its input, once its block is known.
void choose_copy(ConvPass& op) {
  op.read_h = {op.h.step, op.h.tap_step};
  op.read_w = {op.w.step, op.w.tap_step};
  if (!op.staged()) return;
  op.read_h = copied_axis(op.h, op.block.rows);
  op.read_w = copied_axis(op.w, op.block.columns);
}

void choose_blocking(ConvPass& op) {
  const dim_t Kg = op.K / op.G;
  const dim_t weight_floats = op.h.taps * op.w.taps * (op.C / op.G) * op.G * Kg;
  const dim_t pixels = weight_floats > kBigWeightsFloats ? kTaskPixelsBigWeights : kTaskPixels;
  const dim_t unit = op.pool ? op.pool->shape.R : 1;  // rows come in whole windows
  ConvBlocking& block = op.block;
  block.columns = op.h.out == 1 && !op.staged() && !op.pool ? std::min(op.w.out, pixels) : op.w.out;
  block.rows = std::clamp<dim_t>(pixels / block.columns / unit * unit, unit, op.h.out);
  const dim_t per_image = op.h.out * op.w.out;
  block.images = block.rows == op.h.out ? std::clamp<dim_t>(pixels / per_image, 1, op.N) : 1;
  block.kblocks = op.kblocks();
  const auto exceeds = [&](dim_t floats) {
    choose_copy(op);
    return op.staged_floats() + pooled_floats(op) > floats;
  };
  const auto too_large = [&] { return exceeds(kStageFloats); };
  while (block.images > 1 && (too_large() || op.tasks() < kEnoughTasks)) {
    block.images = ceil_div(block.images, 2);
  }
  while (block.rows > unit && too_large()) block.rows = ceil_div(block.rows / unit, 2) * unit;
  const bool whole_rows = op.pool || op.unpool || !op.staged();
  while (!whole_rows && block.columns > kTaskPixels && exceeds(kStageMost)) {
    block.columns = ceil_div(block.columns, 2);
  }
  choose_copy(op);
  if (op.pool) return;  // a window needs all its channels
  while (block.kblocks > 1 && op.tasks() < kEnoughTasks) {
    block.kblocks = ceil_div(block.kblocks, 2);
  }
}

}  // namespace

dim_t ConvPass::staged_floats() const {
  if (!staged()) return 0;
  const Checked made = unpool ? w.in * C : 0;  // one row on its way into the copy
  const Checked row = Checked(staged_columns()) * C;
  return (row * staged_rows() * block.images + made).value();
}

dim_t ConvPass::staged_rows() const {
  const dim_t rows = read_h.size(block.rows, h.taps);
  return read_h.apart ? rows : std::min(h.in, rows);
}

dim_t ConvPass::tasks() const {
  return ceil_div(N, block.images) * ceil_div(h.out, block.rows) * ceil_div(w.out, block.columns) *
         ceil_div(kblocks(), block.kblocks);
}

dim_t ConvPass::scratch_floats() const {
  return (Checked(staged_floats()) + pooled_floats(*this)).value();
}

void prepare(ConvPass& op, Isa isa) {
  assert(op.N >= 0 && op.G >= 1 && op.C >= op.G && op.K >= op.G);
  assert(op.C % op.G == 0 && op.K % op.G == 0 && op.h.taps >= 0 && op.w.taps >= 0);
  op.tile = &select_brgemm(op.K / op.G, isa);
  op.reduce = &reduce_kernels(isa);
  op.mostly_outside = op.w.mostly_outside();
  choose_blocking(op);
  if (op.pool) op.pool->shape.H = op.block.rows;  // it sees a task's rows as an image
  op.tap_offset.clear();
  const dim_t rows = std::min(op.h.taps, ceil_div(op.h.in, op.h.tap_step));  // that an output reads
  for (dim_t t = 0; t < rows; ++t) {
    for (dim_t s = 0; s < op.segments(); ++s) {
      op.tap_offset.push_back(t * op.read_h.tap_step * op.row_pitch() +
                              s * op.read_w.tap_step * op.C);
    }
  }
}

}  // namespace pycnn
