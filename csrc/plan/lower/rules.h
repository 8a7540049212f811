// SPDX-License-Identifier: Apache-2.0
// How each op becomes steps: one rule per op or family, listed in table.cc. A build for another
// device is another table.
#pragma once

#include "plan/lowering.h"

namespace pycnn {

using LowerFn = void (*)(Lowering& plan, const FusedNode& node);
LowerFn lowering_rule(OpKind op);

void lower_conv2d(Lowering& plan, const FusedNode& node);  // and its passes
void lower_conv2d_transpose(Lowering& plan, const FusedNode& node);
void lower_dense(Lowering& plan, const FusedNode& node);  // and its passes
void lower_bias_backward(Lowering& plan, const FusedNode& node);
void lower_pool2d(Lowering& plan, const FusedNode& node);
void lower_global_pool2d(Lowering& plan, const FusedNode& node);
void lower_add(Lowering& plan, const FusedNode& node);
void lower_activation(Lowering& plan, const FusedNode& node);
void lower_dropout(Lowering& plan, const FusedNode& node);
void lower_channels(Lowering& plan, const FusedNode& node);
void lower_upsample2d(Lowering& plan, const FusedNode& node);
void lower_softmax(Lowering& plan, const FusedNode& node);
void lower_batch_norm(Lowering& plan, const FusedNode& node);
void lower_loss(Lowering& plan, const FusedNode& node);
void lower_metric(Lowering& plan, const FusedNode& node);
void lower_update(Lowering& plan, const FusedNode& node);

// What families share.

// A convolution or dense layer, any of its three passes, whose full shape is known.
void lower_product(Lowering& plan, const FusedNode& node, const Conv2dShape& shape);
void lower_depthwise(Lowering& plan, const FusedNode& node, const Conv2dShape& shape);

// Rows and columns of a tensor seen as a matrix with the last axis as columns.
struct Matrix {
  dim_t rows, columns;
};
inline Matrix as_matrix(const Shape& shape) { return {shape.count() / shape[-1], shape[-1]}; }

}  // namespace pycnn
