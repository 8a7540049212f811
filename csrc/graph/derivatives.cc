// SPDX-License-Identifier: Apache-2.0
// The derivative of each elementary function, and of expressions made of them.
#include <array>
#include <iterator>
#include <string>

#include "base/error.h"
#include "graph/expressions.h"

namespace pycnn {
namespace {

// dy * df/da, df/db, df/dc as text: instructions split by ';', the last of which is the result; a
// lone "dy" is dy itself. Operands are a, b, c, the result y, and dy; no text is zero everywhere.
// Where a branch is not taken, dy is selected away, not multiplied by 0: it may be infinite.
struct Row {
  Function function;
  std::array<const char*, kMaxArity> text = {};
};

constexpr Row kRows[] = {
    {Function::add, {"dy", "dy"}},
    {Function::subtract, {"dy", "negative dy"}},
    {Function::multiply, {"multiply dy b", "multiply dy a"}},
    {Function::divide, {"divide dy b", "divide dy b;multiply t0 y;negative t1"}},
    {Function::mod, {"dy", "floor_divide a b;multiply dy t0;negative t1"}},
    {Function::maximum, {"less_equal b a;where t0 dy 0", "less a b;where t0 dy 0"}},
    {Function::minimum, {"less_equal a b;where t0 dy 0", "less b a;where t0 dy 0"}},
    {Function::power,
     {"equal b 0;subtract b 1;power a t1;multiply b t2;multiply dy t3;where t0 0 t4",
      "less 0 a;log a;multiply y t1;multiply dy t2;where t0 t3 0"}},
    {Function::hypot, {"divide a y;multiply dy t0", "divide b y;multiply dy t0"}},
    {Function::arctan2,
     {"square a;square b;add t0 t1;divide b t2;multiply dy t3",
      "square a;square b;add t0 t1;divide a t2;multiply dy t3;negative t4"}},
    {Function::where, {nullptr, "where a dy 0", "where a 0 dy"}},
    {Function::clip,
     {"less_equal b a;less_equal a c;logical_and t0 t1;where t2 dy 0",
      "less a b;less_equal b c;logical_and t0 t1;where t2 dy 0",
      "less c a;less c b;logical_or t0 t1;where t2 dy 0"}},
    {Function::negative, {"negative dy"}},
    {Function::absolute, {"sign a;multiply dy t0"}},
    {Function::square, {"add a a;multiply dy t0"}},
    {Function::sqrt, {"add y y;divide dy t0"}},
    {Function::rsqrt, {"square y;multiply y t0;multiply t1 -0.5;multiply dy t2"}},
    {Function::reciprocal, {"square y;multiply dy t0;negative t1"}},
    {Function::exp, {"multiply dy y"}},
    {Function::exp2, {"multiply y 0.693147182;multiply dy t0"}},
    {Function::expm1, {"add y 1;multiply dy t0"}},
    {Function::log, {"divide dy a"}},
    {Function::log2, {"multiply a 0.693147182;divide dy t0"}},
    {Function::log10, {"multiply a 2.30258512;divide dy t0"}},
    {Function::log1p, {"add a 1;divide dy t0"}},
    {Function::sin, {"cos a;multiply dy t0"}},
    {Function::cos, {"sin a;multiply dy t0;negative t1"}},
    {Function::tan, {"square y;add t0 1;multiply dy t1"}},
    {Function::arcsin, {"square a;subtract 1 t0;rsqrt t1;multiply dy t2"}},
    {Function::arccos, {"square a;subtract 1 t0;rsqrt t1;multiply dy t2;negative t3"}},
    {Function::arctan, {"square a;add t0 1;divide dy t1"}},
    {Function::sinh, {"cosh a;multiply dy t0"}},
    {Function::cosh, {"sinh a;multiply dy t0"}},
    {Function::tanh, {"square y;subtract 1 t0;multiply dy t1"}},
    {Function::arcsinh, {"square a;add t0 1;rsqrt t1;multiply dy t2"}},
    {Function::arccosh, {"square a;subtract t0 1;rsqrt t1;multiply dy t2"}},
    {Function::arctanh, {"square a;subtract 1 t0;divide dy t1"}},
    {Function::sigmoid, {"subtract 1 y;multiply y t0;multiply dy t1"}},
    {Function::softplus, {"sigmoid a;multiply dy t0"}},
    {Function::erf, {"square a;negative t0;exp t1;multiply t2 1.12837918;multiply dy t3"}},
};

// The rule's operands as inputs of an expression, in this order.
constexpr const char* kNames[] = {"a", "b", "c", "y", "dy"};
constexpr std::size_t kNameY = 3, kNameDy = 4;

std::string with_inputs(const std::string& line) {
  std::string result, word;
  for (const char c : line + " ") {
    if (c != ' ') {
      word += c;
      continue;
    }
    for (std::size_t i = 0; i < std::size(kNames); ++i) {
      if (word == kNames[i]) word = concat("x", i);
    }
    result += (result.empty() ? "" : " ") + word;
    word.clear();
  }
  return result;
}

std::optional<Expression> parse_rule(const char* given) {
  if (given == nullptr) return std::nullopt;
  const std::string text = given;
  std::vector<std::string> lines(1);
  for (const char c : text) {
    if (c == ';')
      lines.emplace_back();
    else
      lines.back() += c;
  }
  for (std::string& line : lines) line = with_inputs(line);
  if (text != "dy") lines.push_back(concat("t", lines.size() - 1));
  return parse_expression(lines);
}

using Rules = std::array<std::optional<Expression>, kMaxArity>;

const Rules& rules_of(Function function) {
  static const std::vector<Rules> table = [] {
    std::vector<Rules> rules(kFunctions);
    for (const Row& row : kRows) {
      for (std::size_t k = 0; k < row.text.size(); ++k) {
        rules[static_cast<std::size_t>(row.function)][k] = parse_rule(row.text[k]);
      }
    }
    return rules;
  }();
  return table[static_cast<std::size_t>(function)];
}

// Reverse mode over the instructions of one expression.
class Differentiation {
 public:
  Differentiation(const Expression& expression, const std::vector<bool>& wanted,
                  bool result_is_kept)
      : expression_(expression),
        wanted_(wanted),
        active_(expression.code.size()),
        of_results_(expression.code.size()),
        of_inputs_(wanted.size()) {
    std::vector<Operand> inputs;
    for (std::size_t i = 0; i < wanted.size(); ++i) inputs.push_back(Operand::input(i));
    Expression all{expression.code, {}};
    for (std::size_t i = 0; i < all.code.size(); ++i) all.results.push_back(Operand::result(i));
    forward_ = builder_.include(all, inputs);
    const Operand& result = expression.results[0];
    if (result_is_kept && result.is(OperandKind::result)) {
      forward_[result.index] = Operand::input(wanted.size() + 1);
    }
  }

