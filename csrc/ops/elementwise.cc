// SPDX-License-Identifier: Apache-2.0
#include "ops/elementwise.h"

#include <algorithm>
#include <cassert>

#include "base/shape.h"
#include "kernels/eltwise/eltwise.h"

namespace pycnn {
namespace {

constexpr dim_t kBlock = 8192;       // 32 KB per stream: small tensors are one task
constexpr dim_t kChunkPiece = 1024;  // of every chunk: their sum stays in L1
static_assert(kBlock % kDropoutAlign == 0);

// body(first element, count) over [0, count) in blocks
template <class Body>
void for_blocks(dim_t count, Worker& worker, Body&& body) noexcept {
  worker.parallel_for(ceil_div(count, kBlock), [&](dim_t begin, dim_t end) noexcept {
    const dim_t first = begin * kBlock;
    body(first, std::min(end * kBlock, count) - first);
  });
}

}  // namespace

Elementwise make_elementwise(dim_t count, Isa isa) {
  assert(count >= 0);
  return {count, &eltwise_kernels(isa)};
}

void add_chunks(const Elementwise& op, float* partial, dim_t chunks, float* sum,
                Worker& worker) noexcept {
  assert(chunks >= 1 && partial != nullptr && sum != nullptr);
  worker.parallel_for(ceil_div(op.count, kChunkPiece), [&](dim_t first, dim_t last) noexcept {
    const dim_t begin = first * kChunkPiece, end = std::min(op.count, last * kChunkPiece);
    for (dim_t d = 1; d < chunks; d *= 2) {
      for (dim_t i = 0; i + d < chunks; i += 2 * d) {
        float* to = partial + i * op.count + begin;
        op.kernels->add(to, to + d * op.count, to, end - begin);
      }
    }
    if (sum != partial) std::copy(partial + begin, partial + end, sum + begin);
  });
}

void add_forward(const Elementwise& op, const float* a, const float* b, float* y,
                 Worker& worker) noexcept {
  assert(op.count == 0 || (a != nullptr && b != nullptr && y != nullptr));
  for_blocks(op.count, worker,
             [&](dim_t i, dim_t count) noexcept { op.kernels->add(a + i, b + i, y + i, count); });
}

Activation make_activation(dim_t count, ActivationKind kind, float alpha, Isa isa) {
  return {make_elementwise(count, isa), kind, alpha};
}

void activation_forward(const Activation& op, const float* x, float* y, Worker& worker) noexcept {
  assert(op.map.count == 0 || (x != nullptr && y != nullptr));
  const auto map = op.map.kernels->activation[static_cast<int>(op.kind)];
  for_blocks(op.map.count, worker,
             [&](dim_t i, dim_t count) noexcept { map(x + i, y + i, count, op.alpha); });
}

void activation_backward(const Activation& op, const float* y, const float* dy, float* dx,
                         Worker& worker) noexcept {
  assert(op.map.count == 0 || (y != nullptr && dy != nullptr && dx != nullptr));
  const auto map = op.map.kernels->activation_gradient[static_cast<int>(op.kind)];
  for_blocks(op.map.count, worker,
             [&](dim_t i, dim_t count) noexcept { map(y + i, dy + i, dx + i, count, op.alpha); });
}

Dropout make_dropout(dim_t count, float rate, std::uint32_t stream, Isa isa) {
  assert(rate >= 0 && rate < 1);
  return {make_elementwise(count, isa), rate, stream};
}

void dropout_forward(const Dropout& op, const RandomState& state, const float* x, float* y,
                     Worker& worker) noexcept {
  assert(op.map.count == 0 || (x != nullptr && y != nullptr));
  const DropoutKey key{
      .seed = state.seed, .stream = op.stream, .step = state.step, .rate = op.rate};
  for_blocks(op.map.count, worker, [&](dim_t i, dim_t count) noexcept {
    op.map.kernels->dropout(key, i, x + i, y + i, count);
  });
}

}  // namespace pycnn
