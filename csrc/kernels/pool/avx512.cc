// SPDX-License-Identifier: Apache-2.0
#include "simd/avx512.h"

#include "kernels/pool/generic.h"

namespace pycnn {

constinit const PoolKernels pool_avx512 = make_pool_kernels<F32x16>();

}  // namespace pycnn
