// SPDX-License-Identifier: Apache-2.0
#include "simd/avx2.h"

#include "kernels/pool/generic.h"

namespace pycnn {

constinit const PoolKernels pool_avx2 = make_pool_kernels<F32x8>();

}  // namespace pycnn
