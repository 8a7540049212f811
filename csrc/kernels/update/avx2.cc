// SPDX-License-Identifier: Apache-2.0
#include "simd/avx2.h"

#include "kernels/update/generic.h"

namespace pycnn {

constinit const UpdateKernels update_avx2 = make_update_kernels<F32x8>();

}  // namespace pycnn
