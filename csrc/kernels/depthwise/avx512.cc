// SPDX-License-Identifier: Apache-2.0
#include "simd/avx512.h"

#include "kernels/depthwise/generic.h"

namespace pycnn {

constinit const DepthwiseKernels depthwise_avx512 = make_depthwise_kernels<F32x16>();

}  // namespace pycnn
