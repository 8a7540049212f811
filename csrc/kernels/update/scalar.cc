// SPDX-License-Identifier: Apache-2.0
#include "kernels/update/generic.h"
#include "simd/vec.h"

namespace pycnn {

constinit const UpdateKernels update_scalar = make_update_kernels<Portable<4>>();

}  // namespace pycnn
