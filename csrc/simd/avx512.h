// SPDX-License-Identifier: Apache-2.0
// Sixteen floats in AVX-512 (F, BW, VL, DQ). The interface is defined by Portable in vec.h.
#pragma once

// GCC 12 calls the self-initialised "undefined" operands in its header a mistake (GCC bug 105593).
#pragma GCC diagnostic push
#ifndef __clang__
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>
#pragma GCC diagnostic pop

#include "base/types.h"

namespace pycnn {
namespace {

struct F32x16 {
  static constexpr int lanes = 16;
  using Mask = __mmask16;

  struct Bits {
    __m512i v;
    static Bits set1(std::uint32_t x) { return {_mm512_set1_epi32(static_cast<int>(x))}; }
    static Bits iota() {
      return {_mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)};
    }
    static Bits load(const std::uint32_t* p) { return {_mm512_loadu_si512(p)}; }
    void store(std::uint32_t* p) const { _mm512_storeu_si512(p, v); }
    friend Bits operator+(Bits a, Bits b) { return {_mm512_add_epi32(a.v, b.v)}; }
    friend Bits operator-(Bits a, Bits b) { return {_mm512_sub_epi32(a.v, b.v)}; }
    friend Bits operator&(Bits a, Bits b) { return {_mm512_and_si512(a.v, b.v)}; }
    friend Bits operator|(Bits a, Bits b) { return {_mm512_or_si512(a.v, b.v)}; }
    friend Bits operator^(Bits a, Bits b) { return {_mm512_xor_si512(a.v, b.v)}; }
    friend Bits operator<<(Bits a, int n) { return {_mm512_slli_epi32(a.v, n)}; }
    friend Bits operator>>(Bits a, int n) { return {_mm512_srli_epi32(a.v, n)}; }
    friend Mask eq(Bits a, Bits b) { return _mm512_cmpeq_epi32_mask(a.v, b.v); }
    friend void multiply_wide(Bits a, Bits b, Bits& lo, Bits& hi) {
      const __m512i even = _mm512_mul_epu32(a.v, b.v);
      const __m512i odd = _mm512_mul_epu32(_mm512_srli_epi64(a.v, 32), _mm512_srli_epi64(b.v, 32));
      lo.v = _mm512_mask_blend_epi32(0xAAAA, even, _mm512_slli_epi64(odd, 32));
      hi.v = _mm512_mask_blend_epi32(0xAAAA, _mm512_srli_epi64(even, 32), odd);
    }
    friend void interleave(Bits& a, Bits& b, Bits& c, Bits& d) {
      const __m512i ab_lo = _mm512_unpacklo_epi32(a.v, b.v);
      const __m512i ab_hi = _mm512_unpackhi_epi32(a.v, b.v);
      const __m512i cd_lo = _mm512_unpacklo_epi32(c.v, d.v);
      const __m512i cd_hi = _mm512_unpackhi_epi32(c.v, d.v);
      const __m512i q0 = _mm512_unpacklo_epi64(ab_lo, cd_lo);  // counters 0, 4, 8, 12
      const __m512i q1 = _mm512_unpackhi_epi64(ab_lo, cd_lo);
      const __m512i q2 = _mm512_unpacklo_epi64(ab_hi, cd_hi);
      const __m512i q3 = _mm512_unpackhi_epi64(ab_hi, cd_hi);
      const __m512i q01_even = _mm512_shuffle_i32x4(q0, q1, 0x88);  // counters 0, 8, 1, 9
      const __m512i q01_odd = _mm512_shuffle_i32x4(q0, q1, 0xDD);   // counters 4, 12, 5, 13
      const __m512i q23_even = _mm512_shuffle_i32x4(q2, q3, 0x88);
      const __m512i q23_odd = _mm512_shuffle_i32x4(q2, q3, 0xDD);
      a.v = _mm512_shuffle_i32x4(q01_even, q23_even, 0x88);
      b.v = _mm512_shuffle_i32x4(q01_odd, q23_odd, 0x88);
      c.v = _mm512_shuffle_i32x4(q01_even, q23_even, 0xDD);
      d.v = _mm512_shuffle_i32x4(q01_odd, q23_odd, 0xDD);
    }
  };

  struct Doubles {  // in two registers
    struct Mask {
      __mmask8 low, high;
    };

