// SPDX-License-Identifier: Apache-2.0
#include "ops/channels.h"

#include <algorithm>
#include <cassert>

#include "base/shape.h"
#include "kernels/eltwise/eltwise.h"

namespace pycnn {
namespace {

constexpr dim_t kBlock = 8192;  // floats of the wider side in a task, as in elementwise ops

// body(first row, rows)
template <class Body>
void for_row_blocks(const ChannelCopy& op, Worker& worker, Body&& body) noexcept {
  const dim_t block = std::max<dim_t>(1, kBlock / std::max(op.from.C, op.to.C));
  worker.parallel_for(ceil_div(op.rows, block), [&](dim_t begin, dim_t end) noexcept {
    body(begin * block, std::min(end * block, op.rows) - begin * block);
  });
}

}  // namespace

ChannelCopy make_channel_copy(dim_t rows, dim_t count, ChannelCopy::Side from, ChannelCopy::Side to,
                              Isa isa) {
  assert(rows >= 0 && count >= 1 && from.first >= 0 && from.first + count <= from.C);
  assert(to.first >= 0 && to.first + count <= to.C);
  return {rows, count, from, to, &eltwise_kernels(isa)};
}

void copy_channels(const ChannelCopy& op, const float* x, float* y, Worker& worker) noexcept {
  assert(op.rows == 0 || (x != nullptr && y != nullptr && x != y));
  for_row_blocks(op, worker, [&](dim_t row, dim_t rows) noexcept {
    op.kernels->copy_rows(x + row * op.from.C + op.from.first, op.from.C,
                          y + row * op.to.C + op.to.first, op.to.C, rows, op.count);
  });
}

void pad_channels(const ChannelCopy& op, const float* x, float* y, Worker& worker) noexcept {
  assert(op.rows == 0 || (x != nullptr && y != nullptr && x != y));
  for_row_blocks(op, worker, [&](dim_t row, dim_t rows) noexcept {
    std::fill_n(y + row * op.to.C, rows * op.to.C, 0.0f);
    op.kernels->copy_rows(x + row * op.from.C + op.from.first, op.from.C,
                          y + row * op.to.C + op.to.first, op.to.C, rows, op.count);
  });
}

}  // namespace pycnn
