// SPDX-License-Identifier: Apache-2.0
// exp, log, tanh and relatives on any vector type of this folder. Argument reduction as in Cephes
// (Moshier); the polynomials are our own weighted minimax fits (Lawson iteration, coefficients
// rounded to float one by one and the rest refitted). Errors: kernels/expression/functions.h.
// NaN gives NaN; overflow gives infinity; where exp(x) is below the normal floats it is 0.
#pragma once

#include "simd/vec.h"

namespace pycnn {
namespace {

constexpr float kInfinity = __builtin_inff();
constexpr float kQuietNan = __builtin_nanf("");
constexpr float kLog2e = 1.44269504f;
constexpr float kLn2Hi = 0.693359375f;  // 9 bits: a product with |n| < 2^15 is exact
constexpr float kLn2Lo = -2.12194440e-4f;
constexpr float kNearestInteger = 12582912.0f;  // 1.5 * 2^23: adding it rounds |x| < 2^22

template <class V>
[[gnu::always_inline]] inline V sign_bit(V x) {
  return V::from_bits(bits(x) & V::Bits::set1(0x80000000u));
}
// |size| with the sign of x, for size >= 0 or NaN.
template <class V>
[[gnu::always_inline]] inline V with_sign(V size, V x) {
  return V::from_bits(bits(size) | bits(sign_bit(x)));
}

template <class V>
[[gnu::always_inline]] inline V polynomial(V, V c) {
  return c;
}
// Coefficients from the highest power down.
template <class V, class... C>
[[gnu::always_inline]] inline V polynomial(V x, V c, float next, C... rest) {
  return polynomial(x, fma(c, x, V::set1(next)), rest...);
}

// exp(x) = 2^n (1 + r + r^2 p), |r| <= ln(2)/2; n are the low bits of `integer`.
template <class V>
struct ExpParts {
  V r, p;
  typename V::Bits integer;

