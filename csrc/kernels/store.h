// SPDX-License-Identifier: Apache-2.0
// How a tile of sums in registers is stored, after its epilogue, over a vector type V.
#pragma once

#include "kernels/epilogue.h"

#if defined(__clang__)
#define PYCNN_UNROLL _Pragma("clang loop unroll(full)")
#else
#define PYCNN_UNROLL _Pragma("GCC unroll 32")
#endif

namespace pycnn {
namespace {

template <class V, int MR, int NV>
[[gnu::always_inline]] inline void apply_activation(V (&acc)[MR][NV], ActivationKind act) {
  if (act == ActivationKind::linear) return;
  const V zero = V::zero(), six = V::set1(6.0f);
  const bool ceiling = act == ActivationKind::relu6;
  PYCNN_UNROLL for (int i = 0; i < MR; ++i) {
    PYCNN_UNROLL for (int j = 0; j < NV; ++j) {
      acc[i][j] = max(zero, acc[i][j]);  // this order lets NaN through
      if (ceiling) acc[i][j] = min(six, acc[i][j]);
    }
  }
}

// op(acc element, the same element of a matrix lying like C)
template <class V, int MR, int NV, class Op>
[[gnu::always_inline]] inline void combine(V (&acc)[MR][NV], const float* matrix, dim_t ldc,
                                           const typename V::Mask& tail, bool full, Op op) {
  PYCNN_UNROLL for (int i = 0; i < MR; ++i) {
    PYCNN_UNROLL for (int j = 0; j < NV; ++j) {
      const float* p = matrix + i * ldc + j * V::lanes;
      acc[i][j] = op(acc[i][j], j == NV - 1 && !full ? V::load(p, tail) : V::load(p));
    }
  }
}

template <class V, int MR, int NV>
[[gnu::always_inline]] inline void finish(V (&acc)[MR][NV], const Epilogue& ep, float* c, dim_t ldc,
                                          const typename V::Mask& tail, bool full) {
  if (ep.bias != nullptr) {
    PYCNN_UNROLL for (int j = 0; j < NV; ++j) {
      const float* bias = ep.bias + j * V::lanes;
      const V shift = j == NV - 1 && !full ? V::load(bias, tail) : V::load(bias);
      PYCNN_UNROLL for (int i = 0; i < MR; ++i) acc[i][j] = acc[i][j] + shift;
    }
  }
  if (ep.residual != nullptr) {
    combine(acc, ep.residual, ldc, tail, full, [](V y, V r) { return y + r; });
  }
  apply_activation(acc, ep.act);
  if (ep.gate != nullptr) {
    const V zero = V::zero();
    const V ceiling = V::set1(ep.gate_ceiling > 0 ? ep.gate_ceiling : __builtin_inff());
    combine(acc, ep.gate, ldc, tail, full,
            [&](V y, V g) { return select(lt(g, ceiling), select(lt(zero, g), y, zero), zero); });
  }
  PYCNN_UNROLL for (int i = 0; i < MR; ++i) {
    PYCNN_UNROLL for (int j = 0; j < NV; ++j) {
      float* to = c + i * ldc + j * V::lanes;
      if (j == NV - 1 && !full) {
        acc[i][j].store(to, tail);
      } else {
        acc[i][j].store(to);
      }
    }
  }
}

}  // namespace
}  // namespace pycnn