  std::vector<std::optional<Expression>> run() {
    mark_active();
    accumulate(expression_.results[0], Operand::input(wanted_.size()));
    for (std::size_t i = expression_.code.size(); i-- > 0;) {
      if (of_results_[i]) step(i);
    }
    std::vector<std::optional<Expression>> results;
    for (const auto& gradient : of_inputs_) {
      results.push_back(gradient ? std::optional(builder_.finish({*gradient})) : std::nullopt);
    }
    return results;
  }

 private:
  bool is_active(const Operand& operand) const {
    if (operand.is(OperandKind::input)) return wanted_[operand.index];
    return operand.is(OperandKind::result) && active_[operand.index];
  }

  void mark_active() {
    for (std::size_t i = 0; i < expression_.code.size(); ++i) {
      const Instruction& instruction = expression_.code[i];
      for (std::size_t k = 0; k < instruction.arity(); ++k) {
        if (is_active(instruction.operands[k])) active_[i] = true;
      }
    }
  }

  void accumulate(const Operand& operand, Operand gradient) {
    if (!is_active(operand)) return;
    auto& sum =
        operand.is(OperandKind::input) ? of_inputs_[operand.index] : of_results_[operand.index];
    sum = sum ? builder_.add_simplified({Function::add, {*sum, gradient}}) : gradient;
  }

  Operand forward(const Operand& operand) const {
    return operand.is(OperandKind::result) ? forward_[operand.index] : operand;
  }

  void step(std::size_t i) {
    const Instruction& instruction = expression_.code[i];
    std::array<Operand, std::size(kNames)> inputs;
    for (std::size_t k = 0; k < instruction.arity(); ++k) {
      inputs[k] = forward(instruction.operands[k]);
    }
    inputs[kNameY] = forward_[i];
    inputs[kNameDy] = *of_results_[i];
    for (std::size_t k = 0; k < instruction.arity(); ++k) {
      const auto& rule = rules_of(instruction.function)[k];
      if (!rule || !is_active(instruction.operands[k])) continue;
      accumulate(instruction.operands[k], apply(*rule, inputs));
    }
  }

  Operand apply(const Expression& rule, const std::array<Operand, std::size(kNames)>& inputs) {
    std::vector<Operand> made;
    const auto translated = [&](const Operand& operand) {
      if (operand.is(OperandKind::input)) return inputs[operand.index];
      return operand.is(OperandKind::result) ? made[operand.index] : operand;
    };
    for (Instruction instruction : rule.code) {
      for (std::size_t k = 0; k < instruction.arity(); ++k) {
        instruction.operands[k] = translated(instruction.operands[k]);
      }
      made.push_back(builder_.add_simplified(instruction));
    }
    return translated(rule.results[0]);
  }

  const Expression& expression_;
  const std::vector<bool>& wanted_;
  ExpressionBuilder builder_;
  std::vector<Operand> forward_;  // where the value of each instruction is
  std::vector<bool> active_;      // does it depend on an input that is wanted?
  std::vector<std::optional<Operand>> of_results_, of_inputs_;
};

}  // namespace

std::vector<std::optional<Expression>> derivatives(const Expression& expression,
                                                   const std::vector<bool>& wanted,
                                                   bool result_is_kept) {
  return Differentiation(expression, wanted, result_is_kept).run();
}

}  // namespace pycnn
