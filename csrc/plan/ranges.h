// SPDX-License-Identifier: Apache-2.0
// What an expression's results can be, from what its inputs are: intervals, widened for roundings.
#pragma once

#include <array>
#include <span>

#include "base/expression.h"

namespace pycnn {

struct Range {
  double low = 0, high = 0;
  bool is_known = false;  // else it may be anything, NaN too

  double largest() const;  // |x|
};
Range range_between(double low, double high);  // not known beyond half of what a float can hold

struct RunNumbers {
  double learning_rate = 0, step = 0, batch = 0;
};

// Of each result; the inputs in their order.
std::array<Range, kMaxResults> ranges_of(const Expression& expression,
                                         std::span<const Range> inputs,
                                         const RunNumbers& numbers) noexcept;

}  // namespace pycnn
