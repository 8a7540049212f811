// SPDX-License-Identifier: Apache-2.0
#include "simd/avx2.h"

#include "kernels/reduce/generic.h"

namespace pycnn {

constinit const ReduceKernels reduce_avx2 = make_reduce_kernels<F32x8>();

}  // namespace pycnn
