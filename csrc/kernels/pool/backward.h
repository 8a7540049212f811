// SPDX-License-Identifier: Apache-2.0
// Gradients of pools, one row of the input at a time.
#pragma once

#include "kernels/pool/pixels.h"

namespace pycnn {
namespace {

// Rows of windows that cover the row: from the first on they start at or above it.
inline bool is_valid(const PoolRow& row) {
  return row.H >= 1 && row.W >= 1 && row.Q >= 1 && row.C >= 1 && row.S >= 1 && row.pad >= 0 &&
         row.stride_h >= 1 && row.stride_w >= 1 && 0 <= row.h && row.h < row.H &&
         (row.windows == 0 || (row.r < row.R && row.r >= (row.windows - 1) * row.stride_h));
}

// The windows q0 <= q <= q1 that cover column w, found by stepping as w grows.
struct Cover {
  dim_t q0 = 0, q1 = -1;
  void move_to(const PoolRow& row, dim_t w) {
    const dim_t at = w + row.pad;
    while (q1 + 1 < row.Q && (q1 + 1) * row.stride_w <= at) ++q1;
    while (q0 * row.stride_w + row.S <= at) ++q0;
  }
};

// Gathering, one row of dx: dx[w][c] = sum over the windows (p, q) covering w of
// term(at, channels, value(p, q, w)), where at is the offset of channel c of the window.

constexpr dim_t kFewWindows = 4;    // over a pixel: the most where S is at most twice the stride
constexpr dim_t kSumWindows = 256;  // neighbours added before they meet the others
constexpr int kGatherVectors = 4;   // of channels, where windows are many

// The windows over one pixel: where their channels start, and what the op needs to know of them.
template <class V>
struct Windows {
  dim_t at[kFewWindows];
  V value[kFewWindows];
};

template <class V, int K, class Term>
[[gnu::always_inline]] inline void add_windows(dim_t C, const Windows<V>& windows, float* dx,
                                               const float* end, const Term& term) {
  for (dim_t c = 0; c < C; c += V::lanes) {
    V sum = V::zero();
#pragma GCC unroll 4
    for (int k = 0; k < K; ++k) sum = sum + term(windows.at[k] + c, C - c, windows.value[k]);
    store_ahead(sum, dx + c, C - c, end);
  }
}

// At most kFewWindows over each pixel.
template <class V, class Value, class Term>
[[gnu::noinline]] void gather_few(const PoolRow row, float* dx, const Value value,
                                  const Term term) {
  const float* const end = dx + row.W * row.C;
  Cover cover;
  for (dim_t w = 0; w < row.W; ++w, dx += row.C) {
    cover.move_to(row, w);
    const dim_t columns = cover.q1 - cover.q0 + 1, count = row.windows * columns;
    assert(count <= kFewWindows);
    Windows<V> windows;
    for (dim_t k = 0; k < count; ++k) {
      const dim_t p = k < columns ? 0 : k / columns, q = cover.q0 + k - p * columns;
      windows.at[k] = (p * row.Q + q) * row.C;
      windows.value[k] = value(p, q, w);
    }
    switch (count) {
      case 1:
        add_windows<V, 1>(row.C, windows, dx, end, term);
        break;
      case 2:
        add_windows<V, 2>(row.C, windows, dx, end, term);
        break;
      case 3:
        add_windows<V, 3>(row.C, windows, dx, end, term);
        break;
      case 4:
        add_windows<V, 4>(row.C, windows, dx, end, term);
        break;
      default:
        add_windows<V, 0>(row.C, windows, dx, end, term);
    }
  }
}

// K vectors of channels from c on of column w.
template <class V, int K, class Value, class Term>
[[gnu::always_inline]] inline void gather_block(const PoolRow& row, const Cover& cover, dim_t w,
                                                dim_t c, float* dx, const float* end,
                                                const Value& value, const Term& term) {
  V total[K];
#pragma GCC unroll 4
  for (int k = 0; k < K; ++k) total[k] = V::zero();
  for (dim_t p = 0; p < row.windows; ++p) {
    for (dim_t q = cover.q0; q <= cover.q1;) {
      V sum[K];
#pragma GCC unroll 4
      for (int k = 0; k < K; ++k) sum[k] = V::zero();
      const dim_t stop = q + kSumWindows <= cover.q1 ? q + kSumWindows : cover.q1 + 1;
      for (; q < stop; ++q) {
        const V here = value(p, q, w);
        const dim_t at = (p * row.Q + q) * row.C + c;
#pragma GCC unroll 4
        for (int k = 0; k < K; ++k) {
          sum[k] = sum[k] + term(at + k * V::lanes, row.C - c - k * V::lanes, here);
        }
      }
#pragma GCC unroll 4
      for (int k = 0; k < K; ++k) total[k] = total[k] + sum[k];
    }
  }
#pragma GCC unroll 4
  for (int k = 0; k < K; ++k) {
    store_ahead(total[k], dx + c + k * V::lanes, row.C - c - k * V::lanes, end);
  }
}

template <class V, class Value, class Term>
[[gnu::noinline]] void gather_many(const PoolRow row, float* dx, const Value value,
                                   const Term term) {
  constexpr dim_t kBlock = kGatherVectors * V::lanes;
  const float* const end = dx + row.W * row.C;
  Cover cover;
  for (dim_t w = 0; w < row.W; ++w, dx += row.C) {
    cover.move_to(row, w);
    dim_t c = 0;
    for (; c + kBlock <= row.C; c += kBlock) {
      gather_block<V, kGatherVectors>(row, cover, w, c, dx, end, value, term);
    }
    for (; c < row.C; c += V::lanes) gather_block<V, 1>(row, cover, w, c, dx, end, value, term);
  }
}

template <class V, class Value, class Term>
void gather(const PoolRow& row, float* dx, const Value& value, const Term& term) {
  assert(is_valid(row));
  const dim_t columns = (row.S + row.stride_w - 1) / row.stride_w;
  if (row.windows * columns <= kFewWindows) return gather_few<V>(row, dx, value, term);
  gather_many<V>(row, dx, value, term);
}

template <class V>
void max_gather(const PoolRow& row, const std::uint8_t* arg, const float* dy, float* dx) noexcept {
  const dim_t size = row.windows * row.Q * row.C;
  const auto index = [=](dim_t p, dim_t q, dim_t w) __attribute__((always_inline)) {
    const dim_t r = row.r - p * row.stride_h, s = w + row.pad - q * row.stride_w;
    return V::set1(static_cast<float>(r * row.S + s));
  };
  gather<V>(row, dx, index, [=](dim_t at, dim_t channels, V here) __attribute__((always_inline)) {
    const V hit = load_ahead<V>(arg + at, channels, arg + size);
    return select(eq(hit, here), load_ahead<V>(dy + at, channels, dy + size), V::zero());
  });
}

// How many of `taps` pixels from `first` on are inside [0, size).
inline dim_t count_inside(dim_t first, dim_t taps, dim_t size) {
  const dim_t last = first + taps;
  return (last < size ? last : size) - (first > 0 ? first : 0);
}

// 1 / (pixels inside the image of window q in window row p)
template <class V>
inline V share_of(const PoolRow& row, dim_t p, dim_t q) {
  const dim_t rows = count_inside(row.h - row.r + p * row.stride_h, row.R, row.H);
  const dim_t columns = count_inside(q * row.stride_w - row.pad, row.S, row.W);
  return V::set1(1.0f / static_cast<float>(rows * columns));
}

template <class V>
void average_gather(const PoolRow& row, const float* dy, float* dx) noexcept {
  const float* const end = dy + row.windows * row.Q * row.C;
  const auto share = [=](dim_t p, dim_t q, dim_t)
                         __attribute__((always_inline)) { return share_of<V>(row, p, q); };
  gather<V>(row, dx, share, [=](dim_t at, dim_t channels, V part) __attribute__((always_inline)) {
    return load_ahead<V>(dy + at, channels, end) * part;
  });
}

inline float* clear(float* begin, float* end) {
  for (; begin < end; ++begin) *begin = 0;
  return begin;
}

// dx[w][c] = term(c, channels) of pixel(q, w), for the one window q over column w; 0 where none is.
template <class V, class Pixel>
[[gnu::always_inline]] inline void unpool(const PoolRow& row, float* dx, Pixel&& pixel) {
  assert(is_valid(row) && row.windows == 1 && row.stride_w >= row.S);
  float* const begin = dx;
  const float* const end = dx + row.W * row.C;
  for (dim_t q = 0; q < row.Q; ++q) {
    const dim_t first = q * row.stride_w - row.pad;
    const dim_t stop = first + row.S < row.W ? first + row.S : row.W;
    dim_t w = first > 0 ? first : 0;
    if (w < stop) dx = clear(dx, begin + w * row.C);
    for (; w < stop; ++w, dx += row.C) {
      const auto term = pixel(q, w);
      for (dim_t c = 0; c < row.C; c += V::lanes) {
        store_ahead(term(c, row.C - c), dx + c, row.C - c, end);
      }
    }
  }
  clear(dx, begin + row.W * row.C);
}

template <class V>
void max_unpool(const PoolRow& shape, const std::uint8_t* arg, const float* dy,
                float* dx) noexcept {
  const PoolRow row = shape;
  const dim_t size = row.Q * row.C;
  unpool<V>(row, dx, [&](dim_t q, dim_t w) __attribute__((always_inline)) {
    const V index = V::set1(static_cast<float>(row.r * row.S + w + row.pad - q * row.stride_w));
    return [=](dim_t c, dim_t channels) __attribute__((always_inline)) {
      const dim_t at = q * row.C + c;
      const auto hit = eq(load_ahead<V>(arg + at, channels, arg + size), index);
      return select(hit, load_ahead<V>(dy + at, channels, dy + size), V::zero());
    };
  });
}

template <class V>
void average_unpool(const PoolRow& shape, const float* dy, float* dx) noexcept {
  const PoolRow row = shape;
  const float* const dy_end = dy + row.Q * row.C;
  unpool<V>(row, dx, [&](dim_t q, dim_t) __attribute__((always_inline)) {
    const V share = share_of<V>(row, 0, q);
    return [=](dim_t c, dim_t channels) __attribute__((always_inline)) {
      return load_ahead<V>(dy + q * row.C + c, channels, dy_end) * share;
    };
  });
}

template <class V>
void spread(const float* x, float factor, float* y, dim_t rows, dim_t C) noexcept {
  const Columns<V, 1> columns(C, {x});
  const V scale = V::set1(factor);
  columns.for_each(rows, [&](dim_t i, dim_t c, auto... mask) __attribute__((always_inline)) {
    (columns.load(0, c, mask...) * scale).store(y + i, mask...);
  });
}

}  // namespace
}  // namespace pycnn
