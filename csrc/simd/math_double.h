// SPDX-License-Identifier: Apache-2.0
// Functions of floats that double precision makes exact or nearly so: powers, inverse hyperbolic
// sines, hypot, remainders. The last rounding, to float, is the only one that counts.
#pragma once

#include <cmath>

#include "simd/math.h"

namespace pycnn {
namespace {

template <class D>
[[gnu::always_inline]] inline D horner(D, D c) {
  return c;
}
template <class D, class... C>
[[gnu::always_inline]] inline D horner(D x, D c, double next, C... rest) {
  return horner(x, fma(c, x, D::set1(next)), rest...);
}

// x = 2^e (1 + f), x a normal number above 0; returns log(1 + f) = 2 artanh(f / (2 + f)), error
// 2^-44.9.
template <class D>
[[gnu::always_inline]] inline D log_of_fraction(D x, D& e) {
  using Bits = typename D::Bits;
  const Bits sqrt_half = Bits::set1(0x3fe6a09e00000000u), one = Bits::set1(0x3ff0000000000000u);
  const Bits shifted = bits(x) + (one - sqrt_half);
  // An integer below 2^52 is put behind the point of 2^52.
  e = D::from_bits((shifted >> 52) | Bits::set1(0x4330000000000000u)) -
      D::set1(4503599627370496.0 + 1023);
  const D m = D::from_bits((shifted & Bits::set1(0x000fffffffffffffu)) + sqrt_half);
  const D f = m - D::set1(1), s = f / (m + D::set1(1)), square = s * s, twice = s + s;
  const D p = horner(square, D::set1(0.097932045543804871), 0.11088023189978988,
                     0.14286056095996971, 0.19999997798500149, 0.33333333337930954);
  return fma(twice * square, p, twice);
}

// 2^x for |x| < 1000, error 2^-34.3.
template <class D>
[[gnu::always_inline]] inline D exp2_of(D x) {
  const D magic = D::set1(6755399441055744.0), shifted = x + magic, r = x - (shifted - magic);
  const D y = horner(r, D::set1(1.5196134033193073e-05), 0.00015466781535855732,
                     0.0013333935356540977, 0.0096180380595824143, 0.055504103653915463,
                     0.24022651067003434, 0.69314718070476333, 1.0);
  return D::from_bits(bits(y) + (bits(shifted) << 52));
}

template <class D>
[[gnu::always_inline]] inline D log_double(D x) {
  D e;
  const D y = log_of_fraction(x, e);
  return fma(e, D::set1(0.69314718055994531), y);
}

// |x|^y
template <class V>
[[gnu::always_inline]] inline V power_of_size(V size, V y) {
  using D = typename V::Doubles;
  const D base = widen(size), zero = D::set1(0), inf = D::set1(__builtin_inf());
  D e;
  const D fraction = log_of_fraction(base, e);
  D log2 = fma(fraction, D::set1(1.4426950408889634), e);
  log2 = select(lt(zero, base), log2, zero - inf);
  log2 = select(lt(base, inf), log2, inf);
  const D exponent = widen(y) * log2, limit = D::set1(300);
  return narrow(exp2_of(min(limit, max(zero - limit, exponent))));
}

template <class V>
[[gnu::always_inline]] inline V power(V x, V y) {
  const V size = abs(x), zero = V::zero(), one = V::set1(1.0f), half = y * V::set1(0.5f);
  V z = power_of_size(size, y);
  z = select(eq(size, one), one, z);
  z = select(is_nan(x) | is_nan(y), x + y, z);
  const auto whole = eq(floor(y), y), even = eq(floor(half), half);  // infinities are even
  const V signed_z = V::from_bits(bits(z) | bits(sign_bit(x)));
  z = select(whole & ~even, signed_z, z);
  z = select(lt(x, zero) & lt(size, V::set1(kInfinity)) & ~whole, V::set1(kQuietNan), z);
  return select(eq(y, zero) | eq(x, one), one, z);
}

template <class V>
[[gnu::always_inline]] inline V hypot(V x, V y) {
  const auto a = widen(x), b = widen(y);
  const V inf = V::set1(kInfinity);
  return select(eq(abs(x), inf) | eq(abs(y), inf), inf, narrow(sqrt(fma(a, a, b * b))));
}

// Below 1/8: x + x^3 p(x^2), error 2^-35.5.
template <class V>
[[gnu::always_inline]] inline V arcsinh(V x) {
  using D = typename V::Doubles;
  const V size = abs(x), square = x * x, inf = V::set1(kInfinity);
  const V p = polynomial(square, V::set1(-0.0436905213f), 0.0749908909f, -0.166666642f);
  const D wide = widen(size);
  const V far = narrow(log_double(wide + sqrt(fma(wide, wide, D::set1(1)))));
  const V y = select(lt(size, V::set1(0.125f)), fma(size * square, p, size), far);
  return with_sign(select(lt(size, inf), y, size), x);
}

template <class V>
[[gnu::always_inline]] inline V arccosh(V x) {
  using D = typename V::Doubles;
  const D wide = widen(x);
  const V y = narrow(log_double(wide + sqrt(wide * wide - D::set1(1))));
  const V known = select(lt(x, V::set1(1.0f)), V::set1(kQuietNan), y);
  return select(lt(x, V::set1(kInfinity)), known, x);
}

// Below 1/8: x + x^3 p(x^2), error 2^-36.9.
template <class V>
[[gnu::always_inline]] inline V arctanh(V x) {
  using D = typename V::Doubles;
  const V size = abs(x), square = x * x, one = V::set1(1.0f);
  const V p = polynomial(square, V::set1(0.100144692f), 0.143247426f, 0.199996263f, 0.333333343f);
  const D wide = widen(size), unit = D::set1(1);
  V far = narrow(log_double((unit + wide) / (unit - wide)) * D::set1(0.5));
  far = select(lt(size, one), far, select(eq(size, one), V::set1(kInfinity), V::set1(kQuietNan)));
  return select(lt(size, V::set1(0.125f)), fma(x * square, p, x), with_sign(far, x));
}

template <class V>
[[gnu::noinline]] void far_remainders(const double* a, const double* b, double* r) {
  for (int i = 0; i < V::lanes; ++i) r[i] = std::fmod(a[i], b[i]);
}

// a, b >= 0: the rest of a / b, without a rounding. A quotient below 2^28 is cut right in double
// precision, as a - k b is 0 or more than 2^-24 b.
template <class V>
[[gnu::always_inline]] inline typename V::Doubles remainder_of(V a, V b) {
  using D = typename V::Doubles;
  const D wide = widen(a), divisor = widen(b), magic = D::set1(4503599627370496.0);  // 2^52
  const D quotient = wide / divisor, nearest = (quotient + magic) - magic;
  const D q = select(lt(quotient, nearest), nearest - D::set1(1), nearest);
  D r = select(lt(wide, divisor), wide, wide - q * divisor);
  if (V::any(le(V::set1(268435456.0f), narrow(quotient)))) [[unlikely]] {
    double from[V::lanes], by[V::lanes], rest[V::lanes];
    wide.store(from);
    divisor.store(by);
    far_remainders<V>(from, by, rest);
    r = D::load(rest);
  }
  return r;
}

template <class V>
[[gnu::always_inline]] inline V mod(V a, V b) {
  using D = typename V::Doubles;
  const D r = remainder_of(abs(a), abs(b)), zero = D::set1(0);
  const D other = select(lt(zero, r), widen(abs(b)) - r, r);  // signs differ
  const auto same = eq((bits(a) ^ bits(b)) >> 31, V::Bits::set1(0));
  return V::from_bits(bits(select(same, narrow(r), narrow(other))) | bits(sign_bit(b)));
}

// The quotient of what mod leaves, in the steps (and roundings) of NumPy.
template <class V>
[[gnu::always_inline]] inline V floor_divide(V a, V b) {
  using D = typename V::Doubles;
  const D r = remainder_of(abs(a), abs(b)), zero = D::set1(0);
  const auto same = eq((bits(a) ^ bits(b)) >> 31, V::Bits::set1(0));
  const V one = V::set1(1.0f), size = narrow(widen(abs(a)) - r) / abs(b);
  const V less = narrow(select(lt(zero, r), D::set1(1), zero));
  const V sign = V::from_bits((bits(a) ^ bits(b)) & V::Bits::set1(0x80000000u));
  const V quotient = select(same, size, (V::zero() - size) - less);
  V y = floor(quotient);
  y = select(lt(V::set1(0.5f), quotient - y), y + one, y);
  y = select(eq(quotient, V::zero()), sign, y);
  return select(eq(b, V::zero()), a / b, y);
}

}  // namespace
}  // namespace pycnn
