// SPDX-License-Identifier: Apache-2.0
// One float vector per instruction set. Portable is the scalar ISA and defines the interface that
// F32x8 (avx2.h) and F32x16 (avx512.h) repeat.
//   load / store with a mask touch no byte of an inactive lane, and load puts 0 there.
//   max, min return b where either is NaN; reduce_add adds lane i and lane i + w, w = lanes/2 .. 1.
//   masks combine with & | ^ ~; Bits are the same lanes as 32-bit integers.
//   Doubles are as many lanes in double precision, for what float cannot hold; their masks are a
//   type of their own, for select alone.
//   stream stores past the caches, to memory aligned to the vector; order_streams() makes what was
//   streamed visible before what is stored later.
// Everything is in an anonymous namespace: an inline function shared between files built with
// different ISA flags would be merged by the linker into one that may not run everywhere.
#pragma once

#include <utility>

#include "base/types.h"

// Vectors wider than the target's registers are only ever passed between inlined functions.
#pragma GCC diagnostic ignored "-Wpsabi"

namespace pycnn {
namespace {

template <class T, int L>
struct CompilerVector {  // a separate template: GCC drops the attribute from a nested typedef
  using type [[gnu::vector_size(sizeof(T) * L)]] = T;
};

template <int L>
struct Portable {
  using Floats = typename CompilerVector<float, L>::type;
  using Ints = typename CompilerVector<std::int32_t, L>::type;
  using Words = typename CompilerVector<std::uint32_t, L>::type;
  using Longs = typename CompilerVector<std::uint64_t, L>::type;

  static constexpr int lanes = L;
  using Mask = Ints;  // -1 active, 0 inactive

  // The lanes as unsigned integers, arithmetic modulo 2^32.
  struct Bits {
    Words v;
    static Bits set1(std::uint32_t x) { return {Words{} + x}; }
    static Bits iota() {
      Bits y;
      for (int i = 0; i < L; ++i) y.v[i] = static_cast<std::uint32_t>(i);
      return y;
    }
    static Bits load(const std::uint32_t* p) {
      Bits y;
      __builtin_memcpy(&y.v, p, sizeof y.v);
      return y;
    }
    void store(std::uint32_t* p) const { __builtin_memcpy(p, &v, sizeof v); }
    friend Bits operator+(Bits a, Bits b) { return {a.v + b.v}; }
    friend Bits operator-(Bits a, Bits b) { return {a.v - b.v}; }
    friend Bits operator&(Bits a, Bits b) { return {a.v & b.v}; }
    friend Bits operator|(Bits a, Bits b) { return {a.v | b.v}; }
    friend Bits operator^(Bits a, Bits b) { return {a.v ^ b.v}; }
    friend Bits operator<<(Bits a, int n) { return {a.v << n}; }
    friend Bits operator>>(Bits a, int n) { return {a.v >> n}; }  // zeros enter
    friend Mask eq(Bits a, Bits b) { return (Mask)(a.v == b.v); }
    // hi * 2^32 + lo = a * b
    friend void multiply_wide(Bits a, Bits b, Bits& lo, Bits& hi) {
      const Longs product =
          __builtin_convertvector(a.v, Longs) * __builtin_convertvector(b.v, Longs);
      lo.v = __builtin_convertvector(product, Words);
      hi.v = __builtin_convertvector(product >> 32, Words);
    }
    // (a0 a1 ..), (b0 ..), (c0 ..), (d0 ..) become the stream a0 b0 c0 d0 a1 b1 ..
    friend void interleave(Bits& a, Bits& b, Bits& c, Bits& d) {
      std::uint32_t stream[4 * L];
      for (int i = 0; i < L; ++i) {
        stream[4 * i] = a.v[i], stream[4 * i + 1] = b.v[i];
        stream[4 * i + 2] = c.v[i], stream[4 * i + 3] = d.v[i];
      }
      a = load(stream), b = load(stream + L), c = load(stream + 2 * L), d = load(stream + 3 * L);
    }
  };

