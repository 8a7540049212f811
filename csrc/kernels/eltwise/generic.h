// SPDX-License-Identifier: Apache-2.0
// The eltwise kernels for any vector type V; one instantiation per ISA file.
#pragma once

#include "kernels/eltwise/activations.h"
#include "kernels/eltwise/eltwise.h"
#include "kernels/philox.h"
#include "simd/loops.h"

namespace pycnn {
namespace {

constexpr int kLine = 16;  // floats of a cache line

template <class V>
void add(const float* a, const float* b, float* y, dim_t count) noexcept {
  map<V>([](V u, V v) { return u + v; }, count, y, a, b);
}

template <class V>
void copy_rows(const float* x, dim_t x_pitch, float* y, dim_t y_pitch, dim_t rows,
               dim_t count) noexcept {
  assert(rows <= 1 || y_pitch >= count);  // a pitch of x may be 0
  for (dim_t row = 0; row < rows; ++row, x += x_pitch, y += y_pitch) {
    map<V>([](V v) { return v; }, count, y, x);
  }
}

template <class V>
void add_rows(const float* x, dim_t x_pitch, float* y, dim_t y_pitch, dim_t rows,
              dim_t count) noexcept {
  assert(rows <= 1 || y_pitch >= count);  // a pitch of x may be 0
  for (dim_t row = 0; row < rows; ++row, x += x_pitch, y += y_pitch) add<V>(y, x, y, count);
}

// A square of whole cache lines, by way of one that lies together: each line of x is read, and each
// of y written, at once, however many of them share a set of the cache.
template <class V>
void transpose_lines(const float* x, dim_t x_pitch, float* y, dim_t y_pitch,
                     bool streams) noexcept {
  static_assert(kLine % V::lanes == 0);
  alignas(64) std::uint32_t square[kLine][kLine], stream[4 * V::lanes];
  for (int i = 0; i < kLine; i += 4, x += 4 * x_pitch) {
    for (int j = 0; j < kLine; j += V::lanes) {
      typename V::Bits a = bits(V::load(x + j)), b = bits(V::load(x + x_pitch + j));
      typename V::Bits c = bits(V::load(x + 2 * x_pitch + j)),
                       d = bits(V::load(x + 3 * x_pitch + j));
      interleave(a, b, c, d);
      a.store(stream), b.store(stream + V::lanes);
      c.store(stream + 2 * V::lanes), d.store(stream + 3 * V::lanes);
      for (int k = 0; k < V::lanes; ++k) {
        __builtin_memcpy(&square[j + k][i], stream + 4 * k, 4 * sizeof(float));
      }
    }
  }
  for (int j = 0; j < kLine; ++j, y += y_pitch) {
    for (int i = 0; i < kLine; i += V::lanes) {
      const V line = V::from_bits(V::Bits::load(&square[j][i]));
      streams ? line.stream(y + i) : line.store(y + i);
    }
  }
}

template <class V>
void transpose(const float* x, dim_t x_pitch, float* y, dim_t y_pitch, dim_t rows, dim_t columns,
               bool streams) noexcept {
  streams &= reinterpret_cast<std::uintptr_t>(y) % (kLine * sizeof(float)) == 0;
  streams &= y_pitch % kLine == 0;
  for (dim_t i0 = 0; i0 < rows; i0 += kLine) {
    for (dim_t j0 = 0; j0 < columns; j0 += kLine) {
      const float* from = x + i0 * x_pitch + j0;
      float* to = y + j0 * y_pitch + i0;
      const dim_t height = rows - i0, width = columns - j0;
      if (height >= kLine && width >= kLine) {
        transpose_lines<V>(from, x_pitch, to, y_pitch, streams);
        continue;
      }
      for (dim_t j = 0; j < width && j < kLine; ++j) {
        for (dim_t i = 0; i < height && i < kLine; ++i) to[j * y_pitch + i] = from[i * x_pitch + j];
      }
    }
  }
  if (streams) V::order_streams();
}

template <class V, int kCount, class... Mask>
[[gnu::always_inline]] inline void weighted_vectors(const WeightedTerm* terms, dim_t term_count,
                                                    const float* x, float* y, bool adds,
                                                    Mask... mask) {
  V sum[kCount];
#pragma GCC unroll 4
  for (int j = 0; j < kCount; ++j) sum[j] = V::zero();
  for (dim_t k = 0; k < term_count; ++k) {
    const V weight = V::set1(terms[k].weight);
    const float* from = x + terms[k].at;
#pragma GCC unroll 4
    for (int j = 0; j < kCount; ++j) {
      sum[j] = fma(weight, V::load(from + j * V::lanes, mask...), sum[j]);
    }
  }
#pragma GCC unroll 4
  for (int j = 0; j < kCount; ++j) {
    if (adds) sum[j] = V::load(y + j * V::lanes, mask...) + sum[j];
    sum[j].store(y + j * V::lanes, mask...);
  }
}

template <class V>
void weighted_sum(const WeightedTerm* terms, dim_t term_count, const float* x, float* y,
                  dim_t count, bool adds) noexcept {
  constexpr int kTogether = 4;  // chains of sums, so that none waits for the one before
  const dim_t together = count / (kTogether * V::lanes) * (kTogether * V::lanes);
  for (dim_t i = 0; i < together; i += kTogether * V::lanes) {
    weighted_vectors<V, kTogether>(terms, term_count, x + i, y + i, adds);
  }
  for_vectors<V>(count - together, [&](dim_t i, auto... mask) __attribute__((always_inline)) {
    i += together;
    weighted_vectors<V, 1>(terms, term_count, x + i, y + i, adds, mask...);
  });
}

template <class V, template <class> class F>
void activation(const float* x, float* y, dim_t count, float alpha) noexcept {
  map<V>(F<V>(alpha), count, y, x);
}

template <class V, template <class> class F>
void activation_gradient(const float* y, const float* dy, float* dx, dim_t count,
                         float alpha) noexcept {
  const F<V> f(alpha);
  map<V>([f](V u, V v) { return f.gradient(u, v); }, count, dx, y, dy);
}

template <class V>
void dropout(const DropoutKey& key, dim_t first, const float* x, float* y, dim_t count) noexcept {
  assert(first >= 0 && first % kDropoutAlign == 0 && same_or_apart(y, x, count));
  static_assert(kDropoutAlign % (4 * V::lanes) == 0);
  const V rate = V::set1(key.rate), keep = V::set1(1.0f - key.rate);
  for (dim_t i = 0; i < count; i += 4 * V::lanes) {
    typename V::Bits word[4];
    philox<V>(key.seed, key.stream, key.step, static_cast<std::uint64_t>(first + i) / 4, word);
    const auto drop = [&](int j, auto... mask) __attribute__((always_inline)) {
      const dim_t at = i + j * V::lanes;
      const V u = to_uniform<V>(word[j]);
      const V kept = V::load(x + at, mask...) / keep;
      select(le(rate, u), kept, V::zero()).store(y + at, mask...);
    };
    if (i + 4 * V::lanes <= count) {
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) drop(j);
    } else {
      for (int j = 0; j < 4; ++j) drop(j, V::tail_mask(count - i - j * V::lanes));
    }
  }
}

template <class V, template <class> class... Functions>
constexpr EltwiseKernels make_kernels(FunctionList<Functions...>) {
  static_assert(sizeof...(Functions) == kActivationKinds);
  return {
      .add = add<V>,
      .copy_rows = copy_rows<V>,
      .add_rows = add_rows<V>,
      .transpose = transpose<V>,
      .weighted_sum = weighted_sum<V>,
      .activation = {activation<V, Functions>...},
      .activation_gradient = {activation_gradient<V, Functions>...},
      .dropout = dropout<V>,
  };
}
template <class V>
constexpr EltwiseKernels make_eltwise_kernels() {
  return make_kernels<V>(Activations());
}

}  // namespace
}  // namespace pycnn
