// SPDX-License-Identifier: Apache-2.0
// The elementary functions that expressions are made of, over floats. Names and semantics are
// NumPy's; comparisons and logic give 1 or 0, and take everything but 0 (NaN, too) for true.
#pragma once

#include <cstdint>
#include <span>
#include <string>

namespace pycnn {

enum class Function : std::uint8_t {
  add,
  subtract,
  multiply,
  divide,
  floor_divide,
  mod,  // has the sign of the divisor
  maximum,
  minimum,  // of NaN and anything: NaN, as maximum
  power,
  hypot,
  arctan2,
  equal,
  not_equal,
  less,
  less_equal,
  logical_and,
  logical_or,
  logical_not,
  where,  // (condition, a, b)
  clip,   // (x, low, high): minimum(high, maximum(low, x))
  negative,
  absolute,
  sign,
  square,
  sqrt,
  rsqrt,
  reciprocal,
  exp,
  exp2,
  expm1,
  log,
  log2,
  log10,
  log1p,
  sin,
  cos,
  tan,
  arcsin,
  arccos,
  arctan,
  sinh,
  cosh,
  tanh,
  arcsinh,
  arccosh,
  arctanh,
  sigmoid,
  softplus,
  erf,
  floor,
  ceil,
  round,  // ties to even
  trunc,
  isfinite,
  isinf,
  isnan,
  to_int32,  // towards zero, saturated; NaN gives 0
  to_uint8,  // likewise
  count_
};
constexpr int kFunctions = static_cast<int>(Function::count_);

const char* name_of(Function function);
int arity_of(Function function);
Function function_named(const std::string& name);  // throws Error(value) for an unknown name

}  // namespace pycnn
