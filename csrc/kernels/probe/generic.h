// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/probe/probe.h"

namespace pycnn {
namespace {

template <class V>
float multiply_add(dim_t iterations) noexcept {
  V a0 = V::set1(0.1f), a1 = a0, a2 = a0, a3 = a0, a4 = a0, a5 = a0, a6 = a0, a7 = a0, a8 = a0,
    a9 = a0, a10 = a0, a11 = a0;
  const V b = V::set1(0.999f), c = V::set1(0.001f);
  for (dim_t i = 0; i < iterations; ++i) {
    a0 = fma(a0, b, c), a1 = fma(a1, b, c), a2 = fma(a2, b, c), a3 = fma(a3, b, c);
    a4 = fma(a4, b, c), a5 = fma(a5, b, c), a6 = fma(a6, b, c), a7 = fma(a7, b, c);
    a8 = fma(a8, b, c), a9 = fma(a9, b, c), a10 = fma(a10, b, c), a11 = fma(a11, b, c);
#if defined(__x86_64__)  // twelve equal chains would be computed once
    asm("" : "+x"(a0.v), "+x"(a1.v), "+x"(a2.v), "+x"(a3.v), "+x"(a4.v), "+x"(a5.v));
    asm("" : "+x"(a6.v), "+x"(a7.v), "+x"(a8.v), "+x"(a9.v), "+x"(a10.v), "+x"(a11.v));
#endif
  }
  return reduce_add(a0 + a1 + a2 + a3 + a4 + a5 + a6 + a7 + a8 + a9 + a10 + a11);
}

}  // namespace
}  // namespace pycnn
