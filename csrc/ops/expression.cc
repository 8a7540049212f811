// SPDX-License-Identifier: Apache-2.0
#include "ops/expression.h"

#include <algorithm>
#include <cassert>

#include "ops/evaluator.h"

namespace pycnn {
namespace {

constexpr dim_t kTaskBlocks = 32;  // 32 KB a stream: small tensors are one task

// body(evaluator, first element, count) over all, `step` elements at a time
template <class Body>
void for_blocks(const Map& op, const ExpressionRun& run, dim_t step, Worker& worker,
                Body&& body) noexcept {
  const dim_t task = kTaskBlocks * kBlock;
  worker.parallel_for(ceil_div(op.count, task), [&](dim_t begin, dim_t end) noexcept {
    Evaluator evaluator(op.program, run, worker.scratch_floats());
    const dim_t stop = std::min(op.count, end * task);
    for (dim_t i = begin * task; i < stop; i += step) body(evaluator, i, std::min(step, stop - i));
  });
}

}  // namespace

void map_forward(const Map& op, const ExpressionRun& run, void* const* y, Worker& worker) noexcept {
  const dim_t step = op.program.is_one_call() ? kTaskBlocks * kBlock : kBlock;
  for_blocks(op, run, step, worker, [&](Evaluator& evaluator, dim_t first, dim_t count) noexcept {
    evaluator.evaluate(first, count, y);
  });
}

void visit_map(const Map& op, const ExpressionRun& run, VisitBlock visit, void* context,
               Worker& worker) noexcept {
  for_blocks(op, run, kBlock, worker, [&](Evaluator& evaluator, dim_t first, dim_t count) noexcept {
    evaluator.evaluate(first, count, nullptr);
    for (std::size_t r = 0; r < op.program.results.size(); ++r) {
      visit(context, r, first, evaluator.result(r, count), count);
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
