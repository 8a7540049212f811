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

// The product of f and the base's constant counts most: its rest is put back.
template <class V>
[[gnu::always_inline]] inline V log2(V x) {
  const LogParts<V> parts = log_parts(x);
  const V tail = fma(parts.square, V::set1(-0.5f), parts.cube);
  const V rest = fma(tail, V::set1(kLog2e), parts.f * V::set1(1.92596303e-08f));
  return log_of_special(x, fma(parts.f, V::set1(kLog2e), rest) + parts.e);
}

template <class V>
[[gnu::always_inline]] inline V log10(V x) {
  const LogParts<V> parts = log_parts(x);
  const V tail = fma(parts.square, V::set1(-0.5f), parts.cube), log10e = V::set1(0.434294492f);
  V rest = fma(parts.f, V::set1(-1.010305e-08f), parts.e * V::set1(4.60503907e-6f));
  rest = fma(tail, log10e, rest);
  // 15 bits of log10(2)
  return log_of_special(x, fma(parts.e, V::set1(0.301025391f), fma(parts.f, log10e, rest)));
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
  const V far = t + fma(t * t, p, max(V::zero(), x));
  // Near 0 (t near 1) the roundings add up: log(2) + x/2 + x^2/8 - ..., error 2^-29.
  const V square = x * x;
  const V q = polynomial(square, V::set1(3.47222222e-4f), -5.20833333e-3f, 0.125f);
  const V near = fma(x, V::set1(0.5f), V::set1(0.693147182f)) + square * q;
  return select(lt(abs(x), V::set1(0.3f)), near, far);
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

// erf(x) as polynomials in x - c, one for each quarter of x; from the highest power down to the
// constant, then c: near the middle of the piece, where erf(c) is all but a float. Error
// 2^-25.4. Before the constant, what float rounds off the slope at 0.
constexpr float kErf[8][16] = {
    {0.111159429f, 0.0810413957f, 0.0082172947f, -0.0524725989f, -0.0687563047f, -0.0471241958f,
     -0.0150270965f, 0.0064386297f, 0.0129927779f, 0.0106384652f, 0.00613257522f, 0.00277530006f,
     0.00102834916f, 0.000318943872f, 8.3884137e-05f, 1.88659887e-05f},
    {0.000237561413f, 0.127019584f, 0.182050139f, 0.14968273f, 0.0683169961f, -0.00522704143f,
     -0.0442455821f, -0.0479995459f, -0.0342348814f, -0.019301774f, -0.00874208286f,
     -0.00331091019f, -0.00105254073f, -0.000288447336f, -6.80028243e-05f, -1.4586094e-05f},
    {-0.376137614f, -0.308058888f, -0.145472661f, 0.0277379993f, 0.139138162f, 0.167579383f,
     0.138596639f, 0.0907119662f, 0.0478011146f, 0.0219495427f, 0.0084168585f, 0.00277607376f,
     0.000782424293f, 0.000192923151f, 4.13459711e-05f, 8.16149441e-06f},
    {1.57259194e-07f, -0.267077059f, -0.439991295f, -0.482064784f, -0.413939655f, -0.296656042f,
     -0.178028286f, -0.0931394175f, -0.0408908129f, -0.0162614658f, -0.00549368607f,
     -0.00162205438f, -0.000414014445f, -9.34099007e-05f, -1.84633682e-05f, -3.38555651e-06f},
    {1.12837923f, 1.05882025f, 0.877567232f, 0.641390204f, 0.412780643f, 0.237702265f, 0.118613996f,
     0.0533098131f, 0.020413978f, 0.00723685371f, 0.00219927938f, 0.000590159209f, 0.000137959621f,
     2.87286002e-05f, 5.27252359e-06f, 9.04182855e-07f},
    {-5.86353828e-08f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f,
     0.0f, 0.0f},
    {0.0f, 0.278703719f, 0.521713614f, 0.712181807f, 0.843862593f, 0.922427297f, 0.966210544f,
     0.986518741f, 0.995385468f, 0.998516262f, 0.999588847f, 0.999898672f, 0.999978125f,
     0.999995768f, 0.999999285f, 0.999999881f},
    {0.0f, 0.252243996f, 0.501382113f, 0.751598001f, 1.00280666f, 1.24800587f, 1.50088739f,
     1.7471168f, 2.00307703f, 2.24707603f, 2.49808073f, 2.7487998f, 3.00155544f, 3.25244641f,
     3.50339842f, 3.74659991f},
};

template <class V>
[[gnu::always_inline]] inline V erf(V x) {
  const V size = min(V::set1(3.87499976f), abs(x));  // from where erf rounds to 1
  const auto piece = bits(fma(size, V::set1(4.0f), V::set1(kNearestInteger)));
  const V d = size - V::lookup(kErf[7], piece);
  V p = V::lookup(kErf[0], piece);
#pragma GCC unroll 4
  for (int k = 1; k < 5; ++k) p = fma(p, d, V::lookup(kErf[k], piece));
  p = fma(p, d, fma(V::lookup(kErf[5], piece), d, V::lookup(kErf[6], piece)));
  return with_sign(min(V::set1(1.0f), p), x);
}

}  // namespace
}  // namespace pycnn
