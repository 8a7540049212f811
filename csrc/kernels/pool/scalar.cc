// SPDX-License-Identifier: Apache-2.0
#include "simd/vec.h"

#include "kernels/pool/generic.h"

namespace pycnn {

constinit const PoolKernels pool_scalar = make_pool_kernels<Portable<4>>();

}  // namespace pycnn
