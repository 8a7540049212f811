// SPDX-License-Identifier: Apache-2.0
#include "ops/conv_pass.h"

#include <algorithm>
#include <array>
#include <cassert>

#include "kernels/reduce/reduce.h"
#include "ops/elementwise.h"

namespace pycnn {
namespace {

constexpr dim_t kTilesAhead = 4;  // fetched from memory while a tile is computed

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

// Input row h of image n: where it lies, or made in `made` from the pooled gradient.
const float* input_row(const ConvPass& op, const ConvOperands& io, dim_t n, dim_t h, float* made) {
  if (!op.unpool) return io.x + (n * op.h.in + h) * op.w.in * op.C;
  const Pool2dShape& s = op.unpool->shape;
  const dim_t image = n * s.P() * s.Q() * s.C;
  max_pool2d_backward_row(*op.unpool, io.x_arg + image, io.x + image, h, made);
  return made;
}

// One row of the copy from an input row, the taps of each output side by side.
void stage_taps(const ConvPass& op, const Block& b, const float* source, float* row) {
  const dim_t C = op.C;
  for (dim_t q = b.q0; q < b.q1; ++q) {
    for (dim_t s = 0; s < op.w.taps; ++s, row += C) {
      const dim_t column = op.w.at(q) + s * op.w.tap_step;
      const bool inside = column >= 0 && column < op.w.in;
      inside ? (void)std::copy_n(source + column * C, C, row) : (void)std::fill_n(row, C, 0.0f);
    }
  }
}

Source stage(const ConvPass& op, const Block& b, const ConvOperands& io, float* copy) {
  const RowRange range = input_rows(op, b);
  const dim_t pitch = op.row_pitch(), first_column = op.w.at(b.q0);
  const dim_t columns = op.staged_columns(), C = op.C;
  const dim_t left = std::clamp<dim_t>(-first_column, 0, columns);
  const dim_t inside = std::clamp<dim_t>(op.w.in - first_column, left, columns) - left;
  const dim_t from = inside > 0 ? (first_column + left) * C : 0;
  float* const made = copy + op.block.images * op.staged_rows() * pitch;
  const auto stage = [&](dim_t n, dim_t h, float* row) __attribute__((always_inline)) {
    const float* source = input_row(op, io, n, h, made);
    if (op.read_w.apart) return stage_taps(op, b, source, row);
    std::fill_n(row, left * C, 0.0f);
    std::copy_n(source + from, inside * C, row + left * C);
    std::fill_n(row + (left + inside) * C, (columns - left - inside) * C, 0.0f);
  };
  float* row = copy;
  for (dim_t n = b.n0; n < b.n1; ++n) {
    if (op.read_h.apart) {
      for (dim_t p = b.p0; p < b.p1; ++p, row += op.h.taps * pitch) {
        for (dim_t t = op.h.first_tap(p); t < op.h.end_tap(p); ++t) {
          stage(n, op.h.at(p) + t * op.h.tap_step, row + t * pitch);
        }
      }
    } else {
      for (dim_t h = range.first; h < range.last; ++h, row += pitch) stage(n, h, row);
    }
  }
  const dim_t rows = op.read_h.apart ? (b.p1 - b.p0) * op.h.taps : range.last - range.first;
  return {copy, range.first, first_column, rows};
}

// Of all that a task reads.
bool finite(const ConvPass& op, const Block& b, const ConvOperands& io, const Source& source) {
  const dim_t images = b.n1 - b.n0, pitch = op.row_pitch();
  if (op.staged()) {
    return op.reduce->all_finite(source.data, 1, 0, images * source.rows * pitch);
  }
  const RowRange range = input_rows(op, b);
  return op.reduce->all_finite(io.x + (b.n0 * op.h.in + range.first) * pitch, images,
                               op.h.in * pitch, (range.last - range.first) * pitch);
}

// Where results go: the tensor itself, or this task's rows before they are pooled.
struct Target {
  float* data;
  dim_t first_image, first_row, rows, columns;  // of the data; rows per image
};

// One block of output channels of a task: what is the same for all its rows.
struct KBlock {
  dim_t k0, group_channel;  // first output channel; first input channel of the group
  const float* weights;
  BrgemmFn wide, narrow;  // for tiles of m + 1 and of m rows
  bool apart = false;     // the columns of a wide pixel, as the input is not finite
  bool in_parts = false;  // its tiles: not one call of their kernel
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
  args.lda = op.read_w.step * op.C;
  args.ldc = op.w.out_step * op.K;
  args.k = op.merged() ? op.w.taps * op.C : Cg;
  args.n = n;
  args.beta = Beta::zero;
  args.epilogue = epilogue;
  if (epilogue.bias != nullptr) args.epilogue.bias = epilogue.bias + g * Kg + first;
  assert(g < op.G && 0 < n && n <= tile.nr && tiling.count > 0 && 0 < tiling.m);
  assert(tiling.m + (tiling.wide > 0 ? 1 : 0) <= tile.mr);
  return {g * Kg + first, g * Cg, weights + kb * op.h.taps * op.w.taps * Cg * tile.nr,
          tile.rows_kernel(std::min<dim_t>(tiling.m + 1, tile.mr), n),
          tile.rows_kernel(tiling.m, n)};
}

// One tile of wide pixels, its columns one after the other, from the last: each writes what lies
// before it too, which the next ones put right. Only the taps of a column meet its weights.
void run_columns_apart(const ConvPass& op, const KBlock& k, dim_t m, BrgemmArgs args) noexcept {
  const dim_t K = op.K / op.wide.count, first = k.k0 / K, end = k.k0 + args.n;
  const Epilogue epilogue = args.epilogue;
  const dim_t rows = args.count, row_weights = args.k * op.tile->nr;
  const float *const a = args.a, *const b = args.b;
  args.count = 1;
  const dim_t taps = op.w.taps - (op.wide.count - 1) * op.wide.step;
  for (dim_t j = (end - 1) / K; j >= first; --j) {
    const dim_t skipped = j * op.wide.step * op.C;
    args.n = std::min((j + 1) * K, end) - k.k0;
    args.k = taps * op.C;
    for (dim_t row = 0; row < rows; ++row) {
      args.a = a + op.tap_offset[static_cast<std::size_t>(row)] + skipped;
      args.b = b + row * row_weights + skipped * op.tile->nr;
      args.beta = row > 0 ? Beta::one : Beta::zero;
      args.epilogue = row + 1 < rows ? Epilogue{} : epilogue;
      op.tile->rows_kernel(m, args.n)(args);
    }
  }
}

// The sum of one tile of m rows, of any number of products: in sections, as sums over pixels are.
class TileSum {
 public:
  TileSum(const BrgemmTile& tile, dim_t m, const BrgemmArgs& args)
      : kernel_(tile.rows_kernel(m, args.n)), m_(m), nr_(tile.nr), sum_(args) {
    assert(m * nr_ <= static_cast<dim_t>(section_.size()));
    sum_.count = 0;
  }

