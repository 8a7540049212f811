// SPDX-License-Identifier: Apache-2.0
#include "simd/vec.h"

#include "kernels/update/generic.h"

namespace pycnn {

constinit const UpdateKernels update_scalar = make_update_kernels<Portable<4>>();

}  // namespace pycnn
