// SPDX-License-Identifier: Apache-2.0
// y[o, p, c] = x[o, indices[p], c], and its gradient. Elements are 32 bits of any type. SPMD, see
// ops/elementwise.h.
#pragma once

#include "base/arch.h"
#include "base/parallel.h"
#include "base/types.h"

namespace pycnn {

struct EltwiseKernels;

struct Gather {
  dim_t outer = 1, extent = 1, picks = 1, run = 1;  // x[outer][extent][run], y[outer][picks][run]
  const EltwiseKernels* kernels = nullptr;

  dim_t workspace_integers() const { return extent + 1 + picks; }  // of the gradient
};
Gather make_gather(dim_t outer, dim_t extent, dim_t picks, dim_t run, Isa isa);

// An index outside of 0 ... extent - 1 makes a run of `missing`.
void gather_forward(const Gather& op, const float* x, const std::int32_t* indices, float missing,
                    float* y, Worker& worker) noexcept;
// dx[o, i, c] = sum of dy[o, p, c] over the p where indices[p] is i, in their order
void gather_backward(const Gather& op, const float* dy, const std::int32_t* indices, float* dx,
                     std::int32_t* workspace, Worker& worker) noexcept;

}  // namespace pycnn
