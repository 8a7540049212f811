// SPDX-License-Identifier: Apache-2.0
#include "ops/pool2d.h"

#include <algorithm>
#include <array>
#include <cassert>

#include "kernels/pool/pool.h"
#include "kernels/reduce/reduce.h"
#include "ops/reduce.h"

namespace pycnn {
namespace {

constexpr dim_t kTaskFloats = 8192;  // 32 KB of the larger tensor
constexpr dim_t kMeanBlock = 512;    // channels whose sums are made together
constexpr dim_t kManyTaps = 512;     // larger windows are summed in double

// body(n, row) over [0, N) x [0, rows); floats is what one row moves
template <class Body>
void for_image_rows(dim_t N, dim_t rows, dim_t floats, Worker& worker, Body&& body) noexcept {
  const dim_t block = std::max<dim_t>(1, kTaskFloats / floats);
  worker.parallel_for(ceil_div(N * rows, block), [&](dim_t begin, dim_t end) noexcept {
    const dim_t stop = std::min(end * block, N * rows);
    for (dim_t i = begin * block; i < stop; ++i) body(i / rows, i % rows);
  });
}

struct Range {
  dim_t begin, end;
};

// Taps of window p that fall inside an image of `size` pixels.
Range taps_inside(dim_t p, dim_t stride, dim_t pad, dim_t taps, dim_t size) {
  const dim_t first = p * stride - pad;
  return {std::max<dim_t>(0, -first), std::min(taps, size - first)};
}

// Windows that cover pixel h.
Range windows_over(dim_t h, dim_t stride, dim_t pad, dim_t taps, dim_t windows) {
  const dim_t at = h + pad;
  return {std::max<dim_t>(0, ceil_div(std::max<dim_t>(0, at - taps + 1), stride)),
          std::min(windows, at / stride + 1)};
}

// Output row p in runs of windows that see the same columns: body(run, first column of y).
// x points to the image.
template <class Body>
void for_runs(const Pool2dShape& s, dim_t p, Body&& body) noexcept {
  const Range rows = taps_inside(p, s.stride.h, s.pad.top, s.R, s.H);
  PoolRun run{.C = s.C,
              .rows = rows.end - rows.begin,
              .row_stride = s.W * s.C,
              .column_stride = s.C,
              .x_step = s.stride.w * s.C,
              .index_stride = s.S};
  const dim_t top = p * s.stride.h - s.pad.top + rows.begin, Q = s.Q();
  // Whole windows: those that start at or right of column 0 and end at or left of column W.
  const dim_t left = std::min(Q, ceil_div(s.pad.left, s.stride.w));
  const dim_t spare = s.W + s.pad.left - s.S;
  const dim_t right = spare < 0 ? left : std::clamp(spare / s.stride.w + 1, left, Q);
  for (dim_t q = 0; q < Q; q += run.pixels) {
    const Range columns = taps_inside(q, s.stride.w, s.pad.left, s.S, s.W);
    run.pixels = q == left && right > left ? right - left : 1;
    run.columns = columns.end - columns.begin;
    run.first_index = rows.begin * s.S + columns.begin;
    assert(run.rows >= 1 && run.columns >= 1);  // a window meets the image
    run.divisor = static_cast<float>(run.rows * run.columns);
    body(run, q, (top * s.W + q * s.stride.w - s.pad.left + columns.begin) * s.C);
  }
}

// Input row h and the windows that cover it, the first in window row p.
PoolRow row_of(const Pool2dShape& s, dim_t h, const Range& windows) {
  return {.H = s.H,
          .W = s.W,
          .Q = s.Q(),
          .C = s.C,
          .R = s.R,
          .S = s.S,
          .stride_h = s.stride.h,
          .stride_w = s.stride.w,
          .pad = s.pad.left,
          .h = h,
          .r = h + s.pad.top - windows.begin * s.stride.h,
          .windows = std::max<dim_t>(0, windows.end - windows.begin)};
}

// Is no pixel of the row in two windows?
bool at_most_once(const PoolRow& row) { return row.windows == 1 && row.stride_w >= row.S; }

// y = mean of the window over its C channels.
void mean_of_window(const Pool2d& op, const PixelWindow& window, const float* x, dim_t C,
                    float* y) noexcept {
  const double count = static_cast<double>(window.rows * window.columns);
  for (dim_t c = 0; c < C; c += kMeanBlock) {
    const dim_t channels = std::min(kMeanBlock, C - c);
    std::array<double, kMeanBlock> sum{};
    sum_pixels(*op.sums, window, x + c, channels, sum.data());
    for (dim_t i = 0; i < channels; ++i) {
      y[c + i] = static_cast<float>(sum[static_cast<std::size_t>(i)] / count);
    }
  }
}

void average_many_taps(const Pool2d& op, const PoolRun& run, const float* x, float* y) noexcept {
  const PixelWindow window{run.rows, run.columns, run.row_stride, run.column_stride};
  for (dim_t i = 0; i < run.pixels; ++i) {
    mean_of_window(op, window, x + i * run.x_step, run.C, y + i * run.C);
  }
}

}  // namespace

Pool2d make_pool2d(const Pool2dShape& shape, Isa isa) {
  assert(shape.N >= 0 && shape.C >= 1 && shape.P() >= 1 && shape.Q() >= 1);
  return {shape, &pool_kernels(isa), &reduce_kernels(isa)};
}

void max_pool2d_row(const Pool2d& op, const float* image, dim_t p, float* y,
                    std::uint8_t* arg) noexcept {
  for_runs(op.shape, p, [&](const PoolRun& run, dim_t q, dim_t at) noexcept {
    const dim_t to = q * op.shape.C;
    op.kernels->max(run, image + at, y + to, arg == nullptr ? nullptr : arg + to);
  });
}

void max_pool2d_forward(const Pool2d& op, const float* x, float* y, std::uint8_t* arg,
                        Worker& worker) noexcept {
  const Pool2dShape& s = op.shape;
  const dim_t P = s.P(), row = s.Q() * s.C;
  for_image_rows(s.N, P, s.R * s.W * s.C, worker, [&](dim_t n, dim_t p) noexcept {
    const dim_t to = (n * P + p) * row;
    max_pool2d_row(op, x + n * s.H * s.W * s.C, p, y + to, arg == nullptr ? nullptr : arg + to);
  });
}

void max_pool2d_backward_row(const Pool2d& op, const std::uint8_t* arg, const float* dy, dim_t h,
                             float* dx) noexcept {
  const Pool2dShape& s = op.shape;
  assert(0 <= h && h < s.H && arg != nullptr && dy != nullptr && dx != nullptr);
  const Range windows = windows_over(h, s.stride.h, s.pad.top, s.R, s.P());
  const PoolRow geometry = row_of(s, h, windows);
  const auto kernel = at_most_once(geometry) ? op.kernels->max_unpool : op.kernels->max_gather;
  const dim_t from = windows.begin * s.Q() * s.C;
  kernel(geometry, arg + from, dy + from, dx);
}

void max_pool2d_backward(const Pool2d& op, const std::uint8_t* arg, const float* dy, float* dx,
                         Worker& worker) noexcept {
  const Pool2dShape& s = op.shape;
  const dim_t image = s.P() * s.Q() * s.C;
  for_image_rows(s.N, s.H, s.W * s.C, worker, [&](dim_t n, dim_t h) noexcept {
    max_pool2d_backward_row(op, arg + n * image, dy + n * image, h, dx + (n * s.H + h) * s.W * s.C);
  });
}

void avg_pool2d_forward(const Pool2d& op, const float* x, float* y, Worker& worker) noexcept {
  const Pool2dShape& s = op.shape;
  const dim_t P = s.P(), row = s.Q() * s.C;
  for_image_rows(s.N, P, s.R * s.W * s.C, worker, [&](dim_t n, dim_t p) noexcept {
    const float* image = x + n * s.H * s.W * s.C;
    float* to = y + (n * P + p) * row;
    for_runs(s, p, [&](const PoolRun& run, dim_t q, dim_t at) noexcept {
      if (s.R * s.S > kManyTaps) return average_many_taps(op, run, image + at, to + q * s.C);
      op.kernels->average(run, image + at, to + q * s.C);
    });
  });
}

void avg_pool2d_backward(const Pool2d& op, const float* dy, float* dx, Worker& worker) noexcept {
  const Pool2dShape& s = op.shape;
  const dim_t P = s.P(), row = s.Q() * s.C;
  for_image_rows(s.N, s.H, s.W * s.C, worker, [&](dim_t n, dim_t h) noexcept {
    const Range windows = windows_over(h, s.stride.h, s.pad.top, s.R, P);
    const PoolRow geometry = row_of(s, h, windows);
    const auto kernel =
        at_most_once(geometry) ? op.kernels->average_unpool : op.kernels->average_gather;
    kernel(geometry, dy + (n * P + windows.begin) * row, dx + (n * s.H + h) * s.W * s.C);
  });
}

void global_avg_pool2d_forward(const Pool2d& op, const float* x, float* y,
                               Worker& worker) noexcept {
  const Pool2dShape& s = op.shape;
  const dim_t blocks = ceil_div(s.C, kMeanBlock), pixels = s.H * s.W;
  const PixelWindow window{.columns = pixels, .column_stride = s.C};
  for_image_rows(s.N, blocks, pixels * std::min(s.C, kMeanBlock), worker,
                 [&](dim_t n, dim_t block) noexcept {
                   const dim_t c = block * kMeanBlock;
                   mean_of_window(op, window, x + n * pixels * s.C + c,
                                  std::min(kMeanBlock, s.C - c), y + n * s.C + c);
                 });
}

void global_avg_pool2d_backward(const Pool2d& op, const float* dy, float* dx,
                                Worker& worker) noexcept {
  const Pool2dShape& s = op.shape;
  const float share = 1.0f / static_cast<float>(s.H * s.W);
  const dim_t block = std::clamp<dim_t>(kTaskFloats / s.C, 1, s.H * s.W);
  const dim_t blocks = ceil_div(s.H * s.W, block);
  for_image_rows(s.N, blocks, block * s.C, worker, [&](dim_t n, dim_t b) noexcept {
    const dim_t pixel = b * block, count = std::min(block, s.H * s.W - pixel);
    op.kernels->spread(dy + n * s.C, share, dx + (n * s.H * s.W + pixel) * s.C, count, s.C);
  });
}

}  // namespace pycnn