  [[gnu::always_inline]] V minus_one() const { return fma(p, r * r, r); }  // without the 2^n
  // 2^n times `unit`, a power of two.
  [[gnu::always_inline]] V scale(float unit) const {
    return V::from_bits((integer << 23) + bits(V::set1(unit)));
  }
};

// |r| <= ln(2)/2 (and what rounding adds): (exp(r) - 1 - r) / r^2, error 2^-28.3 of exp(r) - 1.
template <class V>
[[gnu::always_inline]] inline V exp_tail(V r) {
  return polynomial(r, V::set1(0.0013821465f), 0.00836866256f, 0.0416682549f, 0.166665211f,
                    0.49999994f);
}

template <class V>
[[gnu::always_inline]] inline ExpParts<V> exp_parts(V x) {
  const V shifted = fma(x, V::set1(kLog2e), V::set1(kNearestInteger));
  const V n = shifted - V::set1(kNearestInteger);
  V r = fma(n, V::set1(-kLn2Hi), x);
  r = fma(n, V::set1(-kLn2Lo), r);
  return {r, exp_tail(r), bits(shifted)};
}

// 2^(n + shift) (1 + r + r^2 p), where that is a normal float; 1 + r is split without an error, so
// that the last addition rounds alone.
template <class V>
[[gnu::always_inline]] inline V exp_joined(const ExpParts<V>& parts, int shift = 0) {
  using Bits = typename V::Bits;
  const V one = V::set1(1.0f), high = one + parts.r, low = parts.r - (high - one);
  const V y = high + fma(parts.p, parts.r * parts.r, low);
  const Bits n =
      shift == 0 ? parts.integer : parts.integer + Bits::set1(static_cast<std::uint32_t>(shift));
  return V::from_bits(bits(y) + (n << 23));
}

constexpr float kExpSmallest = -87.3365402f;  // exp of it is the first normal float
constexpr float kExpLargest = 88.7228317f;

// For x <= kExpLargest. (exp_joined of a NaN may be any number; max keeps it.)
template <class V>
[[gnu::always_inline]] inline V exp_bounded(V x) {
  return select(le(V::set1(kExpSmallest), x), exp_joined(exp_parts(x)), max(V::zero(), x));
}

template <class V>
[[gnu::always_inline]] inline V exp(V x) {
  const V y = select(lt(x, V::set1(kExpSmallest)), V::zero(), exp_joined(exp_parts(x)));
  return select(le(x, V::set1(kExpLargest)), y, x + V::set1(kInfinity));
}

template <class V>
[[gnu::always_inline]] inline V exp2(V x) {
  const V shifted = x + V::set1(kNearestInteger);
  const V r = (x - (shifted - V::set1(kNearestInteger))) * V::set1(0.693147182f);
  const V y = exp_joined(ExpParts<V>{r, exp_tail(r), bits(shifted)});
  const V low = select(lt(x, V::set1(-126.0f)), V::zero(), y);
  return select(lt(x, V::set1(128.0f)), low, x + V::set1(kInfinity));
}

// exp(x) - 1 for x <= 0 (0 for x > 0), without cancellation near 0.
template <class V>
[[gnu::always_inline]] inline V expm1_negative(V x) {
  const ExpParts<V> parts = exp_parts(min(V::zero(), max(V::set1(-60.0f), x)));
  const V scale = parts.scale(1.0f);
  return fma(scale, parts.minus_one(), scale - V::set1(1.0f));
}

// Computed as a half, since 2^128 is no float.
template <class V>
[[gnu::always_inline]] inline V expm1(V x) {
  const ExpParts<V> parts = exp_parts(min(V::set1(89.0f), max(V::set1(-60.0f), x)));
  const V scale = parts.scale(0.5f);
  const V half = fma(scale, parts.minus_one(), scale - V::set1(0.5f));
  return select(lt(abs(x), V::set1(5.9604645e-8f)), x, half + half);
}

// x = 2^e (1 + f), 1 + f in [sqrt(1/2), sqrt(2)); log(1 + f) = f + tail.
template <class V>
struct LogParts {
  V e, f, cube, square;  // tail = cube - square / 2
};

template <class V>
[[gnu::always_inline]] inline LogParts<V> log_parts(V x) {
  using Bits = typename V::Bits;
  const Bits sqrt_half = Bits::set1(0x3f3504f3u), one = Bits::set1(0x3f800000u);
  const auto small = lt(x, V::set1(1.17549435e-38f));
  const V normal = select(small, x * V::set1(8388608.0f), x);
  const Bits shifted = bits(normal) + (one - sqrt_half);
  const V e = V::from_int(shifted >> 23) - select(small, V::set1(150.0f), V::set1(127.0f));
  const V f = V::from_bits((shifted & Bits::set1(0x007fffffu)) + sqrt_half) - V::set1(1.0f);
  // log(1 + f) = f - f^2/2 + f^3 p(f), error 2^-30.3
  const V p = polynomial(f, V::set1(0.067492716f), -0.116700992f, 0.118835486f, -0.124062337f,
                         0.142203584f, -0.166679889f, 0.200020716f, -0.250000089f, 0.333333135f);
  const V square = f * f;
  return {e, f, p * f * square, square};
}

// y where x is positive and finite; +Inf and NaN are their own logarithm.
template <class V>
[[gnu::always_inline]] inline V log_of_special(V x, V y) {
  y = select(lt(x, V::set1(kInfinity)), y, x);
  const V at_zero = select(eq(x, V::zero()), V::set1(-kInfinity), V::set1(kQuietNan));
  return select(le(x, V::zero()), at_zero, y);
}

template <class V>
[[gnu::always_inline]] inline V log(V x) {
  const LogParts<V> parts = log_parts(x);
  V y = fma(parts.e, V::set1(kLn2Lo), parts.cube);
  y = fma(parts.square, V::set1(-0.5f), y);
  y = fma(parts.e, V::set1(kLn2Hi), parts.f + y);
  return log_of_special(x, y);
}

template <class V>
[[gnu::always_inline]] inline V log2(V x) {
  const LogParts<V> parts = log_parts(x);
  const V tail = fma(parts.square, V::set1(-0.5f), parts.cube);
  const V y = fma(parts.f + tail, V::set1(kLog2e), parts.e);
  return log_of_special(x, y);
}

template <class V>
[[gnu::always_inline]] inline V log10(V x) {
  const LogParts<V> parts = log_parts(x);
  const V tail = fma(parts.square, V::set1(-0.5f), parts.cube);
  V y = fma(parts.f + tail, V::set1(0.434294492f), parts.e * V::set1(4.60503907e-6f));
  y = fma(parts.e, V::set1(0.301025391f), y);  // 15 bits of log10(2)
  return log_of_special(x, y);
}

// log(1 + x): the rounding error of 1 + x is put back.
template <class V>
[[gnu::always_inline]] inline V log1p(V x) {
  const V one = V::set1(1.0f), u = one + x;
  const V lost = x - (u - one), y = log(u);
  const V sum = select(eq(u, one), x, y + lost / u);
  return select(lt(V::zero(), u) & lt(u, V::set1(kInfinity)), sum, y);
}

// log(1 + exp(x)) = max(0, x) + log(1 + t), t = exp(-|x|); log(1 + t) = t + t^2 p(t), error 2^-30.
template <class V>
[[gnu::always_inline]] inline V softplus(V x) {
  const V t = exp_bounded(V::zero() - abs(x));
  const V p = polynomial(t, V::set1(0.00208454439f), -0.0136916712f, 0.0421148241f, -0.0832389519f,
                         0.124795295f, -0.161351711f, 0.198996231f, -0.249888644f, 0.333327144f,
                         -0.499999881f);
  return t + fma(t * t, p, max(V::zero(), x));
}

template <class V>
[[gnu::always_inline]] inline V tanh(V x) {
  const V size = abs(x), square = x * x;
  // tanh(x) = x + x^3 p(x^2), error 2^-27.7
  const V p = polynomial(square, V::set1(-0.0056922963f), 0.0206281673f, -0.0537365153f,
                         0.133314058f, -0.333332807f);
  const V near = fma(size * square, p, size);
  const V few = min(V::set1(10.0f), size);  // tanh(10) rounds to 1
  const V far = V::set1(1.0f) - V::set1(2.0f) / (exp_joined(exp_parts(few + few)) + V::set1(1.0f));
  return with_sign(select(le(V::set1(0.625f), size), far, near), x);
}

// exp(x) / 2 for x >= 0, also where exp(x) is above the floats and its half is not.
template <class V>
[[gnu::always_inline]] inline V half_exp(V x) {
  const V y = exp_joined(exp_parts(x), -1);
  return select(le(x, V::set1(89.4159851f)), y, x + V::set1(kInfinity));
}

template <class V>
[[gnu::always_inline]] inline V sinh(V x) {
  const V size = abs(x), square = x * x;
  const V p = polynomial(square, V::set1(2.78221319e-06f), 0.000198428956f, 0.00833331048f,
                         0.166666672f);  // sinh(x) = x + x^3 p(x^2), error 2^-31.6
  const V half = half_exp(size), far = half - V::set1(0.25f) / half;
  return select(le(V::set1(1.0f), size), with_sign(far, x), fma(x * square, p, x));
}

template <class V>
[[gnu::always_inline]] inline V cosh(V x) {
  const V half = half_exp(abs(x));
  return half + V::set1(0.25f) / half;
}

// 1 / (1 + exp(-x)), the sum 1 + 2^n + 2^n q rounded once (or nearly so, where 1 + 2^n is no
// float).
template <class V>
[[gnu::always_inline]] inline V sigmoid(V x) {
  const V one = V::set1(1.0f);
  const ExpParts<V> parts = exp_parts(max(V::set1(-30.0f), V::zero() - x));  // of 30: 1
  const V scale = parts.scale(1.0f), base = one + scale, lost = one - (base - scale);
  const V y = one / (fma(scale, parts.minus_one(), lost) + base);
  return select(lt(x, V::set1(kExpSmallest)), V::zero(), y);
}

// x (1 + p(x^2)) up to 1 (error 2^-29.4); 1 - exp(q(|x|)) beyond (error 2^-29.8 of erf), 1 from 4
// on.
template <class V>
[[gnu::always_inline]] inline V erf(V x) {
  const V size = abs(x);
  const V p = polynomial(x * x, V::set1(7.80690389e-05f), -0.00079978531f, 0.0051871622f,
                         -0.0268533472f, 0.112835787f, -0.37612626f, 0.128379166f);
  const V q =
      polynomial(min(V::set1(4.0f), size), V::set1(0.000186505058f), -0.0029489398f, 0.0218433663f,
                 -0.103118189f, -0.638131261f, -1.12709761f, -0.000339390419f);
  const ExpParts<V> parts = exp_parts(q);
  const V scale = parts.scale(1.0f), far = V::set1(1.0f) - fma(scale, parts.minus_one(), scale);
  return select(le(V::set1(1.0f), size), with_sign(far, x), x * (p + V::set1(1.0f)));
}

}  // namespace
}  // namespace pycnn
