// SPDX-License-Identifier: Apache-2.0
// Nearest-neighbour enlargement of NHWC images by whole factors. SPMD, see ops/elementwise.h.
//   y[n, h*factor.h + r, w*factor.w + s, c] = x[n,h,w,c]
#pragma once

#include "base/arch.h"
#include "base/parallel.h"
#include "base/shape.h"

namespace pycnn {

struct EltwiseKernels;
struct ReduceKernels;

struct Upsample2d {
  dim_t rows = 0, W = 0, C = 0;  // of x, the rows of all images
  Size2d factor;
  const EltwiseKernels* kernels = nullptr;
  const ReduceKernels* sums = nullptr;
};
Upsample2d make_upsample2d(dim_t rows, dim_t W, dim_t C, Size2d factor, Isa isa);

void upsample2d_forward(const Upsample2d& op, const float* x, float* y, Worker& worker) noexcept;
// dx = the sum over each block of dy; a term is rounded 256 times at most
void upsample2d_backward(const Upsample2d& op, const float* dy, float* dx, Worker& worker) noexcept;

}  // namespace pycnn
