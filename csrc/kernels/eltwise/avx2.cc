// SPDX-License-Identifier: Apache-2.0
#include "simd/avx2.h"

#include "kernels/eltwise/generic.h"

namespace pycnn {

constinit const EltwiseKernels eltwise_avx2 = make_eltwise_kernels<F32x8>();

}  // namespace pycnn
