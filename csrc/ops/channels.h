// SPDX-License-Identifier: Apache-2.0
// Ops that move channels of rows x[rows][C] (pixels, samples). SPMD, see ops/elementwise.h.
#pragma once

#include "base/arch.h"
#include "base/parallel.h"
#include "base/types.h"

namespace pycnn {

struct EltwiseKernels;

// `count` of the channels of each row, from one tensor to another.
struct ChannelCopy {
  struct Side {
    dim_t C = 1, first = 0;  // channels of its rows; the first one copied
  };
  dim_t rows = 0, count = 1;
  Side from, to;
  const EltwiseKernels* kernels = nullptr;
};
ChannelCopy make_channel_copy(dim_t rows, dim_t count, ChannelCopy::Side from, ChannelCopy::Side to,
                              Isa isa);

// y[row][to.first + c] = x[row][from.first + c]; the other channels of y stay. One input of a
// concatenation, or a slice.
void copy_channels(const ChannelCopy& op, const float* x, float* y, Worker& worker) noexcept;
// The others become zero: the gradient of a slice.
void pad_channels(const ChannelCopy& op, const float* x, float* y, Worker& worker) noexcept;

}  // namespace pycnn
