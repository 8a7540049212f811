// SPDX-License-Identifier: Apache-2.0
#include "kernels/probe/generic.h"
#include "simd/vec.h"

namespace pycnn {

const ProbeKernels probe_scalar = {Portable<4>::lanes, multiply_add<Portable<4>>};

}  // namespace pycnn
