// SPDX-License-Identifier: Apache-2.0
// Eight floats in AVX2 with FMA. The interface is defined by Portable in vec.h.
#pragma once

#include <immintrin.h>

#include "base/types.h"

namespace pycnn {
namespace {

// The first min(n, 8) bytes at p; counts below 8 are covered by two overlapping pieces.
inline std::uint64_t load_bytes(const std::uint8_t* p, dim_t n) {
  std::uint64_t whole = 0;
  std::uint32_t low, high;
  if (n >= 8) {
    __builtin_memcpy(&whole, p, 8);
  } else if (n >= 4) {
    __builtin_memcpy(&low, p, 4);
    __builtin_memcpy(&high, p + n - 4, 4);
    whole = low | std::uint64_t{high} << (8 * (n - 4));
  } else if (n > 0) {
    whole = p[0] | std::uint64_t{p[n / 2]} << (8 * (n / 2));
    whole |= std::uint64_t{p[n - 1]} << (8 * (n - 1));
  }
  return whole;
}

inline void store_bytes(std::uint8_t* p, dim_t n, std::uint64_t whole) {
  if (n >= 8) {
    __builtin_memcpy(p, &whole, 8);
  } else if (n >= 4) {
    const auto low = static_cast<std::uint32_t>(whole);
    const auto high = static_cast<std::uint32_t>(whole >> (8 * (n - 4)));
    __builtin_memcpy(p, &low, 4);
    __builtin_memcpy(p + n - 4, &high, 4);
  } else if (n > 0) {
    p[0] = static_cast<std::uint8_t>(whole);
    p[n / 2] = static_cast<std::uint8_t>(whole >> (8 * (n / 2)));
    p[n - 1] = static_cast<std::uint8_t>(whole >> (8 * (n - 1)));
  }
}

struct F32x8 {
  static constexpr int lanes = 8;
  using Mask = __m256i;  // -1 active, 0 inactive

