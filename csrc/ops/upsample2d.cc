// SPDX-License-Identifier: Apache-2.0
#include "ops/upsample2d.h"

#include <algorithm>
#include <array>
#include <cassert>

#include "kernels/eltwise/eltwise.h"
#include "kernels/reduce/reduce.h"
#include "ops/reduce.h"

namespace pycnn {
namespace {

constexpr dim_t kBlock = 8192;      // floats of the larger side in a task, as in elementwise ops
constexpr dim_t kManyPixels = 256;  // larger blocks are summed in double
constexpr dim_t kSumBlock = 512;    // channels whose sums are made together

// body(row of x), several rows to a task where they are short
template <class Body>
void for_rows(const Upsample2d& op, Worker& worker, Body&& body) noexcept {
  const dim_t made = op.W * op.C * op.factor.h * op.factor.w;
  const dim_t block = std::max<dim_t>(1, kBlock / std::max<dim_t>(1, made));
  worker.parallel_for(ceil_div(op.rows, block), [&](dim_t begin, dim_t end) noexcept {
    for (dim_t row = begin * block; row < std::min(end * block, op.rows); ++row) body(row);
  });
}

// One row of dx where the factors are large; dy: the rows it is the sum of.
void sum_blocks(const Upsample2d& op, const float* dy, float* dx) noexcept {
  const PixelWindow block{op.factor.h, op.factor.w, op.W * op.factor.w * op.C, op.C};
  for (dim_t w = 0; w < op.W; ++w, dy += op.factor.w * op.C, dx += op.C) {
    for (dim_t c = 0; c < op.C; c += kSumBlock) {
      const dim_t channels = std::min(kSumBlock, op.C - c);
      std::array<double, kSumBlock> sum{};
      sum_pixels(*op.sums, block, dy + c, channels, sum.data());
      std::transform(sum.begin(), sum.begin() + channels, dx + c,
                     [](double total) { return static_cast<float>(total); });
    }
  }
}

}  // namespace

Upsample2d make_upsample2d(dim_t rows, dim_t W, dim_t C, Size2d factor, Isa isa) {
  assert(rows >= 0 && W >= 1 && C >= 1 && factor.h >= 1 && factor.w >= 1);
  return {rows, W, C, factor, &eltwise_kernels(isa), &reduce_kernels(isa)};
}

// One row of y pixel by pixel, then copies of it while it is in cache.
void upsample2d_forward(const Upsample2d& op, const float* x, float* y, Worker& worker) noexcept {
  const dim_t pitch = op.factor.w * op.C, length = op.W * pitch;
  for_rows(op, worker, [&](dim_t row) noexcept {
    float* out = y + row * op.factor.h * length;
    for (dim_t s = 0; s < op.factor.w; ++s) {
      op.kernels->copy_rows(x + row * op.W * op.C, op.C, out + s * op.C, pitch, op.W, op.C);
    }
    op.kernels->copy_rows(out, 0, out + length, length, op.factor.h - 1, length);
  });
}

void upsample2d_backward(const Upsample2d& op, const float* dy, float* dx,
                         Worker& worker) noexcept {
  const dim_t pitch = op.factor.w * op.C, length = op.W * pitch;
  for_rows(op, worker, [&](dim_t row) noexcept {
    const float* in = dy + row * op.factor.h * length;
    float* out = dx + row * op.W * op.C;
    if (op.factor.h * op.factor.w > kManyPixels) return sum_blocks(op, in, out);
    for (dim_t r = 0; r < op.factor.h; ++r, in += length) {
      for (dim_t s = 0; s < op.factor.w; ++s) {
        const bool first = r == 0 && s == 0;
        (first ? op.kernels->copy_rows : op.kernels->add_rows)(in + s * op.C, pitch, out, op.C,
                                                               op.W, op.C);
      }
    }
  });
}

}  // namespace pycnn
