// SPDX-License-Identifier: Apache-2.0
#include "simd/avx512.h"

#include "kernels/reduce/generic.h"

namespace pycnn {

constinit const ReduceKernels reduce_avx512 = make_reduce_kernels<F32x16>();

}  // namespace pycnn
