// SPDX-License-Identifier: Apache-2.0
#include "kernels/probe/probe.h"

namespace pycnn {

const ProbeKernels& probe_kernels(Isa isa) {
  switch (isa) {
#if defined(PYCNN_HAVE_AVX512)
    case Isa::avx512:
      return kProbeAvx512;
#endif
#if defined(PYCNN_HAVE_AVX2)
    case Isa::avx2:
      return kProbeAvx2;
#endif
    default:
      return kProbeScalar;
  }
}

}  // namespace pycnn
