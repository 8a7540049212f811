// SPDX-License-Identifier: Apache-2.0
#include "base/arch.h"
#include "kernels/depthwise/depthwise.h"

namespace pycnn {

const DepthwiseKernels& depthwise_kernels(Isa isa) {
#ifdef PYCNN_HAVE_AVX512
  if (isa == Isa::avx512) return depthwise_avx512;
#endif
#ifdef PYCNN_HAVE_AVX2
  if (isa == Isa::avx2) return depthwise_avx2;
#endif
  static_cast<void>(isa);
  return depthwise_scalar;
}

}  // namespace pycnn
