// SPDX-License-Identifier: Apache-2.0
// How each op becomes steps: one rule per op or family, listed in table.cc. A build for another
// device is another table.
#pragma once

#include "plan/lowering.h"

namespace pycnn {

using LoweringRule = void(Lowering& plan, const FusedNode& node);
LoweringRule* lowering_rule(OpKind op);

// What families share.

// A convolution or dense layer, any of its three passes, whose full shape is known.
void lower_product(Lowering& plan, const FusedNode& node, const Conv2dShape& shape);
void lower_depthwise(Lowering& plan, const FusedNode& node, const Conv2dShape& shape);

// Of an update that is no map, and the largest |x| of what it reads.
std::shared_ptr<UpdateGuard> make_guard(Lowering& plan, const FusedNode& update, BufferId largest);

// Rows and columns of a tensor seen as a matrix with the last axis as columns.
struct Matrix {
  dim_t rows, columns;
};
inline Matrix as_matrix(const Shape& shape) { return {shape.count() / shape[-1], shape[-1]}; }

}  // namespace pycnn
