// SPDX-License-Identifier: Apache-2.0
// What softmax, losses and metrics run over: rows of as many outputs as there are classes.
#pragma once

#include <algorithm>
#include <cassert>

#include "base/arch.h"
#include "base/parallel.h"
#include "base/shape.h"
#include "kernels/reduce/reduce.h"

namespace pycnn {

struct RowMap {
  dim_t rows = 0, classes = 0;
  const ReduceKernels* kernels = nullptr;
};
inline RowMap make_row_map(dim_t rows, dim_t classes, Isa isa) {
  assert(rows >= 1 && classes >= 1);
  return {rows, classes, &reduce_kernels(isa)};
}

constexpr dim_t kRowFloats = 4096;  // 16 KB per stream; rows cost an exp or log per element
// body(first row, rows) over blocks of rows
template <class Body>
void for_rows(const RowMap& op, Worker& worker, Body&& body) noexcept {
  const dim_t block = std::max<dim_t>(1, kRowFloats / op.classes);
  worker.parallel_for(ceil_div(op.rows, block), [&](dim_t begin, dim_t end) noexcept {
    const dim_t row = begin * block;
    body(row, std::min(end * block, op.rows) - row);
  });
}

}  // namespace pycnn
