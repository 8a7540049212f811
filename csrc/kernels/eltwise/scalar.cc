// SPDX-License-Identifier: Apache-2.0
#include "simd/vec.h"

#include "kernels/eltwise/generic.h"

namespace pycnn {

constinit const EltwiseKernels eltwise_scalar = make_eltwise_kernels<Portable<4>>();

}  // namespace pycnn