    struct Bits {
      __m512i low, high;
      static Bits set1(std::uint64_t x) {
        const __m512i all = _mm512_set1_epi64(static_cast<long long>(x));
        return {all, all};
      }
      friend Bits operator+(Bits a, Bits b) {
        return {_mm512_add_epi64(a.low, b.low), _mm512_add_epi64(a.high, b.high)};
      }
      friend Bits operator-(Bits a, Bits b) {
        return {_mm512_sub_epi64(a.low, b.low), _mm512_sub_epi64(a.high, b.high)};
      }
      friend Bits operator&(Bits a, Bits b) {
        return {_mm512_and_si512(a.low, b.low), _mm512_and_si512(a.high, b.high)};
      }
      friend Bits operator|(Bits a, Bits b) {
        return {_mm512_or_si512(a.low, b.low), _mm512_or_si512(a.high, b.high)};
      }
      friend Bits operator<<(Bits a, int n) {
        return {_mm512_slli_epi64(a.low, static_cast<unsigned>(n)),
                _mm512_slli_epi64(a.high, static_cast<unsigned>(n))};
      }
      friend Bits operator>>(Bits a, int n) {
        return {_mm512_srli_epi64(a.low, static_cast<unsigned>(n)),
                _mm512_srli_epi64(a.high, static_cast<unsigned>(n))};
      }
    };

    __m512d low, high;
    static Doubles set1(double x) {
      const __m512d all = _mm512_set1_pd(x);
      return {all, all};
    }
    static Doubles load(const double* p) { return {_mm512_loadu_pd(p), _mm512_loadu_pd(p + 8)}; }
    void store(double* p) const {
      _mm512_storeu_pd(p, low);
      _mm512_storeu_pd(p + 8, high);
    }
    static Doubles from_bits(Bits a) {
      return {_mm512_castsi512_pd(a.low), _mm512_castsi512_pd(a.high)};
    }
    friend Bits bits(Doubles a) {
      return {_mm512_castpd_si512(a.low), _mm512_castpd_si512(a.high)};
    }

    friend Doubles operator+(Doubles a, Doubles b) {
      return {_mm512_add_pd(a.low, b.low), _mm512_add_pd(a.high, b.high)};
    }
    friend Doubles operator-(Doubles a, Doubles b) {
      return {_mm512_sub_pd(a.low, b.low), _mm512_sub_pd(a.high, b.high)};
    }
    friend Doubles operator*(Doubles a, Doubles b) {
      return {_mm512_mul_pd(a.low, b.low), _mm512_mul_pd(a.high, b.high)};
    }
    friend Doubles operator/(Doubles a, Doubles b) {
      return {_mm512_div_pd(a.low, b.low), _mm512_div_pd(a.high, b.high)};
    }
    friend Doubles max(Doubles a, Doubles b) {
      return {_mm512_max_pd(a.low, b.low), _mm512_max_pd(a.high, b.high)};
    }
    friend Doubles min(Doubles a, Doubles b) {
      return {_mm512_min_pd(a.low, b.low), _mm512_min_pd(a.high, b.high)};
    }
    friend Doubles fma(Doubles a, Doubles b, Doubles c) {
      return {_mm512_fmadd_pd(a.low, b.low, c.low), _mm512_fmadd_pd(a.high, b.high, c.high)};
    }
    friend Doubles sqrt(Doubles a) { return {_mm512_sqrt_pd(a.low), _mm512_sqrt_pd(a.high)}; }
    friend Mask lt(Doubles a, Doubles b) {
      return {_mm512_cmp_pd_mask(a.low, b.low, _CMP_LT_OQ),
              _mm512_cmp_pd_mask(a.high, b.high, _CMP_LT_OQ)};
    }
    friend Doubles select(Mask mask, Doubles a, Doubles b) {
      return {_mm512_mask_blend_pd(mask.low, b.low, a.low),
              _mm512_mask_blend_pd(mask.high, b.high, a.high)};
    }
  };

  __m512 v;

  static F32x16 zero() { return {_mm512_setzero_ps()}; }
  static F32x16 set1(float x) { return {_mm512_set1_ps(x)}; }
  static F32x16 load(const float* p) { return {_mm512_loadu_ps(p)}; }
  static F32x16 load(const float* p, Mask mask) { return {_mm512_maskz_loadu_ps(mask, p)}; }
  void store(float* p) const { _mm512_storeu_ps(p, v); }
  void stream(float* p) const { _mm512_stream_ps(p, v); }
  static void order_streams() { _mm_sfence(); }
  void store(float* p, Mask mask) const { _mm512_mask_storeu_ps(p, mask, v); }

  static F32x16 load_u8(const std::uint8_t* p, dim_t n) {
    const __m128i bytes = _mm_maskz_loadu_epi8(tail_mask(n), p);
    return {_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(bytes))};
  }
  void store_u8(std::uint8_t* p, dim_t n) const {
    _mm512_mask_cvtepi32_storeu_epi8(p, tail_mask(n), _mm512_cvtps_epi32(v));
  }

