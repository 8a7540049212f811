// SPDX-License-Identifier: Apache-2.0
#include "ops/conv_pass.h"

#include <algorithm>

namespace pycnn {
namespace {

constexpr dim_t kTaskPixels = 96;  // enough work to hide a task's set-up
constexpr dim_t kTaskPixelsBigWeights =
    320;  // weights beyond L2 are read once per task: fewer tasks
constexpr dim_t kBigWeightsFloats = 64 * 1024;
constexpr dim_t kStageFloats = 48 * 1024;  // 192 KB: staged input and a block of weights fit in L2
constexpr dim_t kEnoughTasks = 16;

// Half-open ranges of what a task computes.
struct Block {
  dim_t n0, n1, p0, p1, q0, q1, kb0, kb1;
};

Block block_of(const ConvPass& op, dim_t task) {
  const dim_t kgroups = ceil_div(op.kblocks(), op.block.kblocks);
  const dim_t qblocks = ceil_div(op.w.out, op.block.columns);
  const dim_t pblocks = ceil_div(op.h.out, op.block.rows);
  const dim_t kg = task % kgroups, q = task / kgroups % qblocks;
  const dim_t p = task / (kgroups * qblocks) % pblocks, n = task / (kgroups * qblocks * pblocks);
  const auto end = [](dim_t i, dim_t size, dim_t total) { return std::min((i + 1) * size, total); };
  return {n * op.block.images,   end(n, op.block.images, op.N),
          p * op.block.rows,     end(p, op.block.rows, op.h.out),
          q * op.block.columns,  end(q, op.block.columns, op.w.out),
          kg * op.block.kblocks, end(kg, op.block.kblocks, op.kblocks())};
}

// The input rows [first, last) that a block's output rows read.
struct RowRange {
  dim_t first, last;
};
RowRange input_rows(const ConvPass& op, const Block& b) {
  const dim_t first = op.h.at(b.p0), last = op.h.at(b.p1 - 1) + (op.h.taps - 1) * op.h.tap_step + 1;
  return {std::clamp<dim_t>(first, 0, op.h.in), std::clamp<dim_t>(last, 0, op.h.in)};
}

// Where the kernel finds its input: the tensor itself, or this task's zero-padded copy.
struct Source {
  const float* data;
  dim_t first_row, first_column, rows;  // of the data, per image
};

Source stage(const ConvPass& op, const Block& b, const float* x, float* copy) {
  const RowRange range = input_rows(op, b);
  const dim_t rows = range.last - range.first, columns = op.staged_columns(), C = op.C;
  const dim_t first_column = op.w.at(b.q0);
  const dim_t left = std::clamp<dim_t>(-first_column, 0, columns);
  const dim_t inside = std::clamp<dim_t>(op.w.in - first_column, left, columns) - left;
  float* row = copy;
  for (dim_t n = b.n0; n < b.n1; ++n) {
    for (dim_t h = range.first; h < range.last; ++h, row += columns * C) {
      std::fill_n(row, left * C, 0.0f);
      const float* source = x + ((n * op.h.in + h) * op.w.in + first_column + left) * C;
      if (inside > 0) std::copy_n(source, inside * C, row + left * C);
      std::fill_n(row + (left + inside) * C, (columns - left - inside) * C, 0.0f);
    }
  }
  return {copy, range.first, first_column, rows};
}

// One block of output channels of a task: what is the same for all its rows.
struct KBlock {
  dim_t k0, group_channel;  // first output channel; first input channel of the group
  const float* weights;
  BrgemmFn wide, narrow;  // for tiles of m + 1 and of m rows
};

// A row's columns in tiles of nearly equal length: `wide` of m + 1 columns, then those of m.
struct Tiling {
  dim_t count, m, wide;
};

Tiling tile_columns(dim_t length, dim_t mr) {
  const dim_t count = ceil_div(length, mr);
  return {count, length / count, length % count};
}

// Fills in what does not depend on the row.
KBlock start_kblock(const ConvPass& op, const Tiling& tiling, dim_t kb, const float* weights,
                    const Epilogue& epilogue, BrgemmArgs& args) noexcept {
  const BrgemmTile& tile = *op.tile;
  const dim_t Cg = op.C / op.G, Kg = op.K / op.G, blocks = op.kblocks() / op.G;
  const dim_t g = kb / blocks, first = kb % blocks * tile.nr,
              n = std::min<dim_t>(tile.nr, Kg - first);
  args.a_offset = op.tap_offset.data();
  args.lda = op.w.step * op.C;
  args.ldc = op.w.out_step * op.K;
  args.k = op.merged() ? op.w.taps * op.C : Cg;
  args.n = n;
  args.beta = Beta::zero;
  args.epilogue = epilogue;
  if (epilogue.bias != nullptr) args.epilogue.bias = epilogue.bias + g * Kg + first;
  return {g * Kg + first, g * Cg, weights + kb * op.h.taps * op.w.taps * Cg * tile.nr,
          tile.rows_kernel(std::min<dim_t>(tiling.m + 1, tile.mr), n),
          tile.rows_kernel(tiling.m, n)};
}

// One k block of output row p of image n.
void run_row(const ConvPass& op, const Block& b, const Source& source, const Tiling& tiling,
             const KBlock& k, dim_t n, dim_t p, float* y, BrgemmArgs& args) noexcept {
  const dim_t tap0 = op.h.first_tap(p), taps = std::max<dim_t>(0, op.h.end_tap(p) - tap0);
  args.b = k.weights + tap0 * op.w.taps * (op.merged() ? op.C : args.k) * op.tile->nr;
  args.count = taps * op.segments();
  const dim_t image = op.staged() ? (n - b.n0) * source.rows : n * op.h.in;
  const dim_t row = image + op.h.at(p) + tap0 * op.h.tap_step - source.first_row;
  const dim_t column = op.w.at(b.q0) - source.first_column;
  args.a =
      taps > 0 ? source.data + row * op.row_pitch() + column * op.C + k.group_channel : source.data;
  const dim_t y_row = (n * op.h.out_size + p * op.h.out_step + op.h.out_origin) * op.w.out_size;
  const dim_t y_at = (y_row + op.w.at_output(b.q0)) * op.K + k.k0;
  const Epilogue& all = args.epilogue;
  const float* residual = all.residual == nullptr ? nullptr : all.residual + y_at;
  const float* gate = all.gate == nullptr ? nullptr : all.gate + y_at;
  BrgemmArgs tile = args;
  tile.c = y + y_at;
  for (dim_t i = 0; i < tiling.count; ++i) {
    const dim_t m = tiling.m + (i < tiling.wide ? 1 : 0), step = m * args.ldc;
    tile.epilogue.residual = residual;
    tile.epilogue.gate = gate;
    (i < tiling.wide ? k.wide : k.narrow)(tile);
    tile.c += step;
    if (taps > 0) tile.a += m * args.lda;
    if (residual != nullptr) residual += step;
    if (gate != nullptr) gate += step;
  }
}

void run_task(const ConvPass& op, dim_t task, const float* x, const float* weights,
              const Epilogue& epilogue, float* y, float* scratch) noexcept {
  const Block b = block_of(op, task);
  const Source source = op.staged() ? stage(op, b, x, scratch) : Source{x, 0, 0, op.h.in};
  const Tiling tiling = tile_columns(b.q1 - b.q0, op.tile->mr);
  BrgemmArgs args{};
  for (dim_t kb = b.kb0; kb < b.kb1; ++kb) {
    const KBlock k = start_kblock(op, tiling, kb, weights, epilogue, args);
    for (dim_t n = b.n0; n < b.n1; ++n) {
      for (dim_t p = b.p0; p < b.p1; ++p) run_row(op, b, source, tiling, k, n, p, y, args);
    }
  }
}

dim_t staged_floats(const ConvPass& op) {
  return op.block.images * op.staged_rows() * op.staged_columns() * op.C;
}

void choose_blocking(ConvPass& op) {
  const dim_t Kg = op.K / op.G;
  const dim_t weight_floats = op.h.taps * op.w.taps * (op.C / op.G) * op.G * Kg;
  const dim_t pixels = weight_floats > kBigWeightsFloats ? kTaskPixelsBigWeights : kTaskPixels;
  ConvBlocking& block = op.block;
  block.columns = op.h.out == 1 && !op.staged() ? std::min(op.w.out, pixels) : op.w.out;
  block.rows = std::clamp<dim_t>(pixels / block.columns, 1, op.h.out);
  const dim_t per_image = op.h.out * op.w.out;
  block.images = block.rows == op.h.out ? std::clamp<dim_t>(pixels / per_image, 1, op.N) : 1;
  block.kblocks = op.kblocks();
  const auto too_large = [&] { return op.staged() && staged_floats(op) > kStageFloats; };
  while (block.images > 1 && (too_large() || op.tasks() < kEnoughTasks))
    block.images = ceil_div(block.images, 2);
  while (block.rows > 1 && too_large()) block.rows = ceil_div(block.rows, 2);
  while (block.kblocks > 1 && op.tasks() < kEnoughTasks) block.kblocks = ceil_div(block.kblocks, 2);
}

}  // namespace

dim_t Axis::first_tap(dim_t o) const {
  const dim_t start = at(o);
  return start >= 0 ? 0 : std::min(taps, ceil_div(-start, tap_step));
}

dim_t Axis::end_tap(dim_t o) const {
  const dim_t room = in - at(o);  // tap t is inside while t * tap_step < room
  if (room > (taps - 1) * tap_step) return taps;
  return room <= 0 ? 0 : std::min(taps, ceil_div(room, tap_step));
}

bool Axis::inside() const {
  return out == 0 || taps == 0 || (origin >= 0 && at(out - 1) + (taps - 1) * tap_step < in);
}

dim_t ConvPass::staged_rows() const {
  return std::min(h.in, (block.rows - 1) * h.step + (h.taps - 1) * h.tap_step + 1);
}

dim_t ConvPass::tasks() const {
  return ceil_div(N, block.images) * ceil_div(h.out, block.rows) * ceil_div(w.out, block.columns) *
         ceil_div(kblocks(), block.kblocks);
}

dim_t ConvPass::scratch_floats() const { return staged() ? staged_floats(*this) : 0; }

void prepare(ConvPass& op, Isa isa) {
  op.tile = &select_brgemm(op.K / op.G, isa);
  choose_blocking(op);
  op.tap_offset.clear();
  for (dim_t t = 0; t < op.h.taps; ++t) {
    for (dim_t s = 0; s < op.segments(); ++s) {
      op.tap_offset.push_back(t * op.h.tap_step * op.row_pitch() + s * op.w.tap_step * op.C);
    }
  }
}

void run(const ConvPass& op, const float* x, const float* weights, const Epilogue& epilogue,
         float* y, Worker& worker) noexcept {
  worker.parallel_for(op.tasks(), [&](dim_t begin, dim_t end) noexcept {
    for (dim_t task = begin; task < end; ++task) {
      run_task(op, task, x, weights, epilogue, y, worker.scratch_floats());
    }
  });
}

}  // namespace pycnn
