// SPDX-License-Identifier: Apache-2.0
// The two roofs a benchmark compares with, measured on the threads that a plan would use.
#pragma once

#include "base/arch.h"
#include "base/types.h"

namespace pycnn {

// GFLOP/s of fused multiply-adds in registers (2 FLOP each); best of several runs of `seconds`.
double probe_fma(Isa isa, int threads, double seconds);

// GB/s of a plain copy, counting bytes read and bytes written, of `bytes` in all.
double probe_copy(int threads, dim_t bytes);

}  // namespace pycnn
