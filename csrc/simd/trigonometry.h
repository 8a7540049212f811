// SPDX-License-Identifier: Apache-2.0
// Sines and their inverses on any vector type of this folder, for every float. Polynomials: our own
// minimax fits, as in math.h. Errors: kernels/expression/functions.h.
#pragma once

#include "simd/math.h"

namespace pycnn {
namespace {

constexpr float kPi = 3.14159274f, kPiRest = -8.74227766e-8f;
constexpr float kHalfPi = 1.57079637f, kHalfPiRest = -4.37113883e-8f;

constexpr float kFarAngle = 8388608.0f;

// Payne and Hanek's reduction of x >= 2^23: of x = m 2^e times 2/pi only the bits below 4
// count, so m multiplies the 96 bits of 2/pi that stand there.
template <class V>
[[gnu::noinline]] void far_angles(const float* x, double* r, std::uint32_t* n) {
  constexpr std::uint32_t kBits[] = {0x28be60dbu, 0x9391054au, 0x7f09d5f4u, 0x7d4d3770u,
                                     0x36d8a566u, 0x4f10e410u, 0x7f9458eau};  // of 1/(2 pi)
  for (int i = 0; i < V::lanes; ++i) {
    if (!(x[i] >= kFarAngle)) continue;
    std::uint32_t word;
    __builtin_memcpy(&word, &x[i], sizeof word);
    const std::uint32_t exponent = (word >> 23) - 150;
    if (exponent > 104) {
      r[i] = __builtin_nan("");
      continue;
    }
    const std::uint64_t m = (word & 0x007fffffu) | 0x00800000u;
    const std::uint32_t *from = kBits + exponent / 32, shift = exponent % 32;
    std::uint64_t piece[3];
    for (int k = 0; k < 3; ++k) {
      const std::uint64_t two = std::uint64_t{from[k]} << 32 | from[k + 1];
      piece[k] = two << shift >> 32;
    }
    const std::uint64_t turn = m * (piece[0] << 32 | piece[1]) + (m * piece[2] >> 32);
    const std::uint64_t quarter = (turn + (std::uint64_t{1} << 61)) >> 62;
    n[i] = static_cast<std::uint32_t>(quarter & 3);
    const auto rest = static_cast<std::int64_t>(turn - (quarter << 62));
    r[i] = static_cast<double>(rest) * (1.5707963267948966 / 4611686018427387904.0);
  }
}

// size = n pi/2 + r, |r| <= pi/4 (and what rounding adds); n modulo 4.
template <class V>
[[gnu::always_inline]] inline void reduce_angle(V size, typename V::Doubles& r,
                                                typename V::Bits& n) {
  using D = typename V::Doubles;
  const D x = widen(size), magic = D::set1(6755399441055744.0);  // 1.5 * 2^52
  const D shifted = x * D::set1(0.63661977236758134) + magic, quarters = shifted - magic;
  // pi/2 in 30 bits, so that n times it is exact for n < 2^23, and 53 more.
  r = (x - quarters * D::set1(1.570796325802803)) - quarters * D::set1(9.920935796805404e-10);
  n = low_words(shifted);
  if (V::any(le(V::set1(kFarAngle), size))) [[unlikely]] {
    float from[V::lanes];
    double rest[V::lanes];
    std::uint32_t count[V::lanes];
    size.store(from);
    r.store(rest);
    n.store(count);
    far_angles<V>(from, rest, count);
    r = D::load(rest);
    n = V::Bits::load(count);
  }
}

// sin(r) = r + r^3 p(r^2), error 2^-32.5; cos(r) = 1 - r^2/2 + r^4 p(r^2), error 2^-33.
template <class V>
[[gnu::always_inline]] inline V sine(V r, V square) {
  const V p =
      polynomial(square, V::set1(2.83268992e-06f), -0.000198530703f, 0.0083333794f, -0.166666672f);
  return fma(r * square, p, r);
}
template <class V>
[[gnu::always_inline]] inline V cosine(V square) {
  const V p = polynomial(square, V::set1(2.44323273e-05f), -0.00138873095f, 0.0416666456f);
  return fma(square * square, p, fma(square, V::set1(-0.5f), V::set1(1.0f)));
}

// The sine of n quarter turns and r more.
template <class V>
[[gnu::always_inline]] inline V sine_of(V r, typename V::Bits n) {
  using Bits = typename V::Bits;
  const V square = r * r;
  const V y = select(eq(n & Bits::set1(1), Bits::set1(0)), sine(r, square), cosine(square));
  return V::from_bits(bits(y) ^ ((n & Bits::set1(2)) << 30));
}

template <class V>
[[gnu::always_inline]] inline V sin(V x) {
  typename V::Doubles r;
  typename V::Bits n;
  reduce_angle(abs(x), r, n);
  return V::from_bits(bits(sine_of(narrow(r), n)) ^ bits(sign_bit(x)));
}
template <class V>
[[gnu::always_inline]] inline V cos(V x) {
  typename V::Doubles r;
  typename V::Bits n;
  reduce_angle(abs(x), r, n);
  return sine_of(narrow(r), n + V::Bits::set1(1));
}

// tan(r) in double precision, or -1 / tan(r): at most two roundings of a float.
template <class V>
[[gnu::always_inline]] inline V tan(V x) {
  using Bits = typename V::Bits;
  typename V::Doubles r;
  Bits n;
  reduce_angle(abs(x), r, n);
  const auto square = r * r;
  const V t = narrow(sine(r, square) / cosine(square));
  const auto even = eq(n & Bits::set1(1), Bits::set1(0));
  const V y = select(even, t, V::set1(1.0f) / t);
  return V::from_bits(bits(y) ^ bits(sign_bit(x)) ^ ((n & Bits::set1(1)) << 31));
}

// arcsin(s) = s + rest for s in [0, 1/2]. Where |x| > 1/2, s is taken so that
// arcsin |x| = pi/2 - 2 arcsin(s). Error 2^-31.7.
template <class V>
struct ArcSine {
  typename V::Mask big;
  V s, rest;
};
template <class V>
[[gnu::always_inline]] inline ArcSine<V> arc_sine(V size) {
  const V half = V::set1(0.5f);
  const auto big = lt(half, size);
  const V z = select(big, fma(size, V::set1(-0.5f), half), size * size);
  const V s = select(big, sqrt(z), size);
  const V p = polynomial(z, V::set1(0.0376968421f), 0.0143148107f, 0.0318390988f, 0.0445133746f,
                         0.0750052184f, 0.166666597f);
  return {big, s, p * z * s};
}

template <class V>
[[gnu::always_inline]] inline V arcsin(V x) {
  const ArcSine<V> a = arc_sine(abs(x));
  // From the small end: pi/2 - 2s may round at 1 where the result is below it.
  const V two = V::set1(2.0f);
  const V big = V::set1(kHalfPi) - fma(a.s, two, fma(a.rest, two, V::set1(-kHalfPiRest)));
  return with_sign(select(a.big, big, a.s + a.rest), x);
}

template <class V>
[[gnu::always_inline]] inline V arccos(V x) {
  const ArcSine<V> a = arc_sine(abs(x));
  const V s = V::from_bits(bits(a.s) ^ bits(sign_bit(x)));
  const V rest = V::from_bits(bits(a.rest) ^ bits(sign_bit(x)));
  const V small = (V::set1(kHalfPi) - s) + (V::set1(kHalfPiRest) - rest);
  const V two = V::set1(2.0f);
  const auto right = le(V::zero(), x);
  const V far = select(right, V::zero(), V::set1(kPi));
  const V far_rest = select(right, V::zero(), V::set1(kPiRest));
  return select(a.big, fma(s, two, far) + fma(rest, two, far_rest), small);
}

// arctan(t) = t + t^3 p(t^2) for t in [0, 1], error 2^-28.5; returns t^3 p.
template <class V>
[[gnu::always_inline]] inline V arctan_rest(V t) {
  const V square = t * t;
  const V p =
      polynomial(square, V::set1(-0.00178282452f), 0.0108686909f, -0.0310969874f, 0.0578813888f,
                 -0.0839930624f, 0.109508805f, -0.142640159f, 0.199985296f, -0.333332986f);
  return p * square * t;
}

template <class V>
[[gnu::always_inline]] inline V arctan(V x) {
  const V size = abs(x), one = V::set1(1.0f);
  const V t = min(one, size) / max(one, size), rest = arctan_rest(t);
  const V big = (V::set1(kHalfPi) - t) + (V::set1(kHalfPiRest) - rest);
  return with_sign(select(lt(one, size), big, t + rest), x);
}

// The angle of (x, y): t is the smaller of |x|, |y| over the greater.
template <class V>
[[gnu::always_inline]] inline V arctan2(V y, V x) {
  using Bits = typename V::Bits;
  const V width = abs(x), height = abs(y), zero = V::zero();
  const V less = min(width, height), more = max(width, height);
  V t = less / select(eq(more, zero), V::set1(1.0f), more);
  t = select(eq(less, V::set1(kInfinity)), V::set1(1.0f), t);
  const V rest = arctan_rest(t);
  const auto steep = lt(width, height), left = eq(bits(x) >> 31, Bits::set1(1));
  const V flip = V::from_bits(bits(select(steep, V::set1(-0.0f), zero)) ^ bits(sign_bit(x)));
  const auto flipped = [&](V v) { return V::from_bits(bits(v) ^ bits(flip)); };
  const V base = select(steep, V::set1(kHalfPi), select(left, V::set1(kPi), zero));
  const V base_rest = select(steep, V::set1(kHalfPiRest), select(left, V::set1(kPiRest), zero));
  const V size = (base + flipped(t)) + (base_rest + flipped(rest));
  return select(is_nan(x) | is_nan(y), x + y, with_sign(size, y));
}

}  // namespace
}  // namespace pycnn
