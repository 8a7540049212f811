// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <iterator>

#include "plan/lower/rules.h"

namespace pycnn {

// Each defined in its family's file.
LoweringRule lower_conv2d, lower_conv2d_transpose, lower_dense, lower_bias_backward, lower_matmul,
    lower_pool2d, lower_global_pool2d, lower_map, lower_reduce, lower_add, lower_activation,
    lower_dropout, lower_channels, lower_concatenate, lower_slice, lower_transpose, lower_pad,
    lower_resize, lower_gather, lower_upsample2d, lower_softmax, lower_batch_norm, lower_loss,
    lower_metric, lower_update;

namespace {

struct Row {
  OpKind op;
  LoweringRule* rule;
};

void lower_nothing(Lowering&, const FusedNode&) {}

constexpr Row kRows[] = {
    {OpKind::input, lower_nothing},  // lower.cc knows where the caller's arrays are
    {OpKind::parameter, lower_nothing},
    {OpKind::slot, lower_nothing},
    {OpKind::constant, lower_nothing},  // lower.cc keeps its values
    {OpKind::reshape, lower_nothing},   // the same memory
    {OpKind::stop_gradient, lower_nothing},
    {OpKind::conv2d, lower_conv2d},
    {OpKind::conv2d_backward_data, lower_conv2d},
    {OpKind::conv2d_backward_weights, lower_conv2d},
    {OpKind::conv2d_transpose, lower_conv2d_transpose},
    {OpKind::dense, lower_dense},
    {OpKind::dense_backward_data, lower_dense},
    {OpKind::dense_backward_weights, lower_dense},
    {OpKind::bias_backward, lower_bias_backward},
    {OpKind::matmul, lower_matmul},
    {OpKind::max_pool2d, lower_pool2d},
    {OpKind::max_pool2d_backward, lower_pool2d},
    {OpKind::avg_pool2d, lower_pool2d},
    {OpKind::avg_pool2d_backward, lower_pool2d},
    {OpKind::global_avg_pool2d, lower_global_pool2d},
    {OpKind::global_avg_pool2d_backward, lower_global_pool2d},
    {OpKind::add, lower_add},
    {OpKind::map, lower_map},
    {OpKind::reduce, lower_reduce},
    {OpKind::activation, lower_activation},
    {OpKind::activation_backward, lower_activation},
    {OpKind::dropout, lower_dropout},
    {OpKind::dropout_backward, lower_dropout},
    {OpKind::concatenate, lower_concatenate},
    {OpKind::slice_channels, lower_channels},
    {OpKind::slice_channels_backward, lower_channels},
    {OpKind::slice, lower_slice},
    {OpKind::slice_backward, lower_slice},
    {OpKind::transpose, lower_transpose},
    {OpKind::pad, lower_pad},
    {OpKind::pad_backward, lower_pad},
    {OpKind::resize, lower_resize},
    {OpKind::resize_backward, lower_resize},
    {OpKind::gather, lower_gather},
    {OpKind::gather_backward, lower_gather},
    {OpKind::upsample2d, lower_upsample2d},
    {OpKind::upsample2d_backward, lower_upsample2d},
    {OpKind::softmax, lower_softmax},
    {OpKind::softmax_backward, lower_softmax},
    {OpKind::batch_norm_training, lower_batch_norm},
    {OpKind::batch_norm_inference, lower_batch_norm},
    {OpKind::batch_norm_backward, lower_batch_norm},
    {OpKind::loss, lower_loss},
    {OpKind::loss_backward, lower_loss},
    {OpKind::metric, lower_metric},
    {OpKind::sgd, lower_update},
    {OpKind::adam, lower_update},
    {OpKind::moving_average, lower_update},
    {OpKind::assign, lower_update},
};

}  // namespace

LoweringRule* lowering_rule(OpKind op) {
  const auto* row = std::ranges::find(kRows, op, &Row::op);
  PYCNN_CHECK(row != std::end(kRows), ErrorKind::state, "plan: no rule for ", name_of(op));
  return row->rule;
}

}  // namespace pycnn
