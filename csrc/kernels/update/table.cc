// SPDX-License-Identifier: Apache-2.0
#include "base/arch.h"
#include "kernels/update/update.h"

namespace pycnn {

const UpdateKernels& update_kernels(Isa isa) {
#ifdef PYCNN_HAVE_AVX512
  if (isa == Isa::avx512) return update_avx512;
#endif
#ifdef PYCNN_HAVE_AVX2
  if (isa == Isa::avx2) return update_avx2;
#endif
  static_cast<void>(isa);
  return update_scalar;
}

}  // namespace pycnn
