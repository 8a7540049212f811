// SPDX-License-Identifier: Apache-2.0
#include "ops/reduce.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>

#include "base/shape.h"
#include "kernels/reduce/reduce.h"

namespace pycnn {
namespace {

constexpr dim_t kColumnBlock = 512;  // channels per task of the first pass
static_assert(kColumnBlock <= kMaxColumns);
constexpr dim_t kChunkFloats = 16384;  // 64 KB: read twice for moments, the second time from L2
constexpr dim_t kChunkRows = 64;       // at least, so that partial results stay small beside x
constexpr dim_t kApartRows = 512;      // at most where rows are not dense: one sum for each column
constexpr dim_t kCombineBlock = 64;    // channels per task of the second pass
constexpr dim_t kApplyFloats = 8192;   // per task of the elementwise pass
constexpr int kPartials = 3;           // vectors of C per chunk: mean, m1, m2
constexpr int kCoefficients = 4;       // vectors of C for the elementwise pass

// Which rows and channels a task of the first pass has.
struct Tile {
  dim_t chunk, rows, C;
  dim_t at;       // first element in x
  dim_t channel;  // first channel
};

Tile tile_of(const RowReduction& op, dim_t task) {
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
float* partial(const RowReduction& op, float* workspace, int plane, dim_t chunk) {
  assert(0 <= plane && plane < kPartials && 0 <= chunk && chunk < op.chunks());
  return workspace + (plane * op.chunks() + chunk) * op.C;
}
float* coefficient(const RowReduction& op, float* workspace, int k) {
  assert(0 <= k && k < kCoefficients && workspace != nullptr);
  return workspace + (kPartials * op.chunks() + k) * op.C;
}

using Sums = std::array<double, kCombineBlock>;

// The sum over chunks, in order, of channels c ... of a plane.
Sums sum_of_chunks(const RowReduction& op, float* workspace, int plane, dim_t c, dim_t count) {
  assert(count <= kCombineBlock && c + count <= op.C);
  Sums sum{};
  for (dim_t chunk = 0; chunk < op.chunks(); ++chunk) {
    const float* part = partial(op, workspace, plane, chunk) + c;
    for (dim_t i = 0; i < count; ++i) sum[i] += part[i];
  }
  return sum;
}

struct Moments {
  Sums mean{}, m2{};  // m2: sum of squared deviations from mean
};

// Chan's formula, chunk after chunk. A chunk's mean was rounded; m1, the sum of deviations from it,
// corrects for that.
Moments combine_moments(const RowReduction& op, float* workspace, dim_t c, dim_t count) {
  assert(count <= kCombineBlock && c + count <= op.C);
  Moments all;
  double n = 0;
  for (dim_t chunk = 0; chunk < op.chunks(); ++chunk) {
    const double rows =
        static_cast<double>(std::min(op.chunk_rows, op.rows - chunk * op.chunk_rows));
    const float* mean = partial(op, workspace, 0, chunk) + c;
    const float* m1 = partial(op, workspace, 1, chunk) + c;
    const float* m2 = partial(op, workspace, 2, chunk) + c;
    const double inverse = 1 / rows, share = rows / (n + rows), cross = n * share;
    for (dim_t i = 0; i < count; ++i) {
      const double shift = m1[i] * inverse, delta = mean[i] + shift - all.mean[i];
      all.mean[i] += delta * share;
      all.m2[i] += std::max(m2[i] - m1[i] * shift, 0.0) + delta * delta * cross;
    }
    n += rows;
  }
  return all;
}

float or_else(const float* values, dim_t c, float absent) {
  return values != nullptr ? values[c] : absent;
}

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

BatchNorm make_batch_norm(dim_t rows, dim_t C, float epsilon, Isa isa) {
  assert(epsilon >= 0);
  return {make_row_reduction(rows, C, isa), epsilon};
}

void batch_norm_training_forward(const BatchNorm& op, const float* x, const float* gamma,
                                 const float* beta, float* y, float* mean, float* var,
                                 float* workspace, Worker& worker) noexcept {
  assert(x != nullptr && y != nullptr);
  assert(mean != nullptr && var != nullptr);
  const RowReduction& rows = op.reduction;
  for_tiles(rows, worker, [&](const Tile& tile) noexcept {
    float* parts[kPartials];
    for (int k = 0; k < kPartials; ++k) {
      parts[k] = partial(rows, workspace, k, tile.chunk) + tile.channel;
    }
    rows.kernels->column_moments(x + tile.at, rows.C, tile.rows, tile.C, parts[0], parts[1],
                                 parts[2]);
  });
  float* const scale = coefficient(rows, workspace, 0);
  float* const shift = coefficient(rows, workspace, 1);
  for_channels(rows, worker, [&](dim_t first, dim_t count) noexcept {
    const Moments all = combine_moments(rows, workspace, first, count);
    for (dim_t i = 0; i < count; ++i) {
      const dim_t c = first + i;
      const double variance = all.m2[i] / static_cast<double>(rows.rows);
      const double factor = or_else(gamma, c, 1) / std::sqrt(variance + op.epsilon);
      mean[c] = static_cast<float>(all.mean[i]);
      var[c] = static_cast<float>(variance);
      scale[c] = static_cast<float>(factor);
      // y is taken from x - mean[c]; what rounding took off the mean goes here.
      shift[c] = static_cast<float>(or_else(beta, c, 0) - (all.mean[i] - mean[c]) * factor);
    }
  });
  for_rows(rows, worker, [&](dim_t i, dim_t count) noexcept {
    rows.kernels->normalize(x + i, mean, scale, shift, y + i, count, rows.C);
  });
}

void batch_norm_inference_forward(const BatchNorm& op, const float* x, const float* gamma,
                                  const float* beta, const float* mean, const float* var, float* y,
                                  float* workspace, Worker& worker) noexcept {
  assert(x != nullptr && var != nullptr && y != nullptr);
  const RowReduction& rows = op.reduction;
  float* const scale = coefficient(rows, workspace, 0);
  float* const zeros = coefficient(rows, workspace, 1);
  for_channels(rows, worker, [&](dim_t first, dim_t count) noexcept {
    for (dim_t c = first; c < first + count; ++c) {
      scale[c] = static_cast<float>(or_else(gamma, c, 1) / std::sqrt(double{var[c]} + op.epsilon));
      zeros[c] = 0;
    }
  });
  const float* const center = mean != nullptr ? mean : zeros;
  const float* const shift = beta != nullptr ? beta : zeros;
  for_rows(rows, worker, [&](dim_t i, dim_t count) noexcept {
    rows.kernels->normalize(x + i, center, scale, shift, y + i, count, rows.C);
  });
}

// With r = 1/sqrt(var + epsilon), n rows, S = sum dy, T = sum dy*(x - mean):
// dbeta = S, dgamma = r*T, dx = gamma*r*dy - gamma*r^3*T/n * (x - mean) - gamma*r*S/n
void batch_norm_backward(const BatchNorm& op, const float* x, const float* gamma, const float* mean,
                         const float* var, const float* dy, float* dx, float* dgamma, float* dbeta,
                         float* workspace, Worker& worker) noexcept {
  assert(x != nullptr && mean != nullptr && var != nullptr && dy != nullptr);
  assert(dx != nullptr && dgamma != nullptr && dbeta != nullptr && dx != x);
  const RowReduction& rows = op.reduction;
  for_tiles(rows, worker, [&](const Tile& tile) noexcept {
    rows.kernels->column_gradients(x + tile.at, dy + tile.at, rows.C, tile.rows, tile.C,
                                   mean + tile.channel,
                                   partial(rows, workspace, 0, tile.chunk) + tile.channel,
                                   partial(rows, workspace, 1, tile.chunk) + tile.channel);
  });
  float* const k1 = coefficient(rows, workspace, 0);
  float* const k2 = coefficient(rows, workspace, 1);
  float* const k3 = coefficient(rows, workspace, 2);
  for_channels(rows, worker, [&](dim_t first, dim_t count) noexcept {
    const Sums sum_dy = sum_of_chunks(rows, workspace, 0, first, count);
    const Sums sum_dyx = sum_of_chunks(rows, workspace, 1, first, count);
    const double inverse = 1.0 / static_cast<double>(rows.rows);
    for (dim_t i = 0; i < count; ++i) {
      const dim_t c = first + i;
      const double r = 1 / std::sqrt(double{var[c]} + op.epsilon),
                   factor = or_else(gamma, c, 1) * r;
      dbeta[c] = static_cast<float>(sum_dy[i]);
      dgamma[c] = static_cast<float>(sum_dyx[i] * r);
      k1[c] = static_cast<float>(factor);
      k2[c] = static_cast<float>(-factor * r * r * sum_dyx[i] * inverse);
      k3[c] = static_cast<float>(-factor * sum_dy[i] * inverse);
    }
  });
  for_rows(rows, worker, [&](dim_t i, dim_t count) noexcept {
    rows.kernels->normalize_gradient(x + i, dy + i, mean, k1, k2, k3, dx + i, count, rows.C);
  });
}

}  // namespace pycnn
