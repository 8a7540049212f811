// SPDX-License-Identifier: Apache-2.0
// The pool kernels for any vector type V; one instantiation per ISA file.
#pragma once

#include "kernels/pool/backward.h"
#include "kernels/pool/forward.h"

namespace pycnn {
namespace {

template <class V>
constexpr PoolKernels make_pool_kernels() {
  return {.max = max_pool<V>,
          .average = average_pool<V>,
          .max_gather = max_gather<V>,
          .max_unpool = max_unpool<V>,
          .average_gather = average_gather<V>,
          .average_unpool = average_unpool<V>,
          .spread = spread<V>};
}

}  // namespace
}  // namespace pycnn
