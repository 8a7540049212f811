// SPDX-License-Identifier: Apache-2.0
// The engine's floating-point mode, of the calling thread. All arithmetic that ends in a result
// runs in it: in regions (parallel.h), and where weights or arguments are made ready for them.
#pragma once

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace pycnn {

// While it lives: round to nearest, all exceptions masked, subnormal results and inputs count as
// zero (they cost a hundred cycles each and appear by themselves late in a training).
class FloatMode {
 public:
#if defined(__x86_64__)
  FloatMode() : saved_(_mm_getcsr()) { _mm_setcsr(0x1F80u | 0x8000u | 0x0040u); }
  ~FloatMode() { _mm_setcsr(saved_); }
#else
  FloatMode() = default;
#endif
  FloatMode(const FloatMode&) = delete;
  FloatMode& operator=(const FloatMode&) = delete;

#if defined(__x86_64__)
 private:
  unsigned saved_;
#endif
};

// x in single precision, whatever the caller's mode. (The compiler knows nothing of modes: volatile
// keeps the conversion between their changes.)
inline float to_single(double x) noexcept {
  const volatile double given = x;
  const FloatMode mode;
  const volatile float result = static_cast<float>(given);
  return result;
}

}  // namespace pycnn
