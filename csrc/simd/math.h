// SPDX-License-Identifier: Apache-2.0
// exp, log, tanh and relatives on any vector type of this folder. Argument reduction as in Cephes
// (Moshier); the polynomials are our own weighted minimax fits (Lawson iteration, coefficients
// rounded to float one by one and the rest refitted). Largest error against double libm on every
// ~128th float, in ULP:
//             exp   log   log1p  tanh  sigmoid  expm1_negative
//   scalar    0.97  0.77  1.20   1.26  2.18     0.89
//   avx2      1.01  0.79  1.20   1.26  2.18     0.93
// NaN gives NaN; overflow gives infinity; underflow goes through the subnormals (or 0 under FTZ).
#pragma once

#include "simd/vec.h"

namespace pycnn {
namespace {

constexpr float kInfinity = __builtin_inff();
constexpr float kLog2e = 1.44269504f;
constexpr float kLn2Hi = 0.693359375f;  // 9 bits: a product with |n| < 2^15 is exact
constexpr float kLn2Lo = -2.12194440e-4f;

// x = n*ln(2) + r, |r| <= ln(2)/2; returns exp(r) - 1.
template <class V>
[[gnu::always_inline]] inline V exp_reduced(V x, V& n) {
  n = round(x * V::set1(kLog2e));
  V r = fma(n, V::set1(-kLn2Hi), x);
  r = fma(n, V::set1(-kLn2Lo), r);
  V p = V::set1(0.0013821465f);  // error 2^-28.3
  p = fma(p, r, V::set1(0.00836866256f));
  p = fma(p, r, V::set1(0.0416682549f));
  p = fma(p, r, V::set1(0.166665211f));
  p = fma(p, r, V::set1(0.49999994f));
  return fma(p, r * r, r);
}

template <class V>
[[gnu::always_inline]] inline V exp(V x) {
  using Bits = typename V::Bits;
  // Beyond these bounds the result is infinity or 0 either way. max and min keep a NaN in x.
  x = min(V::set1(89.0f), max(V::set1(-104.0f), x));
  V n;
  const V q = exp_reduced(x, n);
  // 2^n in two factors, for n < -126 and n = 128 are no exponents of a float.
  const Bits biased = to_int(n) + Bits::set1(256);
  const Bits half = biased >> 1;
  const V scale_a = V::from_bits((half - Bits::set1(1)) << 23);
  const V scale_b = V::from_bits((biased - half - Bits::set1(1)) << 23);
  return (q + V::set1(1.0f)) * scale_a * scale_b;
}

// exp(x) - 1 for x <= 0 (0 for x > 0), without cancellation near 0.
template <class V>
[[gnu::always_inline]] inline V expm1_negative(V x) {
  using Bits = typename V::Bits;
  x = min(V::zero(), max(V::set1(-60.0f), x));
  V n;
  const V q = exp_reduced(x, n);
  const V scale = V::from_bits((to_int(n) + Bits::set1(127)) << 23);
  return fma(scale, q, scale - V::set1(1.0f));
}

template <class V>
[[gnu::always_inline]] inline V log(V x) {
  using Bits = typename V::Bits;
  const Bits sqrt_half = Bits::set1(0x3f3504f3u), one = Bits::set1(0x3f800000u);
  const auto small = lt(x, V::set1(1.17549435e-38f));
  const V normal = select(small, x * V::set1(8388608.0f), x);
  // x = 2^e * (1 + f), 1 + f in [sqrt(1/2), sqrt(2))
  const Bits shifted = bits(normal) + (one - sqrt_half);
  const V e = V::from_int(shifted >> 23) - select(small, V::set1(150.0f), V::set1(127.0f));
  const V f = V::from_bits((shifted & Bits::set1(0x007fffffu)) + sqrt_half) - V::set1(1.0f);
  V p = V::set1(0.067492716f);  // log(1 + f) = f - f^2/2 + f^3 p(f), error 2^-30.3
  p = fma(p, f, V::set1(-0.116700992f));
  p = fma(p, f, V::set1(0.118835486f));
  p = fma(p, f, V::set1(-0.124062337f));
  p = fma(p, f, V::set1(0.142203584f));
  p = fma(p, f, V::set1(-0.166679889f));
  p = fma(p, f, V::set1(0.200020716f));
  p = fma(p, f, V::set1(-0.250000089f));
  p = fma(p, f, V::set1(0.333333135f));
  const V square = f * f;
  V y = fma(e, V::set1(kLn2Lo), p * f * square);
  y = fma(square, V::set1(-0.5f), y);
  y = fma(e, V::set1(kLn2Hi), f + y);
  y = select(lt(x, V::set1(kInfinity)), y, x);  // +Inf and NaN are their own logarithm
  const V at_zero = select(eq(x, V::zero()), V::set1(-kInfinity), V::set1(__builtin_nanf("")));
  return select(le(x, V::zero()), at_zero, y);
}

// log(1 + x) for x >= 0: the rounding error of 1 + x is put back.
template <class V>
[[gnu::always_inline]] inline V log1p(V x) {
  const V u = V::set1(1.0f) + x;
  const V lost = x - (u - V::set1(1.0f));
  return select(lt(u, V::set1(kInfinity)), log(u) + lost / u, u);
}

template <class V>
[[gnu::always_inline]] inline V tanh(V x) {
  using Bits = typename V::Bits;
  const V size = abs(x), square = x * x;
  V p = V::set1(-0.0056922963f);  // tanh(x) = x + x^3 p(x^2), error 2^-27.7
  p = fma(p, square, V::set1(0.0206281673f));
  p = fma(p, square, V::set1(-0.0537365153f));
  p = fma(p, square, V::set1(0.133314058f));
  p = fma(p, square, V::set1(-0.333332807f));
  const V near = fma(x * square, p, x);
  const V far = V::set1(1.0f) - V::set1(2.0f) / (exp(size + size) + V::set1(1.0f));
  const Bits sign = bits(x) & Bits::set1(0x80000000u);
  return select(lt(size, V::set1(0.625f)), near, V::from_bits(bits(far) | sign));
}

// 1 / (1 + exp(-x)), from exp(-|x|) so that neither side overflows.
template <class V>
[[gnu::always_inline]] inline V sigmoid(V x) {
  const V t = exp(V::zero() - abs(x)), one = V::set1(1.0f);
  return select(lt(x, V::zero()), t, one) / (one + t);
}

}  // namespace
}  // namespace pycnn
