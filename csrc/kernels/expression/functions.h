// SPDX-License-Identifier: Apache-2.0
// The elementary functions as one struct each, in the order of enum Function. Largest error in ULP
// against double precision: scalar (a product and a sum, no FMA), then with FMA;
// every 7th of all floats and all around thresholds, or 67 million pairs. The others are exact, or
// rounded once. By tests/functions.cc.
//   power    0.51  0.51    log      0.80  0.79    arcsin   1.62  1.62    arccosh  0.50  0.50
//   hypot    0.50  0.50    log2     1.89  0.97    arccos   1.16  1.16    arctanh  0.52  0.51
//   arctan2  1.63  1.63    log10    1.89  0.92    arctan   1.27  1.25    sigmoid  1.75  1.67
//   rsqrt    1.49  1.49    log1p    1.44  1.44    sinh     1.59  1.59    softplus 1.93  1.81
//   exp      0.80  0.80    sin      1.58  1.58    cosh     1.26  1.26    erf      1.53  1.40
//   exp2     0.80  0.80    cos      1.59  1.57    tanh     1.34  1.34
//   expm1    1.57  1.45    tan      1.50  1.50    arcsinh  0.51  0.51
#pragma once

#include "kernels/expression/expression.h"
#include "simd/math.h"
#include "simd/math_double.h"
#include "simd/trigonometry.h"

