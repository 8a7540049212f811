// SPDX-License-Identifier: Apache-2.0
#include "simd/avx512.h"

#include "kernels/eltwise/generic.h"

namespace pycnn {

constinit const EltwiseKernels eltwise_avx512 = make_eltwise_kernels<F32x16>();

}  // namespace pycnn
