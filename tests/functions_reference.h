// SPDX-License-Identifier: Apache-2.0
// The elementary functions in double precision by the C++ library, rounded steps as NumPy has them.
#pragma once

#include <cfloat>
#include <cmath>

#include "base/functions.h"

constexpr float kSmallest = FLT_MIN;

// Where algorithms change, and where functions have zeros or poles.
constexpr float kThresholds[] = {
    0.125f,     0.5f,          0.625f,       1.0f,          2.0f,        4.0f,        10.0f,
    89.0f,      88.7228317f,   87.3365402f,  89.4159851f,   60.0f,       126.0f,      128.0f,
    127.0f,     5.9604645e-8f, 0.707106769f, 1.41421354f,   1.57079637f, 3.14159274f, 0.785398185f,
    2.3561945f, 8388608.0f,    16777216.0f,  2147483648.0f, 255.0f,      1e-37f,
};

struct Divided {
  float quotient, rest;
};

// As NumPy divides floats with a floor: the rest exact, every other step rounded to float.
inline Divided divided(float a, float b) {
  double rest = std::fmod(static_cast<double>(a), static_cast<double>(b));
  if (b == 0) return {a / b, NAN};
  float quotient = static_cast<float>(a - rest) / b;
  if (rest != 0 && (b < 0) != (rest < 0)) {
    rest += b;
    quotient -= 1;
  } else if (rest == 0) {
    rest = std::copysign(0.0, b);
  }
  if (quotient == 0) return {std::copysign(0.0f, a / b), static_cast<float>(rest)};
  float whole = std::floor(quotient);
  if (quotient - whole > 0.5f) whole += 1;
  return {whole, static_cast<float>(rest)};
}

inline double sign_of(double x) { return x > 0 ? 1 : x < 0 ? -1 : x == 0 ? 0 : x; }
inline double greater_of(double x, double y) { return x >= y || std::isnan(x) ? x : y; }
inline double lesser_of(double x, double y) { return x <= y || std::isnan(x) ? x : y; }
inline double saturated(double x, double low, double high) {
  return std::isnan(x) ? 0 : std::trunc(std::fmin(high, std::fmax(low, x))) + 0.0;
}
// The formula of the side on which exp is small: it overflows nowhere.
inline double logistic(double x) {
  return x < 0 ? std::exp(x) / (1 + std::exp(x)) : 1 / (1 + std::exp(-x));
}
inline double soft_plus(double x) {
  return std::isnan(x) ? x : std::fmax(x, 0.0) + std::log1p(std::exp(-std::fabs(x)));
}

inline double binary_reference(pycnn::Function function, float x, float y, float z) {
  using enum pycnn::Function;
  const double a = x, b = y;
  switch (function) {
    case add:
      return x + y;
    case subtract:
      return x - y;
    case multiply:
      return x * y;
    case divide:
      return x / y;
    case floor_divide:
      return divided(x, y).quotient;
    case mod:
      return divided(x, y).rest;
    case maximum:
      return greater_of(a, b);
    case minimum:
      return lesser_of(a, b);
    case power:
      return std::pow(a, b);
    case hypot:
      return std::hypot(a, b);
    case arctan2:
      return std::atan2(a, b);
    case equal:
      return x == y;
    case not_equal:
      return x != y;
    case less:
      return x < y;
    case less_equal:
      return x <= y;
    case logical_and:
      return x != 0 && y != 0;
    case logical_or:
      return x != 0 || y != 0;
    case where:
      return x != 0 ? y : z;
    default:
      return lesser_of(z, greater_of(b, a));  // clip
  }
}

inline double rounding_reference(pycnn::Function function, double x) {
  using enum pycnn::Function;
  switch (function) {
    case logical_not:
      return x == 0;
    case negative:
      return -x;
    case absolute:
      return std::fabs(x);
    case sign:
      return sign_of(x);
    case square:
      return x * x;
    case sqrt:
      return std::sqrt(x);
    case rsqrt:
      return 1 / std::sqrt(x);
    case reciprocal:
      return 1 / x;
    case floor:
      return std::floor(x);
    case ceil:
      return std::ceil(x);
    case round:
      return std::nearbyint(x);
    case trunc:
      return std::trunc(x);
    case isfinite:
      return std::isfinite(x);
    case isinf:
      return std::isinf(x);
    case isnan:
      return std::isnan(x);
    case to_int32:
      return saturated(x, -2147483648.0, 2147483520.0);
    default:
      return saturated(x, 0, 255);  // to_uint8
  }
}

inline double reference(pycnn::Function function, float x, float y, float z) {
  using enum pycnn::Function;
  if (pycnn::arity_of(function) > 1) return binary_reference(function, x, y, z);
  const double a = x;
  switch (function) {
    case exp:
      return std::exp(a);
    case exp2:
      return std::exp2(a);
    case expm1:
      return std::expm1(a);
    case log:
      return std::log(a);
    case log2:
      return std::log2(a);
    case log10:
      return std::log10(a);
    case log1p:
      return std::log1p(a);
    case sin:
      return std::sin(a);
    case cos:
      return std::cos(a);
    case tan:
      return std::tan(a);
    case arcsin:
      return std::asin(a);
    case arccos:
      return std::acos(a);
    case arctan:
      return std::atan(a);
    case sinh:
      return std::sinh(a);
    case cosh:
      return std::cosh(a);
    case tanh:
      return std::tanh(a);
    case arcsinh:
      return std::asinh(a);
    case arccosh:
      return std::acosh(a);
    case arctanh:
      return std::atanh(a);
    case sigmoid:
      return logistic(a);
    case softplus:
      return soft_plus(a);
    case erf:
      return std::erf(a);
    default:
      return rounding_reference(function, a);
  }
}
