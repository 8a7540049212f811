// SPDX-License-Identifier: Apache-2.0
#include "simd/avx2.h"

#include "kernels/expression/generic.h"

namespace pycnn {

constinit const ExpressionKernels expression_avx2 = make_expression_kernels<F32x8>();

}  // namespace pycnn
