// SPDX-License-Identifier: Apache-2.0
#include "plan/ranges.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace pycnn {
namespace {

constexpr double kLimit = 0.5 * std::numeric_limits<float>::max();
constexpr double kLeast = 2 * double{std::numeric_limits<float>::min()};  // below: perhaps flushed
constexpr double kSlack = 1e-5;  // of the functions' errors and roundings

using Operands = std::array<Range, kMaxArity>;

Range widened(double low, double high) {
  low -= kSlack * std::abs(low);
  high += kSlack * std::abs(high);
  if (low > 0 && low < kLeast) low = 0;
  if (high < 0 && high > -kLeast) high = 0;
  return range_between(low, high);
}

Range hull(const Range& a, const Range& b) {
  if (!a.is_known || !b.is_known) return {};
  return range_between(std::min(a.low, b.low), std::max(a.high, b.high));
}

Range product(const Range& a, const Range& b) {
  const auto [low, high] =
      std::minmax({a.low * b.low, a.low * b.high, a.high * b.low, a.high * b.high});
  return widened(low, high);
}

Range inverse(const Range& x) {
  if (!x.is_known || (x.low <= 0 && x.high >= 0)) return {};
  return widened(1 / x.high, 1 / x.low);
}

Range magnitude(const Range& x) {
  const double near = x.low > 0 ? x.low : x.high < 0 ? -x.high : 0;
  return range_between(near, x.largest());
}

Range squared(const Range& x) {
  const Range size = magnitude(x);
  return widened(size.low * size.low, size.high * size.high);
}

// Of a function that never falls, where x is not below `least`.
template <class Rising>
Range rising(const Range& x, Rising f, double least = -kLimit) {
  return x.low >= least ? widened(f(x.low), f(x.high)) : Range{};
}

// A number to the power of another; of the engine's own it is not as exact as the others.
Range power(const Range& a, const Range& b) {
  constexpr double kInexact = 1e-3;
  if (a.low != a.high || b.low != b.high || a.low <= 0) return {};
  const double y = std::pow(a.low, b.low);
  return widened(y * (1 - kInexact), y * (1 + kInexact));
}

Range of_one(Function function, const Range& x) {
  switch (function) {
    case Function::negative:
      return range_between(-x.high, -x.low);
    case Function::absolute:
      return magnitude(x);
    case Function::square:
      return squared(x);
    case Function::sqrt:
      return rising(x, [](double v) { return std::sqrt(v); }, 0);
    case Function::rsqrt:
      return inverse(rising(x, [](double v) { return std::sqrt(v); }, 0));
    case Function::reciprocal:
      return inverse(x);
    case Function::exp:
      return rising(x, [](double v) { return std::exp(v); });
    case Function::expm1:
      return rising(x, [](double v) { return std::expm1(v); });
    case Function::log:
      return rising(x, [](double v) { return std::log(v); }, kLeast);
    case Function::log1p:
      return rising(x, [](double v) { return std::log1p(v); }, 0);
    case Function::floor:
    case Function::ceil:
    case Function::round:
    case Function::trunc:
      return range_between(std::floor(x.low), std::ceil(x.high));
    case Function::sign:
    case Function::sin:
    case Function::cos:
    case Function::tanh:
    case Function::erf:
      return widened(-1, 1);
    case Function::sigmoid:
      return widened(0, 1);
    default:
      return {};
  }
}

Range of_two(Function function, const Range& a, const Range& b) {
  switch (function) {
    case Function::add:
      return widened(a.low + b.low, a.high + b.high);
    case Function::subtract:
      return widened(a.low - b.high, a.high - b.low);
    case Function::multiply:
      return product(a, b);
    case Function::divide: {
      const Range share = inverse(b);
      return share.is_known ? product(a, share) : share;
    }
    case Function::maximum:
      return range_between(std::max(a.low, b.low), std::max(a.high, b.high));
    case Function::minimum:
      return range_between(std::min(a.low, b.low), std::min(a.high, b.high));
    case Function::power:
      return power(a, b);
    case Function::hypot:
      return widened(0, a.largest() + b.largest());
    default:
      return {};
  }
}

bool is_truth(Function function) {
  switch (function) {
    case Function::equal:
    case Function::not_equal:
    case Function::less:
    case Function::less_equal:
    case Function::logical_and:
    case Function::logical_or:
    case Function::logical_not:
    case Function::isfinite:
    case Function::isinf:
    case Function::isnan:
      return true;
    default:
      return false;
  }
}

Range range_of(Function function, const Operands& x) {
  if (is_truth(function)) return range_between(0, 1);
  if (function == Function::where) return hull(x[1], x[2]);
  if (function == Function::to_uint8) return range_between(0, 255);
  const int arity = arity_of(function);
  if (!std::all_of(x.begin(), x.begin() + arity, [](const Range& r) { return r.is_known; })) {
    return {};
  }
  if (function == Function::clip) {
    return of_two(Function::minimum, x[2], of_two(Function::maximum, x[1], x[0]));
  }
  return arity == 1 ? of_one(function, x[0]) : of_two(function, x[0], x[1]);
}

class Analysis {
 public:
  Analysis(const Expression& expression, std::span<const Range> inputs, const RunNumbers& numbers)
      : code_(expression.code), inputs_(inputs), numbers_(numbers) {
    for (std::size_t i = 0; i < code_.size(); ++i) made_[i] = range_of_instruction(code_[i]);
  }

