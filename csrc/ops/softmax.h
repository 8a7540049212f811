// SPDX-License-Identifier: Apache-2.0
// Softmax over rows of classes. SPMD functions, see ops/elementwise.h.
#pragma once

#include "ops/row_map.h"

namespace pycnn {

void softmax_forward(const RowMap& op, const float* x, float* y, Worker& worker) noexcept;
void softmax_backward(const RowMap& op, const float* y, const float* dy, float* dx,
                      Worker& worker) noexcept;

}  // namespace pycnn