namespace pycnn {
namespace {

template <class V>
[[gnu::always_inline]] inline V truth(typename V::Mask mask) {
  return select(mask, V::set1(1.0f), V::zero());
}
template <class V>
[[gnu::always_inline]] inline V falsehood(typename V::Mask mask) {
  return select(mask, V::zero(), V::set1(1.0f));
}

// max and min return the second operand where either is NaN.
template <class V>
[[gnu::always_inline]] inline V maximum(V x, V y) {
  return select(is_nan(x), x, max(x, y));
}
template <class V>
[[gnu::always_inline]] inline V minimum(V x, V y) {
  return select(is_nan(x), x, min(x, y));
}

template <class V>
[[gnu::always_inline]] inline V sign(V x) {
  const V y = with_sign(V::set1(1.0f), x), zero = V::zero();
  return select(eq(x, zero), zero, select(is_nan(x), x, y));
}
template <class V>
[[gnu::always_inline]] inline V ceil(V x) {
  const V minus = V::set1(-0.0f);
  const auto negated = [&](V v) { return V::from_bits(bits(v) ^ bits(minus)); };
  return negated(floor(negated(x)));
}
template <class V>
[[gnu::always_inline]] inline V trunc(V x) {
  return with_sign(floor(abs(x)), x);
}

template <class V>
[[gnu::always_inline]] inline V to_int32(V x) {
  const V known = select(is_nan(x), V::zero(), x);
  const V bounded = min(V::set1(2147483520.0f), max(V::set1(-2147483648.0f), known));
  return trunc(bounded) + V::zero();  // -0 + 0 = 0
}
template <class V>
[[gnu::always_inline]] inline V to_uint8(V x) {
  return floor(min(V::set1(255.0f), max(x, V::zero())));  // max gives 0 for NaN
}

// How many vectors one turn of the loop takes: loads and stores bound the cheap functions.
struct Cheap {
  static constexpr int kUnroll = 4;
};
struct Costly {
  static constexpr int kUnroll = 1;
};

template <class V>
struct Add : Cheap {
  [[gnu::always_inline]] static V call(V x, V y) { return x + y; }
};
template <class V>
struct Subtract : Cheap {
  [[gnu::always_inline]] static V call(V x, V y) { return x - y; }
};
template <class V>
struct Multiply : Cheap {
  [[gnu::always_inline]] static V call(V x, V y) { return x * y; }
};
template <class V>
struct Divide : Cheap {
  [[gnu::always_inline]] static V call(V x, V y) { return x / y; }
};
template <class V>
struct FloorDivide : Costly {
  [[gnu::always_inline]] static V call(V x, V y) { return floor_divide(x, y); }
};
template <class V>
struct Mod : Costly {
  [[gnu::always_inline]] static V call(V x, V y) { return mod(x, y); }
};
template <class V>
struct Maximum : Cheap {
  [[gnu::always_inline]] static V call(V x, V y) { return maximum(x, y); }
};
template <class V>
struct Minimum : Cheap {
  [[gnu::always_inline]] static V call(V x, V y) { return minimum(x, y); }
};
template <class V>
struct Power : Costly {
  [[gnu::always_inline]] static V call(V x, V y) { return power(x, y); }
};
template <class V>
struct Hypot : Costly {
  [[gnu::always_inline]] static V call(V x, V y) { return hypot(x, y); }
};
template <class V>
struct Arctan2 : Costly {
  [[gnu::always_inline]] static V call(V x, V y) { return arctan2(x, y); }
};
template <class V>
struct Equal : Cheap {
  [[gnu::always_inline]] static V call(V x, V y) { return truth<V>(eq(x, y)); }
};
template <class V>
struct NotEqual : Cheap {
  [[gnu::always_inline]] static V call(V x, V y) { return falsehood<V>(eq(x, y)); }
};
template <class V>
struct Less : Cheap {
  [[gnu::always_inline]] static V call(V x, V y) { return truth<V>(lt(x, y)); }
};
template <class V>
struct LessEqual : Cheap {
  [[gnu::always_inline]] static V call(V x, V y) { return truth<V>(le(x, y)); }
};
template <class V>
struct LogicalAnd : Cheap {
  [[gnu::always_inline]] static V call(V x, V y) {
    return falsehood<V>(eq(x, V::zero()) | eq(y, V::zero()));
  }
};
template <class V>
struct LogicalOr : Cheap {
  [[gnu::always_inline]] static V call(V x, V y) {
    return falsehood<V>(eq(x, V::zero()) & eq(y, V::zero()));
  }
};
template <class V>
struct LogicalNot : Cheap {
  [[gnu::always_inline]] static V call(V x) { return truth<V>(eq(x, V::zero())); }
};
template <class V>
struct Where : Cheap {
  [[gnu::always_inline]] static V call(V x, V y, V z) { return select(eq(x, V::zero()), z, y); }
};
template <class V>
struct Clip : Cheap {
  [[gnu::always_inline]] static V call(V x, V y, V z) { return minimum(z, maximum(y, x)); }
};
template <class V>
struct Negative : Cheap {
  [[gnu::always_inline]] static V call(V x) {
    return V::from_bits(bits(x) ^ V::Bits::set1(0x80000000u));
  }
};
template <class V>
struct Absolute : Cheap {
  [[gnu::always_inline]] static V call(V x) { return abs(x); }
};
template <class V>
struct Sign : Cheap {
  [[gnu::always_inline]] static V call(V x) { return sign(x); }
};
template <class V>
struct Square : Cheap {
  [[gnu::always_inline]] static V call(V x) { return x * x; }
};
template <class V>
struct Sqrt : Cheap {
  [[gnu::always_inline]] static V call(V x) { return sqrt(x); }
};
template <class V>
struct Rsqrt : Cheap {
  [[gnu::always_inline]] static V call(V x) { return V::set1(1.0f) / sqrt(x); }
};
template <class V>
struct Reciprocal : Cheap {
  [[gnu::always_inline]] static V call(V x) { return V::set1(1.0f) / x; }
};
template <class V>
struct Exp : Costly {
  [[gnu::always_inline]] static V call(V x) { return exp(x); }
};
template <class V>
struct Exp2 : Costly {
  [[gnu::always_inline]] static V call(V x) { return exp2(x); }
};
template <class V>
struct Expm1 : Costly {
  [[gnu::always_inline]] static V call(V x) { return expm1(x); }
};
template <class V>
struct Log : Costly {
  [[gnu::always_inline]] static V call(V x) { return log(x); }
};
template <class V>
struct Log2 : Costly {
  [[gnu::always_inline]] static V call(V x) { return log2(x); }
};
template <class V>
struct Log10 : Costly {
  [[gnu::always_inline]] static V call(V x) { return log10(x); }
};
template <class V>
struct Log1p : Costly {
  [[gnu::always_inline]] static V call(V x) { return log1p(x); }
};
template <class V>
struct Sin : Costly {
  [[gnu::always_inline]] static V call(V x) { return sin(x); }
};
template <class V>
struct Cos : Costly {
  [[gnu::always_inline]] static V call(V x) { return cos(x); }
};
template <class V>
struct Tan : Costly {
  [[gnu::always_inline]] static V call(V x) { return tan(x); }
};
template <class V>
struct Arcsin : Costly {
  [[gnu::always_inline]] static V call(V x) { return arcsin(x); }
};
template <class V>
struct Arccos : Costly {
  [[gnu::always_inline]] static V call(V x) { return arccos(x); }
};
template <class V>
struct Arctan : Costly {
  [[gnu::always_inline]] static V call(V x) { return arctan(x); }
};
template <class V>
struct Sinh : Costly {
  [[gnu::always_inline]] static V call(V x) { return sinh(x); }
};
template <class V>
struct Cosh : Costly {
  [[gnu::always_inline]] static V call(V x) { return cosh(x); }
};
template <class V>
struct Tanh : Costly {
  [[gnu::always_inline]] static V call(V x) { return tanh(x); }
};
template <class V>
struct Arcsinh : Costly {
  [[gnu::always_inline]] static V call(V x) { return arcsinh(x); }
};
template <class V>
struct Arccosh : Costly {
  [[gnu::always_inline]] static V call(V x) { return arccosh(x); }
};
template <class V>
struct Arctanh : Costly {
  [[gnu::always_inline]] static V call(V x) { return arctanh(x); }
};
template <class V>
struct Sigmoid : Costly {
  [[gnu::always_inline]] static V call(V x) { return sigmoid(x); }
};
template <class V>
struct Softplus : Costly {
  [[gnu::always_inline]] static V call(V x) { return softplus(x); }
};
template <class V>
struct Erf : Costly {
  [[gnu::always_inline]] static V call(V x) { return erf(x); }
};
template <class V>
struct Floor : Cheap {
  [[gnu::always_inline]] static V call(V x) { return floor(x); }
};
template <class V>
struct Ceil : Cheap {
  [[gnu::always_inline]] static V call(V x) { return ceil(x); }
};
template <class V>
struct Round : Cheap {
  [[gnu::always_inline]] static V call(V x) { return round(x); }
};
template <class V>
struct Trunc : Cheap {
  [[gnu::always_inline]] static V call(V x) { return trunc(x); }
};
template <class V>
struct Isfinite : Cheap {
  [[gnu::always_inline]] static V call(V x) { return truth<V>(lt(abs(x), V::set1(kInfinity))); }
};
template <class V>
struct Isinf : Cheap {
  [[gnu::always_inline]] static V call(V x) { return truth<V>(eq(abs(x), V::set1(kInfinity))); }
};
template <class V>
struct Isnan : Cheap {
  [[gnu::always_inline]] static V call(V x) { return truth<V>(is_nan(x)); }
};
template <class V>
struct ToInt32 : Cheap {
  [[gnu::always_inline]] static V call(V x) { return to_int32(x); }
};
template <class V>
struct ToUint8 : Cheap {
  [[gnu::always_inline]] static V call(V x) { return to_uint8(x); }
};

template <template <class> class... F>
struct FunctionList {};
using Functions =
    FunctionList<Add, Subtract, Multiply, Divide, FloorDivide, Mod, Maximum, Minimum, Power, Hypot,
                 Arctan2, Equal, NotEqual, Less, LessEqual, LogicalAnd, LogicalOr, LogicalNot,
                 Where, Clip, Negative, Absolute, Sign, Square, Sqrt, Rsqrt, Reciprocal, Exp, Exp2,
                 Expm1, Log, Log2, Log10, Log1p, Sin, Cos, Tan, Arcsin, Arccos, Arctan, Sinh, Cosh,
                 Tanh, Arcsinh, Arccosh, Arctanh, Sigmoid, Softplus, Erf, Floor, Ceil, Round, Trunc,
                 Isfinite, Isinf, Isnan, ToInt32, ToUint8>;

}  // namespace
}  // namespace pycnn
