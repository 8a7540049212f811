// SPDX-License-Identifier: Apache-2.0
#include "base/arch.h"
#include "kernels/pool/pool.h"

namespace pycnn {

const PoolKernels& pool_kernels(Isa isa) {
#ifdef PYCNN_HAVE_AVX512
  if (isa == Isa::avx512) return pool_avx512;
#endif
#ifdef PYCNN_HAVE_AVX2
  if (isa == Isa::avx2) return pool_avx2;
#endif
  static_cast<void>(isa);
  return pool_scalar;
}

}  // namespace pycnn
