// SPDX-License-Identifier: Apache-2.0
// Measures the roof: the rate of fused multiply-adds with nothing to load.
#pragma once

#include "base/arch.h"
#include "base/types.h"

namespace pycnn {

struct ProbeKernels {
  int lanes;
  // kProbeChains independent chains of `iterations` multiply-adds; the sum keeps them alive.
  float (*multiply_add)(dim_t iterations) noexcept;
};
constexpr int kProbeChains =
    12;  // >= 2 FMAs a cycle x 4 or 5 cycles of latency, within 16 registers

extern const ProbeKernels probe_scalar;
extern const ProbeKernels probe_avx2;
extern const ProbeKernels probe_avx512;
const ProbeKernels& probe_kernels(Isa isa);

}  // namespace pycnn