  Range of(const Operand& operand) const {
    switch (operand.kind) {
      case OperandKind::result:
        return made_[operand.index];
      case OperandKind::input:
        return inputs_[operand.index];
      case OperandKind::constant:
        return exactly(double{operand.value});
      case OperandKind::learning_rate:
        return exactly(numbers_.learning_rate);
      case OperandKind::step:
        return widened(numbers_.step, numbers_.step);
      case OperandKind::batch:
        return widened(numbers_.batch, numbers_.batch);
      case OperandKind::uniform:
        return range_between(0, 1);
      case OperandKind::iota:
        break;
    }
    return {};
  }

 private:
  static Range exactly(double x) { return range_between(x, x); }

  Range range_of_instruction(const Instruction& instruction) const {
    const auto& [a, b, c] = instruction.operands;
    if (instruction.function == Function::multiply && a == b && of(a).is_known) {
      return squared(of(a));
    }
    const Range range = range_of(instruction.function, {of(a), of(b), of(c)});
    if (instruction.function != Function::add || !range.is_known) return range;
    if (const Instruction* move = move_from(a, b)) return between(*move, a, range);
    if (const Instruction* move = move_from(b, a)) return between(*move, b, range);
    return range;
  }

  const Instruction* made_by(const Operand& operand, Function function) const {
    if (!operand.is(OperandKind::result)) return nullptr;
    const Instruction& made = code_[operand.index];
    return made.function == function ? &made : nullptr;
  }

  // x + (y - x) * c with c in [0, 1], of which intervals alone would not see that it is between x
  // and y. The difference, or none.
  const Instruction* move_from(const Operand& x, const Operand& sum) const {
    const Instruction* scaled = made_by(sum, Function::multiply);
    if (scaled == nullptr) return nullptr;
    for (std::size_t k = 0; k < 2; ++k) {
      const Instruction* difference = made_by(scaled->operands[k], Function::subtract);
      const Range share = of(scaled->operands[1 - k]);
      const bool within = share.is_known && share.low >= 0 && share.high <= 1;
      if (difference != nullptr && within && difference->operands[1] == x) return difference;
    }
    return nullptr;
  }
  // Roundings never fall, so that what is not negative stays so.
  Range between(const Instruction& difference, const Operand& x, const Range& otherwise) const {
    const Range both = hull(of(difference.operands[0]), of(x));
    if (!both.is_known) return otherwise;
    return widened(both.low, both.high);
  }

  const std::vector<Instruction>& code_;
  std::span<const Range> inputs_;
  const RunNumbers& numbers_;
  std::array<Range, kMaxInstructions> made_{};
};

}  // namespace

double Range::largest() const { return std::max(std::abs(low), std::abs(high)); }

Range range_between(double low, double high) {
  if (!(low >= -kLimit && high <= kLimit)) return {};
  return {low, high, true};
}

std::array<Range, kMaxResults> ranges_of(const Expression& expression,
                                         std::span<const Range> inputs,
                                         const RunNumbers& numbers) noexcept {
  const Analysis analysis(expression, inputs, numbers);
  std::array<Range, kMaxResults> results{};
  for (std::size_t r = 0; r < expression.results.size(); ++r) {
    results[r] = analysis.of(expression.results[r]);
  }
  return results;
}

}  // namespace pycnn
