// SPDX-License-Identifier: Apache-2.0
#include "kernels/reduce/generic.h"
#include "simd/vec.h"

namespace pycnn {

constinit const ReduceKernels reduce_scalar = make_reduce_kernels<Portable<4>>();

}  // namespace pycnn
