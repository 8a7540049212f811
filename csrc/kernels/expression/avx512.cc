// SPDX-License-Identifier: Apache-2.0
#include "simd/avx512.h"

#include "kernels/expression/generic.h"

namespace pycnn {

constinit const ExpressionKernels expression_avx512 = make_expression_kernels<F32x16>();

}  // namespace pycnn
