// SPDX-License-Identifier: Apache-2.0
// Few channels leave most lanes of a vector idle. Seen as one pixel of m * K channels, m
// neighbouring output columns fill them: the memory of y is the same, the kernel's taps grow from S
// to S + (m - 1) * stride (zeros where a column does not reach), its column step to m * stride.
//   wide[r][t][c][j * K + k] = w[r][t - j * stride][c][k]
// A zero weight meets a finite input without a trace; of an infinite one it would make NaN, so
// tasks whose input is not finite compute the columns of a pixel apart (ops/conv_pass.cc).
#pragma once

#include "ops/weights.h"

namespace pycnn {

// How many of a row's outputs, of n channels and `taps` taps each, make one pixel: the divisor of
// `columns` with the least estimated time; 1 where that gains little, or where the layer's `pixels`
// are too few to pay for a new kernel in every run.
dim_t columns_to_widen(dim_t pixels, dim_t columns, dim_t n, dim_t taps, dim_t stride, Isa isa);

struct Widening {
  dim_t columns = 1;  // m; 1: nothing is widened, the rest is unset
  dim_t stride = 1;
  PackedWeights narrow, wide;
};
Conv2dShape widened(const Conv2dShape& shape, dim_t columns);
// m for each pass; of groups and dilated columns it is 1.
Widening widen_forward(const Conv2dShape& shape, Isa isa);
Widening widen_backward_weights(const Conv2dShape& shape, Isa isa);

void widen_weights(const Widening& op, const float* w, float* wide) noexcept;
// dw[r][s][c][k] = sum over j of wide[r][s + j * stride][c][j * K + k]
void narrow_gradient(const Widening& op, const float* wide, float* dw) noexcept;

}  // namespace pycnn
