// SPDX-License-Identifier: Apache-2.0
// Random words of base/rng.h, four vectors of them at a time.
#pragma once

#include "base/rng.h"
#include "simd/vec.h"

namespace pycnn {
namespace {

// Words 4c .. 4c+3 of counters c = first .. first + lanes - 1, in element order. The low counter
// word does not wrap inside the vector: first is a multiple of lanes.
template <class V>
[[gnu::always_inline]] inline void philox(std::uint64_t seed, std::uint32_t stream,
                                          std::uint32_t step, std::uint64_t first,
                                          typename V::Bits (&word)[4]) {
  using Bits = typename V::Bits;
  Bits c0 = Bits::iota() + Bits::set1(static_cast<std::uint32_t>(first));
  Bits c1 = Bits::set1(static_cast<std::uint32_t>(first >> 32));
  Bits c2 = Bits::set1(stream), c3 = Bits::set1(step);
  auto k0 = static_cast<std::uint32_t>(seed);
  auto k1 = static_cast<std::uint32_t>(seed >> 32);
  for (int round = 0; round < kPhiloxRounds; ++round) {
    Bits lo0, hi0, lo1, hi1;
    multiply_wide(c0, Bits::set1(kPhiloxM0), lo0, hi0);
    multiply_wide(c2, Bits::set1(kPhiloxM1), lo1, hi1);
    c0 = hi1 ^ c1 ^ Bits::set1(k0);
    c1 = lo1;
    c2 = hi0 ^ c3 ^ Bits::set1(k1);
    c3 = lo0;
    k0 += kPhiloxW0;
    k1 += kPhiloxW1;
  }
  interleave(c0, c1, c2, c3);
  word[0] = c0, word[1] = c1, word[2] = c2, word[3] = c3;
}

// A word as a uniform number in [0, 1).
template <class V>
[[gnu::always_inline]] inline V to_uniform(typename V::Bits word) {
  return V::from_int(word >> 8) * V::set1(1.0f / 16777216.0f);
}

}  // namespace
}  // namespace pycnn
