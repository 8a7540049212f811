// SPDX-License-Identifier: Apache-2.0
#include "simd/vec.h"

#include "kernels/probe/generic.h"

namespace pycnn {

const ProbeKernels kProbeScalar = {Portable<4>::lanes, multiply_add<Portable<4>>};

}  // namespace pycnn
