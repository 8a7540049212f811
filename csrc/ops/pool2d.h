// SPDX-License-Identifier: Apache-2.0
// Pooling over NHWC, vectorised over channels. SPMD functions, see ops/elementwise.h.
#pragma once

#include "base/arch.h"
#include "base/parallel.h"
#include "base/shape.h"

namespace pycnn {

struct PoolKernels;
struct ReduceKernels;

struct Pool2d {
  Pool2dShape shape;
  const PoolKernels* kernels = nullptr;
  const ReduceKernels* sums = nullptr;  // for windows of many pixels
};
Pool2d make_pool2d(const Pool2dShape& shape, Isa isa);

// y[n,p,q,c] = max over the window's pixels inside the image; NaN propagates. arg (may be null)
// gets r*S + s of the first maximum (R*S <= 255 is checked in graph/).
void max_pool2d_forward(const Pool2d& op, const float* x, float* y, std::uint8_t* arg,
                        Worker& worker) noexcept;
// One row of it: image x[H][W][C] -> row p of y and of arg.
void max_pool2d_row(const Pool2d& op, const float* image, dim_t p, float* y,
                    std::uint8_t* arg) noexcept;
// dx gathers: each input pixel looks at the windows that cover it; no zeroing pass, no races.
void max_pool2d_backward(const Pool2d& op, const std::uint8_t* arg, const float* dy, float* dx,
                         Worker& worker) noexcept;
// One row of it: row h of dx from an image's arg and dy.
void max_pool2d_backward_row(const Pool2d& op, const std::uint8_t* arg, const float* dy, dim_t h,
                             float* dx) noexcept;
// Mean over the window's pixels inside the image (padding is not counted, as in Keras). A term is
// rounded 512 times at most, in the backward pass 256 and once per 256 windows over the pixel.
void avg_pool2d_forward(const Pool2d& op, const float* x, float* y, Worker& worker) noexcept;
void avg_pool2d_backward(const Pool2d& op, const float* dy, float* dx, Worker& worker) noexcept;

// y[n,c] = mean over h,w of x[n,h,w,c]
void global_avg_pool2d_forward(const Pool2d& op, const float* x, float* y, Worker& worker) noexcept;
void global_avg_pool2d_backward(const Pool2d& op, const float* dy, float* dx,
                                Worker& worker) noexcept;

}  // namespace pycnn
