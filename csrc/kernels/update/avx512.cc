// SPDX-License-Identifier: Apache-2.0
#include "simd/avx512.h"

#include "kernels/update/generic.h"

namespace pycnn {

constinit const UpdateKernels update_avx512 = make_update_kernels<F32x16>();

}  // namespace pycnn
