// SPDX-License-Identifier: Apache-2.0
// Maxima and means of windows.
#pragma once

#include "kernels/pool/pixels.h"

namespace pycnn {
namespace {

inline bool is_valid(const PoolRun& run) {
  return run.pixels >= 1 && run.C >= 1 && run.rows >= 1 && run.columns >= 1 && run.divisor >= 1;
}

// One past the last float that the windows of a run read.
inline const float* end_of_input(const PoolRun& run, const float* x) {
  assert(is_valid(run));
  return x + (run.pixels - 1) * run.x_step + (run.rows - 1) * run.row_stride +
         (run.columns - 1) * run.column_stride + run.C;
}

enum class Arg { none, stored };

// The maximum so far of one vector of channels, and the index of its first tap.
template <class V, Arg kArg>
struct Best {
  V top, index;

  void take(V v, V at) {
    if constexpr (kArg == Arg::stored) {
      // Greater or NaN, and no NaN so far: the first maximum, or the first NaN.
      const auto better = ~le(v, top) & eq(top, top);
      top = select(better, v, top);
      index = select(better, at, index);
    } else {
      top = select(is_nan(v), v, max(v, top));  // max keeps a NaN in top
    }
  }
};

// kWindow 2 or 3: whole windows of that size, without loops over taps; 0: any. run is a copy, as
// stores to arg could alias the caller's.
template <class V, Arg kArg, int kWindow>
void max_run(const PoolRun run, const float* x, float* y, std::uint8_t* arg) {
  const float *const x_end = end_of_input(run, x), *const y_end = y + run.pixels * run.C;
  const std::uint8_t* const arg_end = arg + (kArg == Arg::stored ? run.pixels * run.C : 0);
  for (dim_t pixel = 0; pixel < run.pixels; ++pixel, x += run.x_step, y += run.C) {
    for (dim_t c = 0; c < run.C; c += V::lanes) {
      const dim_t channels = run.C - c;
      const auto load = [&](dim_t r, dim_t s) __attribute__((always_inline)) {
        return load_ahead<V>(x + r * run.row_stride + s * run.column_stride + c, channels, x_end);
      };
      const auto index = [&](dim_t r, dim_t s) __attribute__((always_inline)) {
        return V::set1(static_cast<float>(run.first_index + r * run.index_stride + s));
      };
      Best<V, kArg> best{load(0, 0), index(0, 0)};
      const auto tap = [&](dim_t r, dim_t s)
                           __attribute__((always_inline)) { best.take(load(r, s), index(r, s)); };
      if constexpr (kWindow == 2) {
        tap(0, 1), tap(1, 0), tap(1, 1);
      } else if constexpr (kWindow == 3) {
        tap(0, 1), tap(0, 2), tap(1, 0), tap(1, 1), tap(1, 2), tap(2, 0), tap(2, 1), tap(2, 2);
      } else {
        for (dim_t r = 0; r < run.rows; ++r) {
          for (dim_t s = 0; s < run.columns; ++s) tap(r, s);
        }
      }
      store_ahead(best.top, y + c, channels, y_end);
      if constexpr (kArg == Arg::stored) store_ahead(best.index, arg + c, channels, arg_end);
    }
    if constexpr (kArg == Arg::stored) arg += run.C;
  }
}

template <class V, Arg kArg>
void max_any(const PoolRun& run, const float* x, float* y, std::uint8_t* arg) {
  const bool square = run.rows == run.columns;
  if (square && run.rows == 2) {
    max_run<V, kArg, 2>(run, x, y, arg);
  } else if (square && run.rows == 3) {
    max_run<V, kArg, 3>(run, x, y, arg);
  } else {
    max_run<V, kArg, 0>(run, x, y, arg);
  }
}

template <class V>
void max_pool(const PoolRun& run, const float* x, float* y, std::uint8_t* arg) noexcept {
  if (arg != nullptr) {
    assert(run.first_index + (run.rows - 1) * run.index_stride + run.columns <= 256);  // a byte
    max_any<V, Arg::stored>(run, x, y, arg);
  } else {
    max_any<V, Arg::none>(run, x, y, nullptr);
  }
}

// Several vectors of channels at a time hide the latency of the additions where windows are large.
constexpr int kAverageVectors = 8;  // half of the registers of AVX2

struct PoolEnds {
  const float *x, *y;
};

// Out of line: inlined, GCC keeps less of it in registers (a tenth slower).
template <class V, int K>
[[gnu::noinline]] void average_block(const PoolRun& run, const float* x, float* y, dim_t channels,
                                     const PoolEnds& ends) {
  V sum[K];
#pragma GCC unroll 8
  for (int k = 0; k < K; ++k) sum[k] = V::zero();
  for (dim_t r = 0; r < run.rows; ++r) {
    const float* tap = x + r * run.row_stride;
    for (dim_t s = 0; s < run.columns; ++s, tap += run.column_stride) {
#pragma GCC unroll 8
      for (int k = 0; k < K; ++k) {
        sum[k] = sum[k] + load_ahead<V>(tap + k * V::lanes, channels - k * V::lanes, ends.x);
      }
    }
  }
  const V divisor = V::set1(run.divisor);
#pragma GCC unroll 8
  for (int k = 0; k < K; ++k) {
    store_ahead(sum[k] / divisor, y + k * V::lanes, channels - k * V::lanes, ends.y);
  }
}

template <class V>
void average_pool(const PoolRun& run, const float* x, float* y) noexcept {
  constexpr dim_t kBlock = kAverageVectors * V::lanes;
  const PoolEnds ends{end_of_input(run, x), y + run.pixels * run.C};
  for (dim_t pixel = 0; pixel < run.pixels; ++pixel, x += run.x_step, y += run.C) {
    dim_t c = 0;
    for (; c + kBlock <= run.C; c += kBlock) {
      average_block<V, kAverageVectors>(run, x + c, y + c, kBlock, ends);
    }
    for (; c < run.C; c += V::lanes) average_block<V, 1>(run, x + c, y + c, run.C - c, ends);
  }
}

}  // namespace
}  // namespace pycnn