  static Mask tail_mask(dim_t n) {
    const unsigned limit = static_cast<unsigned>(n < 0 ? 0 : n < 16 ? n : 16);
    return static_cast<Mask>((1u << limit) - 1u);
  }
  static bool any(Mask mask) { return mask != 0; }

  static F32x16 lookup(const float* table, Bits index) {
    return {_mm512_permutexvar_ps(index.v, _mm512_loadu_ps(table))};
  }

  static F32x16 from_bits(Bits a) { return {_mm512_castsi512_ps(a.v)}; }
  static F32x16 from_int(Bits a) { return {_mm512_cvtepi32_ps(a.v)}; }
  friend Bits bits(F32x16 a) { return {_mm512_castps_si512(a.v)}; }
  friend Bits to_int(F32x16 a) { return {_mm512_cvtps_epi32(a.v)}; }

  friend Doubles widen(F32x16 a) {
    return {_mm512_cvtps_pd(_mm512_castps512_ps256(a.v)),
            _mm512_cvtps_pd(_mm512_extractf32x8_ps(a.v, 1))};
  }
  friend F32x16 narrow(Doubles a) {
    return {_mm512_insertf32x8(_mm512_castps256_ps512(_mm512_cvtpd_ps(a.low)),
                               _mm512_cvtpd_ps(a.high), 1)};
  }
  friend Bits low_words(Doubles a) {
    const __m512i low = _mm512_castpd_si512(a.low), high = _mm512_castpd_si512(a.high);
    return {_mm512_inserti32x8(_mm512_castsi256_si512(_mm512_cvtepi64_epi32(low)),
                               _mm512_cvtepi64_epi32(high), 1)};
  }

  friend F32x16 operator+(F32x16 a, F32x16 b) { return {_mm512_add_ps(a.v, b.v)}; }
  friend F32x16 operator-(F32x16 a, F32x16 b) { return {_mm512_sub_ps(a.v, b.v)}; }
  friend F32x16 operator*(F32x16 a, F32x16 b) { return {_mm512_mul_ps(a.v, b.v)}; }
  friend F32x16 operator/(F32x16 a, F32x16 b) { return {_mm512_div_ps(a.v, b.v)}; }
  friend F32x16 fma(F32x16 a, F32x16 b, F32x16 c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }

  friend Mask lt(F32x16 a, F32x16 b) { return _mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ); }
  friend Mask le(F32x16 a, F32x16 b) { return _mm512_cmp_ps_mask(a.v, b.v, _CMP_LE_OQ); }
  friend Mask eq(F32x16 a, F32x16 b) { return _mm512_cmp_ps_mask(a.v, b.v, _CMP_EQ_OQ); }
  friend Mask is_nan(F32x16 a) { return _mm512_cmp_ps_mask(a.v, a.v, _CMP_UNORD_Q); }
  friend F32x16 select(Mask mask, F32x16 a, F32x16 b) {
    return {_mm512_mask_blend_ps(mask, b.v, a.v)};
  }
  friend F32x16 max(F32x16 a, F32x16 b) { return {_mm512_max_ps(a.v, b.v)}; }
  friend F32x16 min(F32x16 a, F32x16 b) { return {_mm512_min_ps(a.v, b.v)}; }
  friend F32x16 abs(F32x16 a) { return {_mm512_abs_ps(a.v)}; }
  friend F32x16 sqrt(F32x16 a) { return {_mm512_sqrt_ps(a.v)}; }
  friend F32x16 round(F32x16 a) {
    return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
  }
  friend F32x16 floor(F32x16 a) {
    return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC)};
  }

  friend float reduce_add(F32x16 a) {
    const __m256 z = _mm256_add_ps(_mm512_castps512_ps256(a.v), _mm512_extractf32x8_ps(a.v, 1));
    __m128 y = _mm_add_ps(_mm256_castps256_ps128(z), _mm256_extractf128_ps(z, 1));
    y = _mm_add_ps(y, _mm_movehl_ps(y, y));
    return _mm_cvtss_f32(_mm_add_ss(y, _mm_movehdup_ps(y)));
  }
  friend float reduce_max(F32x16 a) {
    const __m256 z = _mm256_max_ps(_mm512_castps512_ps256(a.v), _mm512_extractf32x8_ps(a.v, 1));
    __m128 y = _mm_max_ps(_mm256_castps256_ps128(z), _mm256_extractf128_ps(z, 1));
    y = _mm_max_ps(y, _mm_movehl_ps(y, y));
    return _mm_cvtss_f32(_mm_max_ss(y, _mm_movehdup_ps(y)));
  }
};

}  // namespace
}  // namespace pycnn
