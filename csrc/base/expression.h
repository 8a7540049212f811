// SPDX-License-Identifier: Apache-2.0
// A formula over elements as data: instructions in single-assignment form, at most kMaxInstructions
// of them. As text, each instruction is "function operand ...", and the last line names the
// results:
//   multiply x0 0.5 | erf x0 | add t1 1 | multiply t0 t2 | t3
// Operands: x0 an input, t0 the result of instruction 0, a number, iota1 the place along axis 1,
// uniform7 a random number in [0, 1) for each element, of stream 7, or a number of the run:
// learning_rate, step (of the optimizer, from 1), batch (samples).
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "base/functions.h"

namespace pycnn {

constexpr int kMaxArity = 3;
constexpr std::size_t kMaxInstructions = 64, kMaxExpressionInputs = 16, kMaxResults = 4;

enum class OperandKind : std::uint8_t {
  result,  // of instruction `index`
  input,
  constant,
  iota,
  uniform,
  learning_rate,
  step,
  batch
};

struct Operand {
  OperandKind kind = OperandKind::constant;
  std::uint32_t index = 0;
  float value = 0;  // of a constant

  static Operand result(std::size_t i) { return {OperandKind::result, narrow(i)}; }
  static Operand input(std::size_t i) { return {OperandKind::input, narrow(i)}; }
  static Operand constant(float value) { return {OperandKind::constant, 0, value}; }
  bool is(OperandKind other) const { return kind == other; }
  bool operator==(const Operand& other) const;  // of constants: the same bits

 private:
  static std::uint32_t narrow(std::size_t i) { return static_cast<std::uint32_t>(i); }
};

struct Instruction {
  Function function = Function::add;
  std::array<Operand, kMaxArity> operands = {};  // those beyond the arity stay as they are here

  std::size_t arity() const { return static_cast<std::size_t>(arity_of(function)); }
  bool operator==(const Instruction&) const = default;
};

struct Expression {
  std::vector<Instruction> code;
  std::vector<Operand> results;
};

// visit(operand) for all that instructions read, then for the results.
template <class AnyExpression, class Visit>
void for_each_operand(AnyExpression& expression, Visit&& visit) {
  for (auto& instruction : expression.code) {
    for (std::size_t k = 0; k < instruction.arity(); ++k) visit(instruction.operands[k]);
  }
  for (auto& result : expression.results) visit(result);
}

// Throws Error(value) for what is no expression: every operand must exist before it is read.
Expression parse_expression(const std::vector<std::string>& lines);
std::vector<std::string> to_text(const Expression& expression);
// Also of an expression that was put together: its limits, and that operands exist.
void check_expression(const Expression& expression);

}  // namespace pycnn