  // args.count segments of args.k products
  void add(BrgemmArgs args) noexcept {
    const dim_t segments = args.count, k = args.k, piece = std::min(k, kSectionTerms);
    if (piece == 0) return;
    const dim_t together = piece < k ? 1 : kSectionTerms / piece;
    args.epilogue = {};
    for (dim_t i = 0; i < segments; i += args.count, args.a_offset += args.count) {
      args.count = std::min(together, segments - i);
      const float* const a = args.a;
      for (dim_t at = 0; at < k; at += piece) {
        args.k = std::min(piece, k - at);
        add_section(args);
        args.a += args.k;
        args.b += args.count * args.k * nr_;
      }
      args.a = a;
    }
  }

  // C: the sum after the epilogue
  void finish() noexcept {
    if (sum_.beta == Beta::one) end_section();
    kernel_(sum_);
  }

 private:
  void add_section(BrgemmArgs& args) noexcept {
    const dim_t more = args.count * args.k;
    if (summed_ + more > kSectionTerms) {
      end_section();
      summed_ = 0;
    }
    args.c = later_ ? section_.data() : sum_.c;
    args.ldc = later_ ? nr_ : sum_.ldc;
    args.beta = summed_ > 0 ? Beta::one : Beta::zero;
    kernel_(args);
    sum_.beta = Beta::one;
    summed_ += more;
  }

