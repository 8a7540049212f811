// SPDX-License-Identifier: Apache-2.0
#include "ops/reduce.h"

#include <algorithm>
#include <array>
#include <cassert>

#include "ops/row_tiles.h"

namespace pycnn {
namespace {

constexpr dim_t kChunkFloats = 16384;  // 64 KB: read twice for moments, the second time from L2
constexpr dim_t kChunkRows = 64;       // at least, so that partial results stay small beside x
constexpr dim_t kApartRows = 512;      // at most where rows are not dense: one sum for each column

dim_t rows_per_chunk(dim_t C) {
  return std::max(kChunkFloats / std::min(C, kColumnBlock), kChunkRows);
}

}  // namespace

// Along the longer side of the window; the kernel needs no more than its two strides.
void sum_pixels(const ReduceKernels& kernels, const PixelWindow& window, const float* x, dim_t C,
                double* sum) noexcept {
  assert(window.rows >= 1 && window.columns >= 1 && C >= 1);
  const bool down = window.rows > window.columns;
  const dim_t length = down ? window.rows : window.columns;
  const dim_t lines = down ? window.columns : window.rows;
  const dim_t step = down ? window.row_stride : window.column_stride;
  const dim_t line_step = down ? window.column_stride : window.row_stride;
  std::array<float, kColumnBlock> part;
  for (dim_t c = 0; c < C; c += kColumnBlock) {
    const dim_t channels = std::min(kColumnBlock, C - c), dense = rows_per_chunk(channels);
    const dim_t chunk = step == channels ? dense : std::min(dense, kApartRows);
    for (dim_t line = 0; line < lines; ++line) {
      for (dim_t i = 0; i < length; i += chunk) {
        kernels.column_sum(x + line * line_step + i * step + c, step, std::min(chunk, length - i),
                           channels, part.data());
        for (dim_t k = 0; k < channels; ++k)
          sum[c + k] += double{part[static_cast<std::size_t>(k)]};
      }
    }
  }
}

dim_t RowReduction::workspace_floats() const { return (kPartials * chunks() + kCoefficients) * C; }

RowReduction make_row_reduction(dim_t rows, dim_t C, Isa isa) {
  assert(rows >= 1 && C >= 1);
  return {rows, C, rows_per_chunk(C), &reduce_kernels(isa)};
}

void bias_backward(const RowReduction& op, const float* dy, float* db, float* workspace,
                   Worker& worker) noexcept {
  const bool one = op.chunks() == 1;
  assert(dy != nullptr && db != nullptr && (one || workspace != nullptr));
  for_tiles(op, worker, [&](const Tile& tile) noexcept {
    float* sum = (one ? db : partial(op, workspace, 0, tile.chunk)) + tile.channel;
    op.kernels->column_sum(dy + tile.at, op.C, tile.rows, tile.C, sum);
  });
  if (one) return;
  for_channels(op, worker, [&](dim_t c, dim_t count) noexcept {
    const Sums sum = sum_of_chunks(op, workspace, 0, c, count);
    for (dim_t i = 0; i < count; ++i) db[c + i] = static_cast<float>(sum[i]);
  });
}

}  // namespace pycnn
