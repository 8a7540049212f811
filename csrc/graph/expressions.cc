// SPDX-License-Identifier: Apache-2.0
#include "graph/expressions.h"

#include <algorithm>

namespace pycnn {
namespace {

bool is_number(const Operand& operand, float value) { return operand == Operand::constant(value); }

// What a function of these operands is without computing it, where that is known.
std::optional<Operand> known_result(const Instruction& instruction) {
  const auto& [a, b, c] = instruction.operands;
  switch (instruction.function) {
    case Function::add:
      if (is_number(a, 0)) return b;
      if (is_number(b, 0)) return a;
      break;
    case Function::subtract:
      if (is_number(b, 0)) return a;
      break;
    case Function::multiply:
      if (is_number(a, 1)) return b;
      if (is_number(b, 1)) return a;
      break;
    case Function::divide:
      if (is_number(b, 1)) return a;
      break;
    default:
      break;
  }
  return std::nullopt;
}

void replace(Operand& operand, OperandKind kind, std::span<const Operand> by) {
  if (operand.is(kind)) operand = by[operand.index];
}

}  // namespace

Operand ExpressionBuilder::add(const Instruction& instruction) {
  const auto found = std::ranges::find(code_, instruction);
  const auto place = static_cast<std::size_t>(found - code_.begin());
  if (found == code_.end()) code_.push_back(instruction);
  return Operand::result(place);
}

Operand ExpressionBuilder::add_simplified(const Instruction& instruction) {
  const std::optional<Operand> known = known_result(instruction);
  return known ? *known : add(instruction);
}

std::vector<Operand> ExpressionBuilder::include(const Expression& part,
                                                std::span<const Operand> inputs) {
  std::vector<Operand> made;
  const auto translate = [&](Operand& operand) {
    if (operand.is(OperandKind::result)) {
      operand = made[operand.index];
    } else {
      replace(operand, OperandKind::input, inputs);
    }
  };
  for (Instruction instruction : part.code) {
    for (std::size_t k = 0; k < instruction.arity(); ++k) translate(instruction.operands[k]);
    made.push_back(add(instruction));
  }
  std::vector<Operand> results = part.results;
  for (Operand& result : results) translate(result);
  return results;
}

Expression ExpressionBuilder::finish(std::vector<Operand> results) const {
  std::vector<bool> needed(code_.size());
  const auto need = [&](const Operand& operand) {
    if (operand.is(OperandKind::result)) needed[operand.index] = true;
  };
  std::ranges::for_each(results, need);
  for (std::size_t i = code_.size(); i-- > 0;) {
    if (!needed[i]) continue;
    for (std::size_t k = 0; k < code_[i].arity(); ++k) need(code_[i].operands[k]);
  }
  Expression expression;
  std::vector<Operand> moved(code_.size());
  for (std::size_t i = 0; i < code_.size(); ++i) {
    if (!needed[i]) continue;
    moved[i] = Operand::result(expression.code.size());
    Instruction instruction = code_[i];
    for (Operand& operand : instruction.operands) replace(operand, OperandKind::result, moved);
    expression.code.push_back(instruction);
  }
  for (Operand& result : results) replace(result, OperandKind::result, moved);
  expression.results = std::move(results);
  return expression;
}

std::optional<BoundExpression> bound(const Expression& expression,
                                     const std::vector<ValueId>& inputs) {
  BoundExpression result{expression, {}};
  for_each_operand(result.expression, [&](Operand& operand) {
    if (!operand.is(OperandKind::input)) return;
    const ValueId value = inputs[operand.index];
    const auto found = std::ranges::find(result.inputs, value);
    operand = Operand::input(static_cast<std::size_t>(found - result.inputs.begin()));
    if (found == result.inputs.end()) result.inputs.push_back(value);
  });
  const bool fits = result.inputs.size() <= kMaxExpressionInputs &&
                    result.expression.code.size() <= kMaxInstructions;
  return fits ? std::optional(std::move(result)) : std::nullopt;
}

}  // namespace pycnn
