// SPDX-License-Identifier: Apache-2.0
#include "simd/avx2.h"

#include "kernels/probe/generic.h"

namespace pycnn {

const ProbeKernels probe_avx2 = {F32x8::lanes, multiply_add<F32x8>};

}  // namespace pycnn