  struct Doubles {
    using Row = typename CompilerVector<double, L>::type;
    using Mask = typename CompilerVector<std::int64_t, L>::type;

    struct Bits {  // as integers, arithmetic modulo 2^64
      Longs v;
      static Bits set1(std::uint64_t x) { return {Longs{} + x}; }
      friend Bits operator+(Bits a, Bits b) { return {a.v + b.v}; }
      friend Bits operator-(Bits a, Bits b) { return {a.v - b.v}; }
      friend Bits operator&(Bits a, Bits b) { return {a.v & b.v}; }
      friend Bits operator|(Bits a, Bits b) { return {a.v | b.v}; }
      friend Bits operator<<(Bits a, int n) { return {a.v << n}; }
      friend Bits operator>>(Bits a, int n) { return {a.v >> n}; }
    };

    Row v;
    static Doubles set1(double x) { return {x - Row{}}; }
    static Doubles load(const double* p) {
      Doubles y;
      __builtin_memcpy(&y.v, p, sizeof y.v);
      return y;
    }
    void store(double* p) const { __builtin_memcpy(p, &v, sizeof v); }
    static Doubles from_bits(Bits a) { return {(Row)a.v}; }
    friend Bits bits(Doubles a) { return {(Longs)a.v}; }

    friend Doubles operator+(Doubles a, Doubles b) { return {a.v + b.v}; }
    friend Doubles operator-(Doubles a, Doubles b) { return {a.v - b.v}; }
    friend Doubles operator*(Doubles a, Doubles b) { return {a.v * b.v}; }
    friend Doubles operator/(Doubles a, Doubles b) { return {a.v / b.v}; }
    friend Doubles fma(Doubles a, Doubles b, Doubles c) { return {a.v * b.v + c.v}; }
    friend Doubles sqrt(Doubles a) {
      for (int i = 0; i < L; ++i) a.v[i] = __builtin_sqrt(a.v[i]);
      return a;
    }
    friend Mask lt(Doubles a, Doubles b) { return (Mask)(a.v < b.v); }
    friend Doubles select(Mask mask, Doubles a, Doubles b) {
      return {(Row)((mask & (Mask)a.v) | (~mask & (Mask)b.v))};
    }
    friend Doubles max(Doubles a, Doubles b) { return select(lt(b, a), a, b); }
    friend Doubles min(Doubles a, Doubles b) { return select(lt(a, b), a, b); }
  };

  Floats v;

  static Portable zero() { return {Floats{}}; }
  static Portable set1(float x) { return {x - Floats{}}; }  // -0 stays
  static Portable load(const float* p) {
    Portable y;
    __builtin_memcpy(&y.v, p, sizeof y.v);
    return y;
  }
  static Portable load(const float* p, Mask mask) {
    Portable y = zero();
    for (int i = 0; i < L; ++i) {
      if (mask[i]) y.v[i] = p[i];
    }
    return y;
  }
  void store(float* p) const { __builtin_memcpy(p, &v, sizeof v); }
  void stream(float* p) const { store(p); }
  static void order_streams() {}
  void store(float* p, Mask mask) const {
    for (int i = 0; i < L; ++i) {
      if (mask[i]) p[i] = v[i];
    }
  }

  // Bytes 0 .. min(n, lanes) - 1 as floats 0 .. 255 and back; other lanes are 0 or dropped.
  static Portable load_u8(const std::uint8_t* p, dim_t n) {
    Portable y = zero();
    for (int i = 0; i < L && i < n; ++i) y.v[i] = p[i];
    return y;
  }
  void store_u8(std::uint8_t* p, dim_t n) const {
    for (int i = 0; i < L && i < n; ++i) p[i] = static_cast<std::uint8_t>(v[i]);
  }

