// SPDX-License-Identifier: Apache-2.0
#include "kernels/expression/generic.h"
#include "simd/vec.h"

namespace pycnn {

constinit const ExpressionKernels expression_scalar = make_expression_kernels<Portable<4>>();

}  // namespace pycnn
