// SPDX-License-Identifier: Apache-2.0
// Which kernels of each family an instruction set gets: the best that are not above it.
#include "base/arch.h"
#include "kernels/brgemm/brgemm.h"
#include "kernels/depthwise/depthwise.h"
#include "kernels/eltwise/eltwise.h"
#include "kernels/expression/expression.h"
#include "kernels/pool/pool.h"
#include "kernels/probe/probe.h"
#include "kernels/reduce/reduce.h"
#include "kernels/update/update.h"

// Members in the order of Isa; none where the compiler knows no such instructions.
#ifdef PYCNN_HAVE_AVX2
#define PYCNN_AVX2(kernels) &(kernels)
#else
#define PYCNN_AVX2(kernels) nullptr
#endif
#ifdef PYCNN_HAVE_AVX512
#define PYCNN_AVX512(kernels) &(kernels)
#else
#define PYCNN_AVX512(kernels) nullptr
#endif
#define PYCNN_FAMILY(name) {&name##_scalar, PYCNN_AVX2(name##_avx2), PYCNN_AVX512(name##_avx512)}

namespace pycnn {
namespace {

template <class Kernels>
const Kernels& best(const Kernels* const (&family)[kIsaCount], Isa isa) {
  int i = static_cast<int>(isa);
  while (family[i] == nullptr) --i;
  return *family[i];
}

}  // namespace

const BrgemmFamily& brgemm_family(Isa isa) { return best(PYCNN_FAMILY(brgemm), isa); }
const DepthwiseKernels& depthwise_kernels(Isa isa) { return best(PYCNN_FAMILY(depthwise), isa); }
const EltwiseKernels& eltwise_kernels(Isa isa) { return best(PYCNN_FAMILY(eltwise), isa); }
const ExpressionKernels& expression_kernels(Isa isa) { return best(PYCNN_FAMILY(expression), isa); }
const PoolKernels& pool_kernels(Isa isa) { return best(PYCNN_FAMILY(pool), isa); }
const ProbeKernels& probe_kernels(Isa isa) { return best(PYCNN_FAMILY(probe), isa); }
const ReduceKernels& reduce_kernels(Isa isa) { return best(PYCNN_FAMILY(reduce), isa); }
const UpdateKernels& update_kernels(Isa isa) { return best(PYCNN_FAMILY(update), isa); }

}  // namespace pycnn
