// SPDX-License-Identifier: Apache-2.0
// Expressions folded over axes: sums, means, extremes and where these are. Long folds are cut into
// sections by shape alone, folded in single, and their results combined in double in index order:
// no thread count changes a bit, and a term is rounded kMostRoundings times at most (ops/reduce.h).
#pragma once

#include <vector>

#include "ops/expression.h"

namespace pycnn {

// Of elements seen as [outer][length][inner], one result for each outer and inner.
struct Fold {
  ReduceKind kind = ReduceKind::sum;  // sum, max or min; or arg_max, arg_min
  dim_t outer = 1, length = 1, inner = 1;
  dim_t section = 1;     // how many of `length` are folded in one go
  double divisor = 1;    // of a sum, in the end
  BlockProgram program;  // what is folded

  dim_t sections() const { return ceil_div(length, section); }
  dim_t results() const { return outer * inner; }
  dim_t workspace_floats() const;  // shared by the workers; the caller provides it
  dim_t scratch_floats() const;    // per thread
};

// The folds that reduce these axes one after the other: the first one evaluates the expression, the
// others read its results. More than one where axes that are kept lie between.
std::vector<Fold> make_folds(ReduceKind kind, const Expression& expression, const Shape& shape,
                             std::span<const dim_t> axes, const std::vector<MapInput>& inputs,
                             dim_t batch, Isa isa);

// y: floats, or int32 of arg_max and arg_min: the first place of the extreme, or of a NaN.
void fold_forward(const Fold& op, const ExpressionRun& run, void* y, float* workspace,
                  Worker& worker) noexcept;

}  // namespace pycnn
