// SPDX-License-Identifier: Apache-2.0
// The register-tile kernels, over a vector type V. Included once per ISA file, after its simd
// header.
#pragma once

#include "kernels/store.h"

namespace pycnn {
namespace {

// Keeps b in a register: GCC would otherwise load it again for each of the MR products.
template <class V>
[[gnu::always_inline]] inline void pin(V& b) {
#if defined(__x86_64__)
  asm("" : "+v"(b.v));
#else
  (void)b;
#endif
}

template <class V, int MR, int NV>
[[gnu::always_inline]] inline void multiply_add(V (&acc)[MR][NV], const float* a, dim_t a_stride,
                                                const float* b) {
  V row[NV];
  PYCNN_UNROLL for (int j = 0; j < NV; ++j) {
    row[j] = V::load(b + j * V::lanes);
    if (MR > 1) pin(row[j]);
  }
  PYCNN_UNROLL for (int i = 0; i < MR; ++i) {
    const V x = V::set1(a[i * a_stride]);
    PYCNN_UNROLL for (int j = 0; j < NV; ++j) acc[i][j] = fma(x, row[j], acc[i][j]);
  }
}

template <class V, int MR, int NV>
[[gnu::always_inline]] inline void start(V (&acc)[MR][NV], const BrgemmArgs& p,
                                         const typename V::Mask& tail, bool full) {
  PYCNN_UNROLL for (int i = 0; i < MR; ++i) {
    PYCNN_UNROLL for (int j = 0; j < NV; ++j) acc[i][j] = V::zero();
  }
  if (p.beta == Beta::one) combine(acc, p.c, p.ldc, tail, full, [](V, V c) { return c; });
}

// A tile of C that is not in cache is fetched while its sums are made, or its stores would wait.
// (A loop: GCC would keep the unrolled addresses for the stores, in registers that the sums' loop
// needs.)
template <class V, int MR, int NV>
[[gnu::always_inline]] inline void fetch_tile(const float* c, dim_t ldc) {
#pragma GCC unroll 1
  for (int i = 0; i < MR; ++i, c += ldc) {
    PYCNN_UNROLL for (int j = 0; j < NV * V::lanes; j += kLine) __builtin_prefetch(c + j, 1, 3);
  }
}

// NV is the number of vectors that C's n columns need: only the last of them may be partial.
template <class V, int MR, int NV, int NR>
void rows_kernel(const BrgemmArgs& args) noexcept {
  const BrgemmArgs p = args;
  assert(dim_t{NV - 1} * V::lanes < p.n && p.n <= dim_t{NV} * V::lanes && p.count >= 0);
  const bool full = p.n == dim_t{NV} * V::lanes;
  const typename V::Mask tail = V::tail_mask(p.n - dim_t{NV - 1} * V::lanes);
  V acc[MR][NV];
  start(acc, p, tail, full);
  const float* b = p.b;
  const float* next = p.next == nullptr ? p.b : p.next;
  fetch_tile<V, MR, NV>(p.c, p.ldc);
  for (dim_t i = 0; i < p.count; ++i) {
    const float* a = p.a + p.a_offset[i];
    for (dim_t k = p.k; k > 0; --k) {  // unrolled by hand it spills (GCC 12) and gains nothing
      multiply_add(acc, a, p.lda, b);
      __builtin_prefetch(next, 0, 2);
      next += kLine;
      a += 1;
      b += NR;
    }
  }
  finish(acc, p.epilogue, p.c, p.ldc, tail, full);
}

template <class V, int MR, int NV, int NR>
void columns_kernel(const BrgemmArgs& args) noexcept {
  const BrgemmArgs p = args;
  assert(dim_t{NV - 1} * V::lanes < p.n && p.n <= dim_t{NV} * V::lanes && p.count >= 0);
  const bool full = p.n == dim_t{NV} * V::lanes;
  const typename V::Mask tail = V::tail_mask(p.n - dim_t{NV - 1} * V::lanes);
  V acc[MR][NV];
  start(acc, p, tail, full);
  const float* next = p.next == nullptr ? p.b : p.next;  // b is in cache: fetching it costs little
  for (dim_t i = 0; i < p.count; ++i) {
    const float* a = p.a + p.a_offset[i];
    const float* b = p.b + p.b_offset[i];
    for (dim_t k = p.k; k > 0; --k) {
      multiply_add(acc, a, 1, b);
      __builtin_prefetch(next, 0, 2);
      next += kLine;
      a += p.lda;
      b += NR;
    }
  }
  finish(acc, p.epilogue, p.c, p.ldc, tail, full);
}

// Pixels copied at a time to one panel: few streams of stores, each a few lines long.
constexpr dim_t kPackPixels = 16;

// One panel of `pixels` pixels. NV vectors cover `width` floats; the last may reach beyond, which
// the next pixel overwrites. Fetches the pixels that follow them.
template <class V, int NV>
[[gnu::always_inline]] inline void pack_panel(const PackArgs& p, const float* src, float* dst,
                                              dim_t pixels, const typename V::Mask (&mask)[NV],
                                              int whole) {
  for (dim_t i = 0; i < pixels; ++i, src += p.src_stride, dst += p.width) {
    PYCNN_UNROLL for (int j = 0; j < NV; ++j) {
      const float* from = src + j * V::lanes;
      __builtin_prefetch(from + kPackPixels * p.src_stride);
      (j < whole ? V::load(from) : V::load(from, mask[j])).store(dst + j * V::lanes);
    }
  }
}

template <class V, int NV>
[[gnu::always_inline]] inline void pack_pixels(const PackArgs& p) {
  const dim_t whole = p.channels / p.width, rest = p.channels % p.width;
  typename V::Mask tail[NV], rest_tail[NV];
  PYCNN_UNROLL for (int j = 0; j < NV; ++j) {
    tail[j] = V::tail_mask(p.width - j * V::lanes);
    rest_tail[j] = V::tail_mask(rest - j * V::lanes);
  }
  for (dim_t pixel = 0; pixel < p.pixels; pixel += kPackPixels) {
    const dim_t pixels = p.pixels - pixel < kPackPixels ? p.pixels - pixel : kPackPixels;
    const float* src = p.src + pixel * p.src_stride;
    float* dst = p.dst + pixel * p.width;
    for (dim_t panel = 0; panel < whole; ++panel, src += p.width, dst += p.panel_stride) {
      pack_panel<V, NV>(p, src, dst, pixels, tail, NV - 1);
    }
    if (rest > 0) pack_panel<V, NV>(p, src, dst, pixels, rest_tail, 0);
  }
}

template <class V>
void pack_panels(const PackArgs& args) noexcept {
  const PackArgs p = args;
  assert(1 <= p.width && p.width <= 4 * V::lanes && p.pixels >= 0 && p.channels >= 0);
  switch ((p.width + V::lanes - 1) / V::lanes) {
    case 1:
      return pack_pixels<V, 1>(p);
    case 2:
      return pack_pixels<V, 2>(p);
    case 3:
      return pack_pixels<V, 3>(p);
    default:
      return pack_pixels<V, 4>(p);
  }
}

// The kernels of one tile, by vectors used and rows: table[(vectors - 1) * MR + m - 1].
template <int... I>
struct Indices {};
template <int N, int... I>
struct MakeIndices : MakeIndices<N - 1, N - 1, I...> {};
template <int... I>
struct MakeIndices<0, I...> {
  using type = Indices<I...>;
};

template <class V, int MR, int NV, class = typename MakeIndices<MR * NV>::type>
struct Kernels;
template <class V, int MR, int NV, int... I>
struct Kernels<V, MR, NV, Indices<I...>> {
  static constexpr int nr = NV * V::lanes;
  static constexpr BrgemmFn rows[] = {rows_kernel<V, I % MR + 1, I / MR + 1, nr>...};
  static constexpr BrgemmFn columns[] = {columns_kernel<V, I % MR + 1, I / MR + 1, nr>...};
};

template <class V, int MR, int NV>
constexpr BrgemmTile make_tile(const char* name) {
  using K = Kernels<V, MR, NV>;
  return {name, MR, NV * V::lanes, V::lanes, K::rows, K::columns};
}

}  // namespace
}  // namespace pycnn
