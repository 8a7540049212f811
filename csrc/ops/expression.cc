// SPDX-License-Identifier: Apache-2.0
#include "ops/expression.h"

#include <algorithm>
#include <cassert>

#include "ops/evaluator.h"

namespace pycnn {
namespace {

constexpr dim_t kTaskBlocks = 32;  // 32 KB a stream: small tensors are one task

}  // namespace

void map_forward(const Map& op, const ExpressionRun& run, void* const* y, Worker& worker) noexcept {
  const dim_t blocks = ceil_div(op.count, kBlock);
  worker.parallel_for(ceil_div(blocks, kTaskBlocks), [&](dim_t begin, dim_t end) noexcept {
    Evaluator evaluator(op.program, run, worker.scratch_floats());
    const dim_t stop = std::min(op.count, end * kTaskBlocks * kBlock);
    for (dim_t i = begin * kTaskBlocks * kBlock; i < stop; i += kBlock) {
      evaluator.evaluate(i, std::min(kBlock, stop - i), y);
    }
  });
}

void visit_map(const Map& op, const ExpressionRun& run, VisitBlock visit, void* context,
               Worker& worker) noexcept {
  const dim_t blocks = ceil_div(op.count, kBlock);
  worker.parallel_for(ceil_div(blocks, kTaskBlocks), [&](dim_t begin, dim_t end) noexcept {
    Evaluator evaluator(op.program, run, worker.scratch_floats());
    const dim_t stop = std::min(op.count, end * kTaskBlocks * kBlock);
    for (dim_t i = begin * kTaskBlocks * kBlock; i < stop; i += kBlock) {
      const dim_t count = std::min(kBlock, stop - i);
      evaluator.evaluate(i, count, nullptr);
      for (std::size_t r = 0; r < op.program.results.size(); ++r) {
        visit(context, r, i, evaluator.result(r, count), count);
      }
    }
  });
}

Extremes extremes_of(const float* x, dim_t count, Isa isa) noexcept {
  Extremes found;
  const ExpressionKernels& kernels = expression_kernels(isa);
  kernels.fold[2].rows(x, 1, count, &found.least);
  kernels.fold[1].rows(x, 1, count, &found.most);
  return found;
}

}  // namespace pycnn