  // The first n lanes; n >= lanes gives all, n <= 0 none.
  static Mask tail_mask(dim_t n) {
    const auto limit = static_cast<std::int32_t>(n < 0 ? 0 : n < L ? n : L);
    return (Mask)(Bits::iota().v < static_cast<std::uint32_t>(limit));
  }
  static bool any(Mask mask) {
    std::int32_t bits = 0;
    for (int i = 0; i < L; ++i) bits |= mask[i];
    return bits != 0;
  }

  template <int... I>  // in one expression: lanes written one by one go through memory
  static Portable look_up(const float* table, Bits index, std::integer_sequence<int, I...>) {
    return {Floats{table[index.v[I] & 15]...}};
  }
  // Lane i is table[index & 15] of sixteen floats.
  static Portable lookup(const float* table, Bits index) {
    return look_up(table, index, std::make_integer_sequence<int, L>());
  }

  static Portable from_bits(Bits a) { return {(Floats)a.v}; }
  static Portable from_int(Bits a) { return {__builtin_convertvector((Ints)a.v, Floats)}; }
  friend Bits bits(Portable a) { return {(Words)a.v}; }
  // To the nearest integer; |a| < 2^22.
  friend Bits to_int(Portable a) { return {(Words) __builtin_convertvector(round(a).v, Ints)}; }

  friend Doubles widen(Portable a) { return {__builtin_convertvector(a.v, typename Doubles::Row)}; }
  friend Portable narrow(Doubles a) { return {__builtin_convertvector(a.v, Floats)}; }
  friend Bits low_words(Doubles a) {  // of the lanes as integers
    return {__builtin_convertvector((Longs)a.v, Words)};
  }

  friend Portable operator+(Portable a, Portable b) { return {a.v + b.v}; }
  friend Portable operator-(Portable a, Portable b) { return {a.v - b.v}; }
  friend Portable operator*(Portable a, Portable b) { return {a.v * b.v}; }
  friend Portable operator/(Portable a, Portable b) { return {a.v / b.v}; }
  friend Portable fma(Portable a, Portable b, Portable c) { return {a.v * b.v + c.v}; }

  friend Mask lt(Portable a, Portable b) { return (Mask)(a.v < b.v); }
  friend Mask le(Portable a, Portable b) { return (Mask)(a.v <= b.v); }
  friend Mask eq(Portable a, Portable b) { return (Mask)(a.v == b.v); }
  friend Mask is_nan(Portable a) { return (Mask)(a.v != a.v); }
  friend Portable select(Mask mask, Portable a, Portable b) {
    return {(Floats)((mask & (Ints)a.v) | (~mask & (Ints)b.v))};
  }
  friend Portable max(Portable a, Portable b) { return select(lt(b, a), a, b); }
  friend Portable min(Portable a, Portable b) { return select(lt(a, b), a, b); }
  friend Portable abs(Portable a) { return from_bits(bits(a) & Bits::set1(0x7fffffffu)); }
  friend Portable sqrt(Portable a) {
    for (int i = 0; i < L; ++i) a.v[i] = __builtin_sqrtf(a.v[i]);
    return a;
  }
  // Ties to even, as the other ISAs. Above 2^23 every float is an integer.
  friend Portable round(Portable a) {
    const Portable magic = set1(8388608.0f), size = abs(a);
    const Portable whole = (size + magic) - magic;
    const Bits sign = bits(a) & Bits::set1(0x80000000u);
    return select(lt(size, magic), from_bits(bits(whole) | sign), a);
  }
  friend Portable floor(Portable a) {
    const Portable y = round(a);
    return select(lt(a, y), y - set1(1.0f), y);
  }

  friend float reduce_add(Portable a) {
    for (int w = L / 2; w > 0; w /= 2) {
      for (int i = 0; i < w; ++i) a.v[i] += a.v[i + w];
    }
    return a.v[0];
  }
  friend float reduce_max(Portable a) {
    for (int w = L / 2; w > 0; w /= 2) {
      for (int i = 0; i < w; ++i) a.v[i] = a.v[i] > a.v[i + w] ? a.v[i] : a.v[i + w];
    }
    return a.v[0];
  }
};

}  // namespace
}  // namespace pycnn
