// SPDX-License-Identifier: Apache-2.0
// The two roofs a benchmark compares with, measured on the threads that a plan would use.
#pragma once

#include <optional>

#include "base/arch.h"
#include "base/types.h"

namespace pycnn {

using Interrupted = bool (*)();  // asked often enough to answer within 200 ms

// GFLOP/s of fused multiply-adds in registers (2 FLOP each); best of several runs of `seconds`, in
// (0, 10]. Nothing where it was interrupted.
std::optional<double> probe_fma(Isa isa, int threads, double seconds, Interrupted interrupted);

// GB/s of a plain copy, counting bytes read and bytes written, of `bytes` in all, up to 2 GB.
std::optional<double> probe_copy(int threads, dim_t bytes, Interrupted interrupted);

}  // namespace pycnn
