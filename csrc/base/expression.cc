// SPDX-License-Identifier: Apache-2.0
#include "base/expression.h"

#include <bit>
#include <cmath>
#include <iomanip>
#include <limits>
#include <locale>
#include <optional>
#include <sstream>

#include "base/error.h"
#include "base/float_mode.h"
#include "base/shape.h"

namespace pycnn {
namespace {

struct Word {
  const char* text;
  OperandKind kind;
};
// With a number behind them; and alone.
constexpr Word kNumbered[] = {{"x", OperandKind::input},
                              {"t", OperandKind::result},
                              {"iota", OperandKind::iota},
                              {"uniform", OperandKind::uniform}};
constexpr Word kAlone[] = {{"learning_rate", OperandKind::learning_rate},
                           {"step", OperandKind::step},
                           {"batch", OperandKind::batch}};

std::optional<std::uint32_t> to_index(const std::string& digits) {
  if (digits.empty() || digits.size() > 10) return std::nullopt;
  std::uint64_t number = 0;
  for (const char c : digits) {
    if (c < '0' || c > '9') return std::nullopt;
    number = 10 * number + static_cast<std::uint64_t>(c - '0');
  }
  if (number > std::numeric_limits<std::uint32_t>::max()) return std::nullopt;
  return static_cast<std::uint32_t>(number);
}

// The whole text as a number, in any locale.
std::optional<float> to_number(const std::string& text) {
  if (text == "inf") return std::numeric_limits<float>::infinity();
  if (text == "-inf") return -std::numeric_limits<float>::infinity();
  if (text == "nan") return std::numeric_limits<float>::quiet_NaN();
  std::istringstream stream(text);
  stream.imbue(std::locale::classic());
  double number = 0;
  stream >> std::noskipws >> number;
  const bool whole = stream && stream.peek() == std::istringstream::traits_type::eof();
  return whole ? std::optional(to_single(number)) : std::nullopt;
}

std::string to_text(float value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  std::string text;
  for (int digits = 6; digits <= 9; ++digits) {
    text = concat(std::setprecision(digits), value);
    if (to_number(text) == value) break;
  }
  return text;
}

Operand parse_operand(const std::string& text) {
  for (const Word& word : kAlone) {
    if (text == word.text) return {word.kind};
  }
  for (const Word& word : kNumbered) {
    const std::string prefix = word.text;
    if (!text.starts_with(prefix)) continue;
    if (const auto index = to_index(text.substr(prefix.size()))) return {word.kind, *index};
  }
  const std::optional<float> number = to_number(text);
  PYCNN_CHECK_VALUE(number, "expression: '", text.substr(0, 40), "' is no operand");
  return Operand::constant(*number);
}

std::string to_text(const Operand& operand) {
  for (const Word& word : kNumbered) {
    if (word.kind == operand.kind) return concat(word.text, operand.index);
  }
  for (const Word& word : kAlone) {
    if (word.kind == operand.kind) return word.text;
  }
  return to_text(operand.value);
}

std::vector<std::string> split(const std::string& line) {
  std::vector<std::string> words(1);
  for (const char c : line) {
    if (c == ' ')
      words.emplace_back();
    else
      words.back() += c;
  }
  return words;
}

Instruction parse_instruction(const std::string& line) {
  const std::vector<std::string> words = split(line);
  Instruction instruction{.function = function_named(words[0].substr(0, 40))};
  const std::size_t arity = instruction.arity();
  PYCNN_CHECK_VALUE(words.size() == arity + 1, "expression: ", name_of(instruction.function),
                    " takes ", arity, " operands, got ", words.size() - 1);
  for (std::size_t k = 0; k < arity; ++k) instruction.operands[k] = parse_operand(words[k + 1]);
  return instruction;
}

void check_operand(const Operand& operand, std::size_t instructions) {
  const auto check_below = [&](const char* what, std::size_t most) {
    PYCNN_CHECK_VALUE(operand.index < most, "expression: ", to_text(operand),
                      ": expected a number of ", what, " below ", most);
  };
  if (operand.is(OperandKind::result)) check_below("an earlier instruction", instructions);
  if (operand.is(OperandKind::input)) check_below("an input", kMaxExpressionInputs);
  if (operand.is(OperandKind::iota)) check_below("an axis", kMaxRank);
}

}  // namespace

bool Operand::operator==(const Operand& other) const {
  return kind == other.kind && index == other.index &&
         std::bit_cast<std::uint32_t>(value) == std::bit_cast<std::uint32_t>(other.value);
}

void check_expression(const Expression& expression) {
  const std::size_t instructions = expression.code.size(), results = expression.results.size();
  PYCNN_CHECK_VALUE(instructions <= kMaxInstructions, "expression: at most ", kMaxInstructions,
                    " instructions, got ", instructions);
  PYCNN_CHECK_VALUE(results >= 1 && results <= kMaxResults, "expression: 1 to ", kMaxResults,
                    " results, got ", results);
  for (std::size_t i = 0; i < instructions; ++i) {
    const Instruction& instruction = expression.code[i];
    for (std::size_t k = 0; k < instruction.arity(); ++k) check_operand(instruction.operands[k], i);
  }
  for (const Operand& result : expression.results) check_operand(result, instructions);
}

Expression parse_expression(const std::vector<std::string>& lines) {
  PYCNN_CHECK_VALUE(!lines.empty() && lines.size() <= kMaxInstructions + 1,
                    "expression: expected 1 to ", kMaxInstructions + 1, " lines, got ",
                    lines.size());
  Expression expression;
  for (std::size_t i = 0; i + 1 < lines.size(); ++i) {
    expression.code.push_back(parse_instruction(lines[i]));
  }
  for (const std::string& word : split(lines.back())) {
    expression.results.push_back(parse_operand(word));
  }
  check_expression(expression);
  return expression;
}

std::vector<std::string> to_text(const Expression& expression) {
  std::vector<std::string> lines;
  for (const Instruction& instruction : expression.code) {
    std::string line = name_of(instruction.function);
    for (std::size_t k = 0; k < instruction.arity(); ++k) {
      line += " " + to_text(instruction.operands[k]);
    }
    lines.push_back(line);
  }
  std::string results;
  for (const Operand& result : expression.results) {
    results += (results.empty() ? "" : " ") + to_text(result);
  }
  lines.push_back(results);
  return lines;
}

}  // namespace pycnn
