// SPDX-License-Identifier: Apache-2.0
#include "base/arch.h"
#include "kernels/eltwise/eltwise.h"

namespace pycnn {

const EltwiseKernels& eltwise_kernels(Isa isa) {
#ifdef PYCNN_HAVE_AVX512
  if (isa == Isa::avx512) return eltwise_avx512;
#endif
#ifdef PYCNN_HAVE_AVX2
  if (isa == Isa::avx2) return eltwise_avx2;
#endif
  static_cast<void>(isa);
  return eltwise_scalar;
}

}  // namespace pycnn
