// SPDX-License-Identifier: Apache-2.0
// The pool kernels for any vector type V; one instantiation per ISA file.
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

// One past the last float that the windows of a run read.
inline const float* end_of_input(const PoolRun& run, const float* x) {
  return x + (run.pixels - 1) * run.x_step + (run.rows - 1) * run.row_stride +
         (run.columns - 1) * run.column_stride + run.C;
}

enum class Arg { none, stored };

template <class V, Arg kArg>
void max_run(const PoolRun& run, const float* x, float* y, std::uint8_t* arg) {
  const float *const x_end = end_of_input(run, x), *const y_end = y + run.pixels * run.C;
  const std::uint8_t* const arg_end = arg + (kArg == Arg::stored ? run.pixels * run.C : 0);
  for (dim_t pixel = 0; pixel < run.pixels; ++pixel, x += run.x_step, y += run.C) {
    for (dim_t c = 0; c < run.C; c += V::lanes) {
      const dim_t channels = run.C - c;
      V top = load_ahead<V>(x + c, channels, x_end);
      V index = V::set1(static_cast<float>(run.first_index));
      for (dim_t r = 0; r < run.rows; ++r) {
        const float* tap = x + r * run.row_stride + c;
        dim_t at = run.first_index + r * run.index_stride;
        for (dim_t s = 0; s < run.columns; ++s, tap += run.column_stride, ++at) {
          const V v = load_ahead<V>(tap, channels, x_end);
          if constexpr (kArg == Arg::stored) {
            // Greater or NaN, and no NaN so far: the first maximum, or the first NaN.
            const auto take = ~le(v, top) & eq(top, top);
            top = select(take, v, top);
            index = select(take, V::set1(static_cast<float>(at)), index);
          } else {
            top = select(is_nan(v), v, max(v, top));  // max keeps a NaN in top
          }
        }
      }
      store_ahead(top, y + c, channels, y_end);
      if constexpr (kArg == Arg::stored) store_ahead(index, arg + c, channels, arg_end);
    }
    if constexpr (kArg == Arg::stored) arg += run.C;
  }
}

template <class V>
void max_pool(const PoolRun& run, const float* x, float* y, std::uint8_t* arg) noexcept {
  if (arg != nullptr) {
    max_run<V, Arg::stored>(run, x, y, arg);
  } else {
    max_run<V, Arg::none>(run, x, y, nullptr);
  }
}

// Several vectors of channels at a time hide the latency of the additions where windows are large.
constexpr int kAverageVectors = 8;  // half of the registers of AVX2

struct PoolEnds {
  const float *x, *y;
};