  void end_section() noexcept {
    for (dim_t i = 0; later_ && i < m_; ++i) {
      for (dim_t j = 0; j < sum_.n; ++j) {
        sum_.c[i * sum_.ldc + j] += section_[static_cast<std::size_t>(i * nr_ + j)];
      }
    }
    later_ = true;
  }

  const BrgemmFn kernel_;
  const dim_t m_, nr_;
  BrgemmArgs sum_;      // of what was added: nothing where beta is zero
  dim_t summed_ = 0;    // products in this section
  bool later_ = false;  // it is not the first, which C itself holds
  std::array<float, 512> section_;
};

// One tile of m columns from column q on, where few taps meet the image: the others are left out.
void run_taps_inside(const ConvPass& op, dim_t m, dim_t q, const BrgemmArgs& all) noexcept {
  const dim_t first_at = op.w.at(q), last_at = op.w.at(q + m - 1), step = op.w.tap_step;
  const dim_t begin = last_at < 0 ? ceil_div(-last_at, step) : 0;
  const dim_t end =
      first_at >= op.w.in ? 0 : std::min(op.w.taps, (op.w.in - 1 - first_at) / step + 1);
  const dim_t rows = all.count / op.segments(), channels = op.merged() ? op.C : all.k;
  TileSum sum(*op.tile, m, all);
  for (dim_t row = 0; row < rows && begin < end; ++row) {
    BrgemmArgs args = all;
    const dim_t segment = row * op.segments() + (op.merged() ? 0 : begin);
    args.count = op.merged() ? 1 : end - begin;
    args.a_offset = op.tap_offset.data() + segment;  // which knows the first tap, if not merged
    if (op.merged()) {
      args.k = (end - begin) * op.C;
      args.a += begin * op.C;
    }
    args.b += (row * op.w.taps + begin) * channels * op.tile->nr;
    sum.add(args);
  }
  sum.finish();
}

// One tile that is not one call of its kernel. (Out of line: the other tiles' loop is short.)
[[gnu::noinline]] void run_tile_in_parts(const ConvPass& op, const KBlock& k, dim_t m, dim_t q,
                                         const BrgemmArgs& args) noexcept {
  if (k.apart && args.count > 0) return run_columns_apart(op, k, m, args);
  if (op.mostly_outside) return run_taps_inside(op, m, q, args);
  TileSum sum(*op.tile, m, args);
  sum.add(args);
  sum.finish();
}

// One k block of output row p of image n.
void run_row(const ConvPass& op, const Block& b, const Source& source, const Tiling& tiling,
             const KBlock& k, dim_t n, dim_t p, const Target& target, BrgemmArgs& args) noexcept {
  const dim_t tap0 = op.h.first_tap(p), taps = std::max<dim_t>(0, op.h.end_tap(p) - tap0);
  args.b = k.weights + tap0 * op.w.taps * (op.merged() ? op.C : args.k) * op.tile->nr;
  args.count = taps * op.segments();
  assert(args.count <= static_cast<dim_t>(op.tap_offset.size()));
  const dim_t image = op.staged() ? (n - b.n0) * source.rows : n * op.h.in;
  const dim_t row =
      image + (op.read_h.apart ? (p - b.p0) * op.h.taps + tap0
                               : op.h.at(p) + tap0 * op.h.tap_step - source.first_row);
  const dim_t column = op.w.at(b.q0) - source.first_column;
  args.a =
      taps > 0 ? source.data + row * op.row_pitch() + column * op.C + k.group_channel : source.data;
  const dim_t y_row = (n - target.first_image) * target.rows + op.h.at_output(p) - target.first_row;
  const dim_t y_at = (y_row * target.columns + op.w.at_output(b.q0)) * op.K + k.k0;
  const Epilogue& all = args.epilogue;
  const float* residual = all.residual == nullptr ? nullptr : all.residual + y_at;
  const float* gate = all.gate == nullptr ? nullptr : all.gate + y_at;
  BrgemmArgs tile = args;
  tile.c = target.data + y_at;
  const bool streams = op.streams() && k.k0 == 0;
  dim_t q = b.q0;
  for (dim_t i = 0; i < tiling.count; ++i) {
    const dim_t m = tiling.m + (i < tiling.wide ? 1 : 0), step = m * args.ldc;
    tile.epilogue.residual = residual;
    tile.epilogue.gate = gate;
    if (streams) tile.next = tile.a + kTilesAhead * m * args.lda;
    k.in_parts ? run_tile_in_parts(op, k, m, q, tile) : (i < tiling.wide ? k.wide : k.narrow)(tile);
    tile.c += step;
    q += m;
    if (taps > 0) tile.a += m * args.lda;
    if (residual != nullptr) residual += step;
    if (gate != nullptr) gate += step;
  }
}

// Pools the rows of a task, which target holds, into y.
void pool_rows(const ConvPass& op, const Block& b, const Target& target, const ConvOperands& io) {
  const Pool2d& pool = *op.pool;
  const dim_t R = pool.shape.R, P = op.h.out / R, row = pool.shape.Q() * pool.shape.C;
  for (dim_t n = b.n0; n < b.n1; ++n) {
    const float* image = target.data + (n - b.n0) * target.rows * target.columns * op.K;
    for (dim_t p = b.p0 / R; p < b.p1 / R; ++p) {
      const dim_t to = (n * P + p) * row;
      max_pool2d_row(pool, image, p - b.p0 / R, io.y + to,
                     io.y_arg == nullptr ? nullptr : io.y_arg + to);
    }
  }
}

void run_task(const ConvPass& op, dim_t task, const ConvOperands& io, float* scratch) noexcept {
  const Block b = block_of(op, task);
  assert(b.n0 < b.n1 && b.p0 < b.p1 && b.q0 < b.q1 && b.kb0 < b.kb1);
  assert(scratch != nullptr || op.scratch_floats() == 0);
  const Source source = op.staged() ? stage(op, b, io, scratch) : Source{io.x, 0, 0, op.h.in};
  const Target target =
      op.pool ? Target{scratch + op.staged_floats(), b.n0, b.p0, op.block.rows, op.w.out}
              : Target{io.y, 0, 0, op.h.out_size, op.w.out_size};
  const Tiling tiling = tile_columns(b.q1 - b.q0, op.tile->mr);
  const bool apart = op.wide.count > 1 && !finite(op, b, io, source);
  BrgemmArgs args{};
  for (dim_t kb = b.kb0; kb < b.kb1; ++kb) {
    KBlock k = start_kblock(op, tiling, kb, io.weights, io.epilogue, args);
    k.apart = apart;
    const bool is_long = op.h.taps * op.segments() * args.k > kSectionTerms;
    assert(!is_long || op.wide.count == 1);
    k.in_parts = apart || op.mostly_outside || is_long;
    for (dim_t n = b.n0; n < b.n1; ++n) {
      for (dim_t p = b.p0; p < b.p1; ++p) run_row(op, b, source, tiling, k, n, p, target, args);
    }
  }
  if (op.pool) pool_rows(op, b, target, io);
}

}  // namespace

void run(const ConvPass& op, const ConvOperands& operands, Worker& worker) noexcept {
  assert(op.tile != nullptr && operands.y != nullptr && operands.x != nullptr);
  assert(operands.weights != nullptr || op.h.taps * op.w.taps == 0);
  assert(!op.unpool || operands.x_arg != nullptr);
  assert(!op.pool || (!operands.epilogue.residual && !operands.epilogue.gate));
  worker.parallel_for(op.tasks(), [&](dim_t begin, dim_t end) noexcept {
    for (dim_t task = begin; task < end; ++task) {
      run_task(op, task, operands, worker.scratch_floats());
    }
  });
}

}  // namespace pycnn
