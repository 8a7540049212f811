// SPDX-License-Identifier: Apache-2.0
#include "kernels/pool/generic.h"
#include "simd/vec.h"

namespace pycnn {

constinit const PoolKernels pool_scalar = make_pool_kernels<Portable<4>>();

}  // namespace pycnn
