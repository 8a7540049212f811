// SPDX-License-Identifier: Apache-2.0
// The table of ops: one row each, in the order of OpKind.
#include "graph/op.h"

#include <iterator>

#include "graph/rules.h"

namespace pycnn {
namespace {

template <class T>
constexpr std::size_t kAttrs = Attrs(T{}).index();
constexpr std::size_t kNoAttrs = kAttrs<std::monostate>;

constexpr OpDefinition kDefinitions[] = {
    {OpKind::input, "input", kNoAttrs, nullptr, nullptr},
    {OpKind::parameter, "parameter", kNoAttrs, nullptr, nullptr},

    {OpKind::conv2d, "conv2d", kAttrs<Conv2dAttrs>, infer_conv2d, conv2d_gradient},
    {OpKind::conv2d_backward_data, "conv2d_backward_data", kAttrs<Conv2dAttrs>,
     infer_conv2d_backward_data, nullptr},
    {OpKind::conv2d_backward_weights, "conv2d_backward_weights", kAttrs<Conv2dAttrs>,
     infer_conv2d_backward_weights, nullptr},
    {OpKind::conv2d_transpose, "conv2d_transpose", kAttrs<Conv2dAttrs>, infer_conv2d_transpose,
     conv2d_transpose_gradient},

    {OpKind::dense, "dense", kAttrs<DenseAttrs>, infer_dense, dense_gradient},
    {OpKind::dense_backward_data, "dense_backward_data", kAttrs<DenseAttrs>,
     infer_dense_backward_data, nullptr},
    {OpKind::dense_backward_weights, "dense_backward_weights", kAttrs<DenseAttrs>,
     infer_dense_backward_weights, nullptr},

    {OpKind::bias_backward, "bias_backward", kNoAttrs, infer_bias_backward, nullptr},

    {OpKind::max_pool2d, "max_pool2d", kAttrs<Pool2dAttrs>, infer_max_pool2d, max_pool2d_gradient},
    {OpKind::max_pool2d_backward, "max_pool2d_backward", kAttrs<Pool2dAttrs>,
     infer_max_pool2d_backward, nullptr},
    {OpKind::avg_pool2d, "avg_pool2d", kAttrs<Pool2dAttrs>, infer_avg_pool2d, avg_pool2d_gradient},
    {OpKind::avg_pool2d_backward, "avg_pool2d_backward", kAttrs<Pool2dAttrs>,
     infer_avg_pool2d_backward, nullptr},
    {OpKind::global_avg_pool2d, "global_avg_pool2d", kNoAttrs, infer_global_avg_pool2d,
     global_avg_pool2d_gradient},
    {OpKind::global_avg_pool2d_backward, "global_avg_pool2d_backward", kNoAttrs,
     infer_global_avg_pool2d_backward, nullptr},

    {OpKind::reshape, "reshape", kNoAttrs, infer_reshape, reshape_gradient},
    {OpKind::add, "add", kNoAttrs, infer_add, add_gradient},
    {OpKind::concatenate, "concatenate", kNoAttrs, infer_concatenate, concatenate_gradient},
    {OpKind::slice_channels, "slice_channels", kAttrs<SliceAttrs>, infer_slice_channels,
     slice_channels_gradient},
    {OpKind::slice_channels_backward, "slice_channels_backward", kAttrs<SliceAttrs>,
     infer_slice_channels_backward, nullptr},
    {OpKind::upsample2d, "upsample2d", kAttrs<Upsample2dAttrs>, infer_upsample2d,
     upsample2d_gradient},
    {OpKind::upsample2d_backward, "upsample2d_backward", kAttrs<Upsample2dAttrs>,
     infer_upsample2d_backward, nullptr},
    {OpKind::activation, "activation", kAttrs<ActivationAttrs>, infer_activation,
     activation_gradient},
    {OpKind::activation_backward, "activation_backward", kAttrs<ActivationAttrs>,
     infer_activation_backward, nullptr},
    {OpKind::softmax, "softmax", kNoAttrs, infer_softmax, softmax_gradient},
    {OpKind::softmax_backward, "softmax_backward", kNoAttrs, infer_softmax_backward, nullptr},
    {OpKind::dropout, "dropout", kAttrs<DropoutAttrs>, infer_dropout, dropout_gradient},
    {OpKind::dropout_backward, "dropout_backward", kAttrs<DropoutAttrs>, infer_dropout_backward,
     nullptr},

    {OpKind::batch_norm_training, "batch_norm_training", kAttrs<BatchNormAttrs>,
     infer_batch_norm_training, batch_norm_training_gradient},
    {OpKind::batch_norm_inference, "batch_norm_inference", kAttrs<BatchNormAttrs>,
     infer_batch_norm_inference, batch_norm_inference_gradient},
    {OpKind::batch_norm_backward, "batch_norm_backward", kAttrs<BatchNormAttrs>,
     infer_batch_norm_backward, nullptr},

    {OpKind::loss, "loss", kAttrs<LossAttrs>, infer_loss, loss_gradient},
    {OpKind::loss_backward, "loss_backward", kAttrs<LossAttrs>, infer_loss_backward, nullptr},
    {OpKind::metric, "metric", kAttrs<MetricAttrs>, infer_metric, nullptr},

    {OpKind::sgd, "sgd", kAttrs<SgdAttrs>, infer_sgd, nullptr},
    {OpKind::adam, "adam", kAttrs<AdamAttrs>, infer_adam, nullptr},
    {OpKind::moving_average, "moving_average", kAttrs<MovingAverageAttrs>, infer_moving_average,
     nullptr},
};

constexpr bool in_enum_order() {
  for (std::size_t i = 0; i < std::size(kDefinitions); ++i) {
    if (static_cast<std::size_t>(kDefinitions[i].kind) != i) return false;
  }
  return std::size(kDefinitions) == static_cast<std::size_t>(OpKind::count_);
}
static_assert(in_enum_order());

}  // namespace

const OpDefinition& definition(OpKind kind) {
  PYCNN_CHECK_VALUE(kind < OpKind::count_, "graph: no op number ", static_cast<int>(kind));
  return kDefinitions[static_cast<std::size_t>(kind)];
}

const char* name_of(OpKind op) { return definition(op).name; }

}  // namespace pycnn
