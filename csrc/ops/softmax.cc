// SPDX-License-Identifier: Apache-2.0
#include "ops/softmax.h"

#include <cassert>

namespace pycnn {

void softmax_forward(const RowMap& op, const float* x, float* y, Worker& worker) noexcept {
  assert(x != nullptr && y != nullptr);
  for_rows(op, worker, [&](dim_t row, dim_t rows) noexcept {
    const dim_t i = row * op.classes;
    op.kernels->softmax(x + i, y + i, rows, op.classes);
  });
}

void softmax_backward(const RowMap& op, const float* y, const float* dy, float* dx,
                      Worker& worker) noexcept {
  assert(y != nullptr && dy != nullptr && dx != nullptr);
  for_rows(op, worker, [&](dim_t row, dim_t rows) noexcept {
    const dim_t i = row * op.classes;
    op.kernels->softmax_gradient(y + i, dy + i, dx + i, rows, op.classes);
  });
}

}  // namespace pycnn
