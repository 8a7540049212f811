// SPDX-License-Identifier: Apache-2.0
// Expressions put together, and their derivatives as expressions.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "base/expression.h"
#include "graph/graph.h"

namespace pycnn {

// Appends instructions; an equal one that exists is taken instead.
class ExpressionBuilder {
 public:
  Operand add(const Instruction& instruction);
  Operand add(Function function, Operand a, Operand b = {}, Operand c = {}) {
    return add({function, {a, b, c}});
  }
  // The results of `part`, with its inputs replaced.
  std::vector<Operand> include(const Expression& part, std::span<const Operand> inputs);
  // As add, but what needs no instruction gets none: x * 1, x + 0, ... The sign of a zero may
  // change.
  Operand add_simplified(const Instruction& instruction);

  std::size_t size() const { return code_.size(); }
  // Without the instructions that no result needs.
  Expression finish(std::vector<Operand> results) const;

 private:
  std::vector<Instruction> code_;
};

// An expression and the values that are its inputs.
struct BoundExpression {
  Expression expression;
  std::vector<ValueId> inputs;
};
// Drops inputs that are not read and merges those that are the same value. Nothing where more than
// kMaxExpressionInputs would remain, or more than kMaxInstructions.
std::optional<BoundExpression> bound(const Expression& expression,
                                     const std::vector<ValueId>& inputs);

// d result / d input[i] * dy for each i that is wanted: expressions of the inputs x0 .. xn-1, of
// dy, which is xn, and where its value is kept of the result, xn+1. None where it is zero
// everywhere.
std::vector<std::optional<Expression>> derivatives(const Expression& expression,
                                                   const std::vector<bool>& wanted,
                                                   bool result_is_kept);

}  // namespace pycnn