template <class V, int K>
inline void average_block(const PoolRun& run, const float* x, float* y, dim_t channels,
                          const PoolEnds& ends) {
  V sum[K];
  for (int k = 0; k < K; ++k) sum[k] = V::zero();
  for (dim_t r = 0; r < run.rows; ++r) {
    const float* tap = x + r * run.row_stride;
    for (dim_t s = 0; s < run.columns; ++s, tap += run.column_stride) {
      for (int k = 0; k < K; ++k) {
        sum[k] = sum[k] + load_ahead<V>(tap + k * V::lanes, channels - k * V::lanes, ends.x);
      }
    }
  }
  const V divisor = V::set1(run.divisor);
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

// The windows q0 <= q <= q1 that cover column w, found by stepping as w grows.
struct Cover {
  dim_t q0 = 0, q1 = -1;
  void move_to(const PoolRow& row, dim_t w) {
    const dim_t at = w + row.pad;
    while (q1 + 1 < row.Q && (q1 + 1) * row.stride <= at) ++q1;
    while (q0 * row.stride + row.S <= at) ++q0;
  }
};

// dx[w][c] (+)= sum over the windows q covering w of term(q, c, channels, column), with column =
// w + pad - q*stride, the place of w in window q, in all lanes.
template <class V, class Term>
[[gnu::always_inline]] inline void gather(const PoolRow& row, float* dx, Term&& term) {
  const float* const end = dx + row.W * row.C;
  const bool add = row.store == PoolRow::Store::add;
  const V stride = V::set1(static_cast<float>(row.stride));
  Cover cover;
  for (dim_t w = 0; w < row.W; ++w, dx += row.C) {
    cover.move_to(row, w);
    const V first = V::set1(static_cast<float>(w + row.pad - cover.q0 * row.stride));
    for (dim_t c = 0; c < row.C; c += V::lanes) {
      const dim_t channels = row.C - c;
      V sum = V::zero(), column = first;
      for (dim_t q = cover.q0; q <= cover.q1; ++q, column = column - stride) {
        sum = sum + term(q, c, channels, column);
      }
      if (!add) {
        store_ahead(sum, dx + c, channels, end);
      } else if (channels >= V::lanes) {
        (V::load(dx + c) + sum).store(dx + c);
      } else {  // the pixels behind hold sums already
        const auto mask = V::tail_mask(channels);
        (V::load(dx + c, mask) + sum).store(dx + c, mask);
      }
    }
  }
}

template <class V>
void max_gather(const PoolRow& row, const std::uint8_t* arg, const float* dy, float* dx) noexcept {
  const dim_t size = row.Q * row.C;
  const V before = V::set1(static_cast<float>(row.row_index));
  gather<V>(row, dx, [&](dim_t q, dim_t c, dim_t channels, V column)
                         __attribute__((always_inline)) {
    const dim_t at = q * row.C + c;
    const V hit = load_ahead<V>(arg + at, channels, arg + size) - before;
    return select(eq(hit, column), load_ahead<V>(dy + at, channels, dy + size), V::zero());
  });
}

template <class V>
void average_gather(const PoolRow& row, const float* dy, float* dx) noexcept {
  const float* const end = dy + row.Q * row.C;
  const V whole = V::set1(1.0f / (row.tap_rows * static_cast<float>(row.S)));
  gather<V>(row, dx, [&](dim_t q, dim_t c, dim_t channels, V) __attribute__((always_inline)) {
    const dim_t first = q * row.stride - row.pad, last = first + row.S;
    V share = whole;
    if (first < 0 || last > row.W) {
      const dim_t columns = (last < row.W ? last : row.W) - (first > 0 ? first : 0);
      share = V::set1(1.0f / (row.tap_rows * static_cast<float>(columns)));
    }
    return load_ahead<V>(dy + q * row.C + c, channels, end) * share;
  });
}

inline float* clear(float* begin, float* end) {
  for (; begin < end; ++begin) *begin = 0;
  return begin;
}

template <class V>
void max_unpool(const PoolRow& row, const std::uint8_t* arg, const float* dy, float* dx) noexcept {
  float* const begin = dx;
  const float *const end = dx + row.W * row.C, *const dy_end = dy + row.Q * row.C;
  const std::uint8_t* const arg_end = arg + row.Q * row.C;
  for (dim_t q = 0; q < row.Q; ++q, arg += row.C, dy += row.C) {
    const dim_t first = q * row.stride - row.pad;
    const dim_t stop = first + row.S < row.W ? first + row.S : row.W;
    dim_t w = first > 0 ? first : 0;
    if (w < stop) dx = clear(dx, begin + w * row.C);
    for (; w < stop; ++w, dx += row.C) {
      const V index = V::set1(static_cast<float>(row.row_index + w - first));
      for (dim_t c = 0; c < row.C; c += V::lanes) {
        const dim_t channels = row.C - c;
        const auto hit = eq(load_ahead<V>(arg + c, channels, arg_end), index);
        const V g = load_ahead<V>(dy + c, channels, dy_end);
        store_ahead(select(hit, g, V::zero()), dx + c, channels, end);
      }
    }
  }
  clear(dx, begin + row.W * row.C);
}

template <class V>
void spread(const float* x, float factor, float* y, dim_t rows, dim_t C) noexcept {
  const Columns<V, 1> columns(C, {x});
  const V scale = V::set1(factor);
  columns.for_each(rows, [&](dim_t i, dim_t c, auto... mask) __attribute__((always_inline)) {
    (columns.load(0, c, mask...) * scale).store(y + i, mask...);
  });
}

template <class V>
constexpr PoolKernels make_pool_kernels() {
  return {.max = max_pool<V>,
          .average = average_pool<V>,
          .max_gather = max_gather<V>,
          .max_unpool = max_unpool<V>,
          .average_gather = average_gather<V>,
          .spread = spread<V>};
}

}  // namespace
}  // namespace pycnn
