// SPDX-License-Identifier: Apache-2.0
// Chains: cheap functions one after the other on a value that stays in registers.
#pragma once

#include "kernels/expression/functions.h"

namespace pycnn {
namespace {

// value = f(value, operand of the link), for kVectors vectors
template <class V, int kVectors, class... Mask>
[[gnu::always_inline]] inline void apply(const ChainLink& link, dim_t i, V (&value)[kVectors],
                                         Mask... mask) {
  const float* operand = link.operand.data + (link.operand.repeated ? 0 : i);
  const dim_t step = link.operand.repeated ? 0 : V::lanes;
  const auto each = [&](auto f) __attribute__((always_inline)) {
#pragma GCC unroll 8
    for (int k = 0; k < kVectors; ++k) value[k] = f(value[k]);
  };
  const auto with = [&](auto f) __attribute__((always_inline)) {
    if (link.operand.repeated) {
      const V single = V::load(operand);
#pragma GCC unroll 8
      for (int k = 0; k < kVectors; ++k) value[k] = f(value[k], single);
    } else {
#pragma GCC unroll 8
      for (int k = 0; k < kVectors; ++k) {
        value[k] = f(value[k], V::load(operand + k * step, mask...));
      }
    }
  };
  switch (link.function) {
    case ChainFunction::add:
      return with([](V v, V x) { return v + x; });
    case ChainFunction::subtract:
      return with([](V v, V x) { return v - x; });
    case ChainFunction::subtract_from:
      return with([](V v, V x) { return x - v; });
    case ChainFunction::multiply:
      return with([](V v, V x) { return v * x; });
    case ChainFunction::divide:
      return with([](V v, V x) { return v / x; });
    case ChainFunction::divide_into:
      return with([](V v, V x) { return x / v; });
    case ChainFunction::maximum:
      return with([](V v, V x) { return maximum(v, x); });
    case ChainFunction::maximum_of:
      return with([](V v, V x) { return maximum(x, v); });
    case ChainFunction::minimum:
      return with([](V v, V x) { return minimum(v, x); });
    case ChainFunction::minimum_of:
      return with([](V v, V x) { return minimum(x, v); });
    case ChainFunction::square:
      return each([](V v) { return v * v; });
    case ChainFunction::sqrt:
      return each([](V v) { return sqrt(v); });
    case ChainFunction::negative:
      return each([](V v) { return V::from_bits(bits(v) ^ V::Bits::set1(0x80000000u)); });
  }
}

template <class V>
void chain(float* y, const BlockOperand& x, const ChainLink* links, int count_of_links,
           dim_t count) noexcept {
  constexpr int kVectors = 8;
  dim_t i = 0;
  const dim_t step = x.repeated ? 0 : 1;
  for (; i + kVectors * V::lanes <= count; i += kVectors * V::lanes) {
    V value[kVectors];
#pragma GCC unroll 8
    for (int k = 0; k < kVectors; ++k) value[k] = V::load(x.data + (i + k * V::lanes) * step);
    for (int l = 0; l < count_of_links; ++l) apply<V, kVectors>(links[l], i, value);
#pragma GCC unroll 8
    for (int k = 0; k < kVectors; ++k) value[k].store(y + i + k * V::lanes);
  }
  for (; i < count; i += V::lanes) {
    const auto mask = V::tail_mask(count - i);
    V value[1] = {V::load(x.data + i * step, mask)};
    for (int l = 0; l < count_of_links; ++l) apply<V, 1>(links[l], i, value, mask);
    value[0].store(y + i, mask);
  }
}

}  // namespace
}  // namespace pycnn
