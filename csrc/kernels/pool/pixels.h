// SPDX-License-Identifier: Apache-2.0
// Channels of a pixel in whole vectors, where what follows it allows.
#pragma once

#include "kernels/pool/pool.h"
#include "simd/loops.h"

namespace pycnn {
namespace {

// Stores channels c ... of a pixel where later pixels follow up to `end`: whole vectors may spill
// into them, as they are written afterwards. A masked store costs a dozen cycles on Zen.
template <class V>
inline void store_ahead(V v, float* y, dim_t channels, const float* end) {
  if (channels >= V::lanes || end - y >= V::lanes) {
    v.store(y);
  } else {
    v.store(y, V::tail_mask(channels));
  }
}
template <class V>
inline void store_ahead(V v, std::uint8_t* y, dim_t channels, const std::uint8_t* end) {
  v.store_u8(y, end - y >= V::lanes ? V::lanes : channels);
}

// Loads channels c ... of a pixel; lanes past them hold whatever follows up to `end`, or 0. (Zen
// does not prefetch for masked loads.)
template <class V>
inline V load_ahead(const float* x, dim_t channels, const float* end) {
  if (channels >= V::lanes || end - x >= V::lanes) return V::load(x);
  return V::load(x, V::tail_mask(channels));
}
template <class V>
inline V load_ahead(const std::uint8_t* x, dim_t channels, const std::uint8_t* end) {
  return V::load_u8(x, end - x >= V::lanes ? V::lanes : channels);
}

}  // namespace
}  // namespace pycnn
