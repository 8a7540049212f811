// SPDX-License-Identifier: Apache-2.0
#include "kernels/depthwise/generic.h"
#include "simd/vec.h"

namespace pycnn {

constinit const DepthwiseKernels depthwise_scalar = make_depthwise_kernels<Portable<4>>();

}  // namespace pycnn
