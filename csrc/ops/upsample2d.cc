// SPDX-License-Identifier: Apache-2.0
#include "ops/upsample2d.h"

#include <algorithm>
#include <cassert>

#include "kernels/eltwise/eltwise.h"

namespace pycnn {
namespace {

constexpr dim_t kBlock = 8192;  // floats of the larger side in a task, as in elementwise ops

// body(row of x), several rows to a task where they are short
template <class Body>
void for_rows(const Upsample2d& op, Worker& worker, Body&& body) noexcept {
  const dim_t made = op.W * op.C * op.factor.h * op.factor.w;
  const dim_t block = std::max<dim_t>(1, kBlock / std::max<dim_t>(1, made));
  worker.parallel_for(ceil_div(op.rows, block), [&](dim_t begin, dim_t end) noexcept {
    for (dim_t row = begin * block; row < std::min(end * block, op.rows); ++row) body(row);
  });
}

}  // namespace

Upsample2d make_upsample2d(dim_t rows, dim_t W, dim_t C, Size2d factor, Isa isa) {
  assert(rows >= 0 && W >= 1 && C >= 1 && factor.h >= 1 && factor.w >= 1);
  return {rows, W, C, factor, &eltwise_kernels(isa)};
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