  struct Bits {
    __m256i v;
    static Bits set1(std::uint32_t x) { return {_mm256_set1_epi32(static_cast<int>(x))}; }
    static Bits iota() { return {_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)}; }
    static Bits load(const std::uint32_t* p) {
      return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))};
    }
    void store(std::uint32_t* p) const { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), v); }
    friend Bits operator+(Bits a, Bits b) { return {_mm256_add_epi32(a.v, b.v)}; }
    friend Bits operator-(Bits a, Bits b) { return {_mm256_sub_epi32(a.v, b.v)}; }
    friend Bits operator&(Bits a, Bits b) { return {_mm256_and_si256(a.v, b.v)}; }
    friend Bits operator|(Bits a, Bits b) { return {_mm256_or_si256(a.v, b.v)}; }
    friend Bits operator^(Bits a, Bits b) { return {_mm256_xor_si256(a.v, b.v)}; }
    friend Bits operator<<(Bits a, int n) { return {_mm256_slli_epi32(a.v, n)}; }
    friend Bits operator>>(Bits a, int n) { return {_mm256_srli_epi32(a.v, n)}; }
    friend Mask eq(Bits a, Bits b) { return _mm256_cmpeq_epi32(a.v, b.v); }
    friend void multiply_wide(Bits a, Bits b, Bits& lo, Bits& hi) {
      const __m256i even = _mm256_mul_epu32(a.v, b.v);
      const __m256i odd = _mm256_mul_epu32(_mm256_srli_epi64(a.v, 32), _mm256_srli_epi64(b.v, 32));
      lo.v = _mm256_blend_epi32(even, _mm256_slli_epi64(odd, 32), 0xAA);
      hi.v = _mm256_blend_epi32(_mm256_srli_epi64(even, 32), odd, 0xAA);
    }
    friend void interleave(Bits& a, Bits& b, Bits& c, Bits& d) {
      const __m256i ab_lo = _mm256_unpacklo_epi32(a.v, b.v);
      const __m256i ab_hi = _mm256_unpackhi_epi32(a.v, b.v);
      const __m256i cd_lo = _mm256_unpacklo_epi32(c.v, d.v);
      const __m256i cd_hi = _mm256_unpackhi_epi32(c.v, d.v);
      const __m256i q04 = _mm256_unpacklo_epi64(ab_lo, cd_lo);  // counters 0 and 4
      const __m256i q15 = _mm256_unpackhi_epi64(ab_lo, cd_lo);
      const __m256i q26 = _mm256_unpacklo_epi64(ab_hi, cd_hi);
      const __m256i q37 = _mm256_unpackhi_epi64(ab_hi, cd_hi);
      a.v = _mm256_permute2x128_si256(q04, q15, 0x20);
      b.v = _mm256_permute2x128_si256(q26, q37, 0x20);
      c.v = _mm256_permute2x128_si256(q04, q15, 0x31);
      d.v = _mm256_permute2x128_si256(q26, q37, 0x31);
    }
  };

  struct Doubles {  // in two registers
    struct Mask {
      __m256d low, high;
    };

    struct Bits {
      __m256i low, high;
      static Bits set1(std::uint64_t x) {
        const __m256i all = _mm256_set1_epi64x(static_cast<long long>(x));
        return {all, all};
      }
      friend Bits operator+(Bits a, Bits b) {
        return {_mm256_add_epi64(a.low, b.low), _mm256_add_epi64(a.high, b.high)};
      }
      friend Bits operator-(Bits a, Bits b) {
        return {_mm256_sub_epi64(a.low, b.low), _mm256_sub_epi64(a.high, b.high)};
      }
      friend Bits operator&(Bits a, Bits b) {
        return {_mm256_and_si256(a.low, b.low), _mm256_and_si256(a.high, b.high)};
      }
      friend Bits operator|(Bits a, Bits b) {
        return {_mm256_or_si256(a.low, b.low), _mm256_or_si256(a.high, b.high)};
      }
      friend Bits operator<<(Bits a, int n) {
        return {_mm256_slli_epi64(a.low, n), _mm256_slli_epi64(a.high, n)};
      }
      friend Bits operator>>(Bits a, int n) {
        return {_mm256_srli_epi64(a.low, n), _mm256_srli_epi64(a.high, n)};
      }
    };

    __m256d low, high;
    static Doubles set1(double x) {
      const __m256d all = _mm256_set1_pd(x);
      return {all, all};
    }
    static Doubles load(const double* p) { return {_mm256_loadu_pd(p), _mm256_loadu_pd(p + 4)}; }
    void store(double* p) const {
      _mm256_storeu_pd(p, low);
      _mm256_storeu_pd(p + 4, high);
    }
    static Doubles from_bits(Bits a) {
      return {_mm256_castsi256_pd(a.low), _mm256_castsi256_pd(a.high)};
    }
    friend Bits bits(Doubles a) {
      return {_mm256_castpd_si256(a.low), _mm256_castpd_si256(a.high)};
    }

    friend Doubles operator+(Doubles a, Doubles b) {
      return {_mm256_add_pd(a.low, b.low), _mm256_add_pd(a.high, b.high)};
    }
    friend Doubles operator-(Doubles a, Doubles b) {
      return {_mm256_sub_pd(a.low, b.low), _mm256_sub_pd(a.high, b.high)};
    }
    friend Doubles operator*(Doubles a, Doubles b) {
      return {_mm256_mul_pd(a.low, b.low), _mm256_mul_pd(a.high, b.high)};
    }
    friend Doubles operator/(Doubles a, Doubles b) {
      return {_mm256_div_pd(a.low, b.low), _mm256_div_pd(a.high, b.high)};
    }
    friend Doubles max(Doubles a, Doubles b) {
      return {_mm256_max_pd(a.low, b.low), _mm256_max_pd(a.high, b.high)};
    }
    friend Doubles min(Doubles a, Doubles b) {
      return {_mm256_min_pd(a.low, b.low), _mm256_min_pd(a.high, b.high)};
    }
    friend Doubles fma(Doubles a, Doubles b, Doubles c) {
      return {_mm256_fmadd_pd(a.low, b.low, c.low), _mm256_fmadd_pd(a.high, b.high, c.high)};
    }
    friend Doubles sqrt(Doubles a) { return {_mm256_sqrt_pd(a.low), _mm256_sqrt_pd(a.high)}; }
    friend Mask lt(Doubles a, Doubles b) {
      return {_mm256_cmp_pd(a.low, b.low, _CMP_LT_OQ), _mm256_cmp_pd(a.high, b.high, _CMP_LT_OQ)};
    }
    friend Doubles select(Mask mask, Doubles a, Doubles b) {
      return {_mm256_blendv_pd(b.low, a.low, mask.low),
              _mm256_blendv_pd(b.high, a.high, mask.high)};
    }
  };

  __m256 v;

  static F32x8 zero() { return {_mm256_setzero_ps()}; }
  static F32x8 set1(float x) { return {_mm256_set1_ps(x)}; }
  static F32x8 load(const float* p) { return {_mm256_loadu_ps(p)}; }
  static F32x8 load(const float* p, Mask mask) { return {_mm256_maskload_ps(p, mask)}; }
  void store(float* p) const { _mm256_storeu_ps(p, v); }
  void stream(float* p) const { _mm256_stream_ps(p, v); }
  static void order_streams() { _mm_sfence(); }
  // The mask is a tail_mask. In pieces, since vmaskmovps stores take 18 cycles on Zen 1 to 3.
  void store(float* p, Mask mask) const {
    const int n =
        __builtin_popcount(static_cast<unsigned>(_mm256_movemask_ps(_mm256_castsi256_ps(mask))));
    if (n == 8) return store(p);
    __m128 rest = _mm256_castps256_ps128(v);
    if (n & 4) {
      _mm_storeu_ps(p, rest);
      rest = _mm256_extractf128_ps(v, 1);
      p += 4;
    }
    if (n & 2) {
      _mm_storel_pi(reinterpret_cast<__m64*>(p), rest);
      rest = _mm_movehl_ps(rest, rest);
      p += 2;
    }
    if (n & 1) _mm_store_ss(p, rest);
  }

  static F32x8 load_u8(const std::uint8_t* p, dim_t n) {
    const __m128i packed = _mm_cvtsi64_si128(static_cast<long long>(load_bytes(p, n)));
    return {_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(packed))};
  }
  void store_u8(std::uint8_t* p, dim_t n) const {
    const __m256i words = _mm256_cvtps_epi32(v);
    const __m128i shorts =
        _mm_packus_epi32(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
    const __m128i bytes = _mm_packus_epi16(shorts, shorts);
    store_bytes(p, n, static_cast<std::uint64_t>(_mm_cvtsi128_si64(bytes)));
  }

  static Mask tail_mask(dim_t n) {
    const int limit = static_cast<int>(n < 0 ? 0 : n < 8 ? n : 8);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(limit), Bits::iota().v);
  }
  static bool any(Mask mask) { return _mm256_movemask_ps(_mm256_castsi256_ps(mask)) != 0; }

  static F32x8 lookup(const float* table, Bits index) {
    const __m256 low = _mm256_permutevar8x32_ps(_mm256_loadu_ps(table), index.v);
    const __m256 high = _mm256_permutevar8x32_ps(_mm256_loadu_ps(table + 8), index.v);
    return {_mm256_blendv_ps(low, high, _mm256_castsi256_ps(_mm256_slli_epi32(index.v, 28)))};
  }

  static F32x8 from_bits(Bits a) { return {_mm256_castsi256_ps(a.v)}; }
  static F32x8 from_int(Bits a) { return {_mm256_cvtepi32_ps(a.v)}; }
  friend Bits bits(F32x8 a) { return {_mm256_castps_si256(a.v)}; }
  friend Bits to_int(F32x8 a) { return {_mm256_cvtps_epi32(a.v)}; }

  friend Doubles widen(F32x8 a) {
    return {_mm256_cvtps_pd(_mm256_castps256_ps128(a.v)),
            _mm256_cvtps_pd(_mm256_extractf128_ps(a.v, 1))};
  }
  friend F32x8 narrow(Doubles a) {
    return {_mm256_insertf128_ps(_mm256_castps128_ps256(_mm256_cvtpd_ps(a.low)),
                                 _mm256_cvtpd_ps(a.high), 1)};
  }
  friend Bits low_words(Doubles a) {
    const __m256 even = _mm256_shuffle_ps(_mm256_castpd_ps(a.low), _mm256_castpd_ps(a.high),
                                          0x88);  // lanes 0 1 4 5 2 3 6 7
    return {_mm256_permute4x64_epi64(_mm256_castps_si256(even), 0xD8)};
  }

  friend F32x8 operator+(F32x8 a, F32x8 b) { return {_mm256_add_ps(a.v, b.v)}; }
  friend F32x8 operator-(F32x8 a, F32x8 b) { return {_mm256_sub_ps(a.v, b.v)}; }
  friend F32x8 operator*(F32x8 a, F32x8 b) { return {_mm256_mul_ps(a.v, b.v)}; }
  friend F32x8 operator/(F32x8 a, F32x8 b) { return {_mm256_div_ps(a.v, b.v)}; }
  friend F32x8 fma(F32x8 a, F32x8 b, F32x8 c) { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }

  template <int kPredicate>
  static Mask compare(F32x8 a, F32x8 b) {
    return _mm256_castps_si256(_mm256_cmp_ps(a.v, b.v, kPredicate));
  }
  friend Mask lt(F32x8 a, F32x8 b) { return compare<_CMP_LT_OQ>(a, b); }
  friend Mask le(F32x8 a, F32x8 b) { return compare<_CMP_LE_OQ>(a, b); }
  friend Mask eq(F32x8 a, F32x8 b) { return compare<_CMP_EQ_OQ>(a, b); }
  friend Mask is_nan(F32x8 a) { return compare<_CMP_UNORD_Q>(a, a); }
  friend F32x8 select(Mask mask, F32x8 a, F32x8 b) {
    return {_mm256_blendv_ps(b.v, a.v, _mm256_castsi256_ps(mask))};
  }
  friend F32x8 max(F32x8 a, F32x8 b) { return {_mm256_max_ps(a.v, b.v)}; }
  friend F32x8 min(F32x8 a, F32x8 b) { return {_mm256_min_ps(a.v, b.v)}; }
  friend F32x8 abs(F32x8 a) { return {_mm256_andnot_ps(_mm256_set1_ps(-0.0f), a.v)}; }
  friend F32x8 sqrt(F32x8 a) { return {_mm256_sqrt_ps(a.v)}; }
  friend F32x8 round(F32x8 a) {
    return {_mm256_round_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
  }
  friend F32x8 floor(F32x8 a) {
    return {_mm256_round_ps(a.v, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC)};
  }

  friend float reduce_add(F32x8 a) {
    __m128 y = _mm_add_ps(_mm256_castps256_ps128(a.v), _mm256_extractf128_ps(a.v, 1));
    y = _mm_add_ps(y, _mm_movehl_ps(y, y));
    return _mm_cvtss_f32(_mm_add_ss(y, _mm_movehdup_ps(y)));
  }
  friend float reduce_max(F32x8 a) {
    __m128 y = _mm_max_ps(_mm256_castps256_ps128(a.v), _mm256_extractf128_ps(a.v, 1));
    y = _mm_max_ps(y, _mm_movehl_ps(y, y));
    return _mm_cvtss_f32(_mm_max_ss(y, _mm_movehdup_ps(y)));
  }
};

}  // namespace
}  // namespace pycnn
