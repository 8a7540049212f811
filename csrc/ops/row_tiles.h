// SPDX-License-Identifier: Apache-2.0
// The passes that sums over rows are made of, and where their parts lie in the workspace.
#pragma once

#include <algorithm>
#include <array>
#include <cassert>

#include "base/shape.h"
#include "kernels/reduce/reduce.h"
#include "ops/reduce.h"

namespace pycnn {

constexpr dim_t kColumnBlock = 512;  // channels per task of the first pass
static_assert(kColumnBlock <= kMaxColumns);
constexpr dim_t kCombineBlock = 64;   // channels per task of the second pass
constexpr dim_t kApplyFloats = 8192;  // per task of the elementwise pass
constexpr int kPartials = 3;          // vectors of C per chunk: mean, m1, m2
constexpr int kCoefficients = 4;      // vectors of C for the elementwise pass

// Which rows and channels a task of the first pass has.
struct Tile {
  dim_t chunk, rows, C;
  dim_t at;       // first element in x
  dim_t channel;  // first channel
};

inline Tile tile_of(const RowReduction& op, dim_t task) {
  const dim_t blocks = ceil_div(op.C, kColumnBlock);
  const dim_t chunk = task / blocks, channel = task % blocks * kColumnBlock;
  const dim_t row = chunk * op.chunk_rows;
  assert(0 <= row && row < op.rows && channel < op.C);
  return {.chunk = chunk,
          .rows = std::min(op.chunk_rows, op.rows - row),
          .C = std::min(kColumnBlock, op.C - channel),
          .at = row * op.C + channel,
          .channel = channel};
}

// First pass: body(tile) for all chunks and blocks of channels.
template <class Body>
void for_tiles(const RowReduction& op, Worker& worker, Body&& body) noexcept {
  const dim_t tasks = op.chunks() * ceil_div(op.C, kColumnBlock);
  worker.parallel_for(tasks, [&](dim_t begin, dim_t end) noexcept {
    for (dim_t task = begin; task < end; ++task) body(tile_of(op, task));
  });
}

// Second pass: body(c, count) for blocks of channels.
template <class Body>
void for_channels(const RowReduction& op, Worker& worker, Body&& body) noexcept {
  worker.parallel_for(ceil_div(op.C, kCombineBlock), [&](dim_t begin, dim_t end) noexcept {
    for (dim_t block = begin; block < end; ++block) {
      const dim_t c = block * kCombineBlock;
      body(c, std::min(kCombineBlock, op.C - c));
    }
  });
}

// Third pass: body(first element, rows) for blocks of rows.
template <class Body>
void for_rows(const RowReduction& op, Worker& worker, Body&& body) noexcept {
  const dim_t block = std::max<dim_t>(1, kApplyFloats / op.C);
  worker.parallel_for(ceil_div(op.rows, block), [&](dim_t begin, dim_t end) noexcept {
    const dim_t row = begin * block;
    body(row * op.C, std::min(end * block, op.rows) - row);
  });
}

// The workspace: kPartials planes of [chunks][C], then kCoefficients vectors of C.
inline float* partial(const RowReduction& op, float* workspace, int plane, dim_t chunk) {
  assert(0 <= plane && plane < kPartials && 0 <= chunk && chunk < op.chunks());
  return workspace + (plane * op.chunks() + chunk) * op.C;
}
inline float* coefficient(const RowReduction& op, float* workspace, int k) {
  assert(0 <= k && k < kCoefficients && workspace != nullptr);
  return workspace + (kPartials * op.chunks() + k) * op.C;
}

using Sums = std::array<double, kCombineBlock>;

// The sum over chunks, in order, of channels c ... of a plane.
inline Sums sum_of_chunks(const RowReduction& op, float* workspace, int plane, dim_t c,
                          dim_t count) {
  assert(count <= kCombineBlock && c + count <= op.C);
  Sums sum{};
  for (dim_t chunk = 0; chunk < op.chunks(); ++chunk) {
    const float* part = partial(op, workspace, plane, chunk) + c;
    for (dim_t i = 0; i < count; ++i) sum[i] += part[i];
  }
  return sum;
}

}  // namespace pycnn
