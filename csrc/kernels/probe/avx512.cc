// SPDX-License-Identifier: Apache-2.0
#include "simd/avx512.h"

#include "kernels/probe/generic.h"

namespace pycnn {

const ProbeKernels probe_avx512 = {F32x16::lanes, multiply_add<F32x16>};

}  // namespace pycnn
