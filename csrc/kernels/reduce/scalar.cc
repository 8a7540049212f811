// SPDX-License-Identifier: Apache-2.0
#include "simd/vec.h"

#include "kernels/reduce/generic.h"

namespace pycnn {

constinit const ReduceKernels reduce_scalar = make_reduce_kernels<Portable<4>>();

}  // namespace pycnn
