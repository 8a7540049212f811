// SPDX-License-Identifier: Apache-2.0
#include "kernels/eltwise/generic.h"
#include "simd/vec.h"

namespace pycnn {

constinit const EltwiseKernels eltwise_scalar = make_eltwise_kernels<Portable<4>>();

}  // namespace pycnn
