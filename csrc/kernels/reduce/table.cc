// SPDX-License-Identifier: Apache-2.0
#include "base/arch.h"
#include "kernels/reduce/reduce.h"

namespace pycnn {

const ReduceKernels& reduce_kernels(Isa isa) {
#ifdef PYCNN_HAVE_AVX512
  if (isa == Isa::avx512) return reduce_avx512;
#endif
#ifdef PYCNN_HAVE_AVX2
  if (isa == Isa::avx2) return reduce_avx2;
#endif
  static_cast<void>(isa);
  return reduce_scalar;
}

}  // namespace pycnn
