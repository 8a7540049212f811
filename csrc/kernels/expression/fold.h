// SPDX-License-Identifier: Apache-2.0
// Folds: sums and extremes over kFoldLanes running results, in the same order on every instruction
// set.
#pragma once

#include "kernels/expression/expression.h"
#include "simd/loops.h"

namespace pycnn {
namespace {

struct SumOf {
  static constexpr float kNeutral = 0;
  template <class T>
  static T of(T a, T b) {
    return a + b;
  }
  template <class V>
  static float of_lanes(V a) {  // lane i and lane i + w, w = lanes / 2 ... 1
    return reduce_add(a);
  }
};

// The same of extremes, lane by lane: only where a NaN is among them does the order matter.
template <class V, class Op>
[[gnu::always_inline]] inline float lane_by_lane(V a) {
  float last[V::lanes];
  a.store(last);
  for (int w = V::lanes / 2; w > 0; w /= 2) {
    for (int i = 0; i < w; ++i) last[i] = Op::of(last[i], last[i + w]);
  }
  return last[0];
}

// A NaN stays, from whichever side.
struct MaxOf {
  static constexpr float kNeutral = -__builtin_inff();
  template <class V>
  static V of(V a, V b) {
    return select(is_nan(a), a, max(a, b));
  }
  static float of(float a, float b) { return a != a || a > b ? a : b; }
  template <class V>
  static float of_lanes(V a) {
    return V::any(is_nan(a)) ? lane_by_lane<V, MaxOf>(a) : reduce_max(a);
  }
};
struct MinOf {
  static constexpr float kNeutral = __builtin_inff();
  template <class V>
  static V of(V a, V b) {
    return select(is_nan(a), a, min(a, b));
  }
  static float of(float a, float b) { return a != a || a < b ? a : b; }
  template <class V>
  static float of_lanes(V a) {
    return lane_by_lane<V, MinOf>(a);
  }
};

template <class V>
constexpr int kFoldVectors = static_cast<int>(kFoldLanes) / V::lanes;

// Lane i and lane i + w, for w = kFoldLanes / 2 ... 1.
template <class V, class Op>
[[gnu::always_inline]] inline float fold_lanes(V (&lanes)[kFoldVectors<V>]) {
  for (int w = kFoldVectors<V> / 2; w > 0; w /= 2) {
    for (int i = 0; i < w; ++i) lanes[i] = Op::of(lanes[i], lanes[i + w]);
  }
  return Op::of_lanes(lanes[0]);
}

// lanes[i % kFoldLanes] = Op(lanes[i % kFoldLanes], x[i])
template <class V, class Op>
[[gnu::always_inline]] inline void fold_run(const float* x, dim_t count,
                                            V (&lanes)[kFoldVectors<V>]) {
  dim_t i = 0;
  for (; i + kFoldLanes <= count; i += kFoldLanes) {
#pragma GCC unroll 4
    for (int v = 0; v < kFoldVectors<V>; ++v) {
      lanes[v] = Op::of(lanes[v], V::load(x + i + v * V::lanes));
    }
  }
  for (int v = 0; i < count; ++v, i += V::lanes) {
    const auto mask = V::tail_mask(count - i);
    lanes[v] = select(mask, Op::of(lanes[v], V::load(x + i, mask)), lanes[v]);
  }
}

template <class Op>
void begin_fold(float* y, dim_t count) noexcept {
  for (dim_t i = 0; i < count; ++i) y[i] = Op::kNeutral;
}

template <class V, class Op>
void fold_into_lanes(const float* x, dim_t count, float* y) noexcept {
  V lanes[kFoldVectors<V>];
  for (int v = 0; v < kFoldVectors<V>; ++v) lanes[v] = V::load(y + v * V::lanes);
  fold_run<V, Op>(x, count, lanes);
  for (int v = 0; v < kFoldVectors<V>; ++v) lanes[v].store(y + v * V::lanes);
}

template <class V, class Op>
float finish_fold(const float* y) noexcept {
  V lanes[kFoldVectors<V>];
  for (int v = 0; v < kFoldVectors<V>; ++v) lanes[v] = V::load(y + v * V::lanes);
  return fold_lanes<V, Op>(lanes);
}

template <class V, class Op>
void fold_rows(const float* x, dim_t rows, dim_t count, float* y) noexcept {
  if (count <= V::lanes) {  // the other lanes stay neutral
    const auto mask = V::tail_mask(count);
    const V neutral = V::set1(Op::kNeutral);
    for (dim_t row = 0; row < rows; ++row, x += count) {
      y[row] = Op::of_lanes(select(mask, Op::of(neutral, V::load(x, mask)), neutral));
    }
    return;
  }
  for (dim_t row = 0; row < rows; ++row, x += count) {
    V lanes[kFoldVectors<V>];
    for (V& lane : lanes) lane = V::set1(Op::kNeutral);
    fold_run<V, Op>(x, count, lanes);
    y[row] = fold_lanes<V, Op>(lanes);
  }
}

// y[i] = x[(first + i) / inner]: each number `inner` times.
template <class V>
void repeat_each(const float* x, dim_t first, dim_t inner, float* y, dim_t count) noexcept {
  assert(first >= 0 && inner >= 1);
  const float* at = x + first / inner;
  dim_t left = inner - first % inner;
  for (dim_t i = 0; i < count; left = inner, ++at) {
    const dim_t n = left < count - i ? left : count - i;
    const V value = V::set1(*at);
    // Whole vectors may reach into the numbers to come, which are written next.
    dim_t j = 0;
    for (; j < n && i + j + V::lanes <= count; j += V::lanes) value.store(y + i + j);
    if (j < n) value.store(y + i + j, V::tail_mask(n - j));
    i += n;
  }
}

template <class V, class Op>
void fold_columns(const float* x, dim_t rows, dim_t columns, float* y) noexcept {
  for_vectors<V>(columns, [&](dim_t c, auto... mask) __attribute__((always_inline)) {
    V sum = V::load(y + c, mask...);
    for (dim_t row = 0; row < rows; ++row)
      sum = Op::of(sum, V::load(x + row * columns + c, mask...));
    sum.store(y + c, mask...);
  });
}

template <class V, class Op>
constexpr FoldKernels make_fold_kernels() {
  return {begin_fold<Op>, fold_into_lanes<V, Op>, finish_fold<V, Op>, fold_rows<V, Op>,
          fold_columns<V, Op>};
}

}  // namespace
}  // namespace pycnn
