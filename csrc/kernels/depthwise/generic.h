// SPDX-License-Identifier: Apache-2.0
// The depthwise kernels for any vector type V; one instantiation per ISA file. Neighbouring pixels
// share input: 8 pixels of a 3x3 kernel at stride 1 take 72 multiply-adds and 39 loads, so 4.5
// cycles a vector on a core that starts two of each a cycle. Memory brings x and takes y in more.
#pragma once

#include "kernels/depthwise/depthwise.h"
#include "kernels/store.h"
#include "simd/loops.h"

namespace pycnn {
namespace {

constexpr int kPixels = 8;   // sums in registers, each its own chain: hides the latency of the adds
constexpr int kTapSide = 3;  // of the largest square of weight gradients in registers

// S taps of a row for B pixels that lie kStep taps apart (any distance where S is 1). Each input is
// loaded once.
template <class V, int B, int S, int kStep, class... Mask>
[[gnu::always_inline]] inline void multiply_row(V (&sum)[B][1], const float* x, dim_t step,
                                                const float* w, dim_t w_step, Mask... mask) {
  V weight[S];
  PYCNN_UNROLL for (int s = 0; s < S; ++s) weight[s] = V::load(w + s * w_step, mask...);
  PYCNN_UNROLL for (int j = 0; j < (B - 1) * kStep + S; ++j) {
    if (S < kStep && j % kStep >= S) continue;  // between pixels
    const V value = V::load(x + j * step, mask...);
    PYCNN_UNROLL for (int s = 0; s < S; ++s) {
      if (j < s || (j - s) % kStep != 0 || (j - s) / kStep >= B) continue;
      V& to = sum[(j - s) / kStep][0];
      to = fma(value, weight[s], to);
    }
  }
}

// What the pixel below x's will need that x's did not; hardware does not foresee the next row.
template <int kStep>
[[gnu::always_inline]] inline void prefetch_inputs(const DepthwiseRun& run, const float* x) {
  const float* below = x + run.x_ahead;
  for (dim_t r = run.new_rows; r > 0; --r, below += run.new_row_stride) {
    __builtin_prefetch(below);
    if (kStep == 2) __builtin_prefetch(below + run.column_stride);
  }
}

// kStep: taps between neighbouring pixels, 1 or 2; 0: any number, or a fraction.
template <class V, int B, int kStep>
void correlate_pixels(const DepthwiseRun& args, const float* x, const float* w,
                      const Epilogue& epilogue, float* y) {
  const DepthwiseRun run = args;
  for_vectors<V>(run.C, [&](dim_t c, auto... mask) __attribute__((always_inline)) {
    V sum[B][1];
    PYCNN_UNROLL for (int i = 0; i < B; ++i) sum[i][0] = V::zero();
    const float *x_row = x + c, *w_row = w + c;
    PYCNN_UNROLL for (int i = 0; i < B; ++i) {
      prefetch_inputs<kStep>(run, x_row + i * run.x_step);
      __builtin_prefetch(y + c + run.y_ahead + i * run.y_step, 1);
    }
    for (dim_t r = run.rows; r > 0; --r, x_row += run.row_stride, w_row += run.w_row_stride) {
      const float *tap = x_row, *weights = w_row;
      dim_t s = run.columns;
      const auto multiply = [&]<int S>() __attribute__((always_inline)) {
        const dim_t step = S == 1 ? run.x_step : run.column_stride;
        multiply_row<V, B, S, S == 1 ? 1 : kStep>(sum, tap, step, weights, run.w_column_stride,
                                                  mask...);
        tap += S * run.column_stride;
        weights += S * run.w_column_stride;
        s -= S;
      };
      if constexpr (kStep > 0) {
        while (s >= 3) multiply.template operator()<3>();
        if (s == 2) multiply.template operator()<2>();
      }
      while (s > 0) multiply.template operator()<1>();
    }
    Epilogue here = epilogue;
    if (here.bias != nullptr) here.bias += c;
    if (here.residual != nullptr) here.residual += c;
    if (here.gate != nullptr) here.gate += c;
    finish(sum, here, y + c, run.y_step, V::tail_mask(run.C - c), sizeof...(mask) == 0);
  });
}

using CorrelateFn = void (*)(const DepthwiseRun&, const float*, const float*, const Epilogue&,
                             float*);
template <class V, int kStep>
constexpr CorrelateFn kCorrelate[kPixels] = {
    correlate_pixels<V, 1, kStep>, correlate_pixels<V, 2, kStep>, correlate_pixels<V, 3, kStep>,
    correlate_pixels<V, 4, kStep>, correlate_pixels<V, 5, kStep>, correlate_pixels<V, 6, kStep>,
    correlate_pixels<V, 7, kStep>, correlate_pixels<V, 8, kStep>};

template <class V>
const CorrelateFn* correlate_kernels(const DepthwiseRun& run) {
  if (run.x_step == run.column_stride || run.pixels == 1) return kCorrelate<V, 1>;
  return run.x_step == 2 * run.column_stride ? kCorrelate<V, 2> : kCorrelate<V, 0>;
}

// The pixels in blocks of nearly equal size.
template <class V>
void correlate(const DepthwiseRun& run, const float* x, const float* w, const Epilogue& epilogue,
               float* y) noexcept {
  assert(run.pixels >= 1 && run.C >= 1 && run.rows >= 0 && run.columns >= 0);
  const CorrelateFn* kernels = correlate_kernels<V>(run);
  Epilogue here = epilogue;
  const dim_t blocks = (run.pixels + kPixels - 1) / kPixels;
  for (dim_t block = 0, done = 0; block < blocks; ++block) {
    const dim_t count = (run.pixels - done) / (blocks - block);
    kernels[count - 1](run, x, w, here, y);
    done += count;
    x += count * run.x_step;
    y += count * run.y_step;
    if (here.residual != nullptr) here.residual += count * run.y_step;
    if (here.gate != nullptr) here.gate += count * run.y_step;
  }
}

// R x S taps of the run.
template <class V, int R, int S>
void accumulate_taps(const DepthwiseRun& run, const float* x, const float* dy, float* dw) {
  for_vectors<V>(run.C, [&](dim_t c, auto... mask) __attribute__((always_inline)) {
    V sum[R][S];
    PYCNN_UNROLL for (int r = 0; r < R; ++r) {
      PYCNN_UNROLL for (int s = 0; s < S; ++s) {
        sum[r][s] = V::load(dw + r * run.w_row_stride + s * run.w_column_stride + c, mask...);
      }
    }
    const float *from = x + c, *gradient = dy + c;
    for (dim_t i = run.pixels; i > 0; --i, from += run.x_step, gradient += run.y_step) {
      const V g = V::load(gradient, mask...);
      __builtin_prefetch(from + run.x_ahead);
      __builtin_prefetch(gradient + run.y_ahead);
      PYCNN_UNROLL for (int r = 0; r < R; ++r) {
        PYCNN_UNROLL for (int s = 0; s < S; ++s) {
          const float* tap = from + r * run.row_stride + s * run.column_stride;
          sum[r][s] = fma(V::load(tap, mask...), g, sum[r][s]);
        }
      }
    }
    PYCNN_UNROLL for (int r = 0; r < R; ++r) {
      PYCNN_UNROLL for (int s = 0; s < S; ++s) {
        sum[r][s].store(dw + r * run.w_row_stride + s * run.w_column_stride + c, mask...);
      }
    }
  });
}

template <class V>
using AccumulateFn = void (*)(const DepthwiseRun&, const float*, const float*, float*);
template <class V>
constexpr AccumulateFn<V> kAccumulate[kTapSide][kTapSide] = {
    {accumulate_taps<V, 1, 1>, accumulate_taps<V, 1, 2>, accumulate_taps<V, 1, 3>},
    {accumulate_taps<V, 2, 1>, accumulate_taps<V, 2, 2>, accumulate_taps<V, 2, 3>},
    {accumulate_taps<V, 3, 1>, accumulate_taps<V, 3, 2>, accumulate_taps<V, 3, 3>}};

// The taps in rectangles whose sums fit in registers; dy is read again for each.
template <class V>
void accumulate(const DepthwiseRun& run, const float* x, const float* dy, float* dw) noexcept {
  assert(run.pixels >= 1 && run.C >= 1 && run.rows >= 0 && run.columns >= 0);
  const auto side = [](dim_t left) { return left < kTapSide ? left : dim_t{kTapSide}; };
  for (dim_t r = 0; r < run.rows; r += kTapSide) {
    for (dim_t s = 0; s < run.columns; s += kTapSide) {
      kAccumulate<V>[side(run.rows - r) - 1][side(run.columns - s) - 1](
          run, x + r* run.row_stride + s* run.column_stride, dy,
          dw + r* run.w_row_stride + s* run.w_column_stride);
    }
  }
}

template <class V>
constexpr DepthwiseKernels make_depthwise_kernels() {
  return {.correlate = correlate<V>, .accumulate = accumulate<V>};
}

}  // namespace
}  // namespace pycnn
