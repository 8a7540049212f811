// SPDX-License-Identifier: Apache-2.0
#include "simd/avx2.h"

#include "kernels/depthwise/generic.h"

namespace pycnn {

constinit const DepthwiseKernels depthwise_avx2 = make_depthwise_kernels<F32x8>();

}  // namespace pycnn
