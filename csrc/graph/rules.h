// SPDX-License-Identifier: Apache-2.0
// The infer functions and gradient rules that op.cc lists, by the file that defines them.
#pragma once

#include "graph/op.h"

namespace pycnn {

// conv2d.cc
// Checked; N is 1 where x leads with kBatch. plan/ passes x with the batch size filled in.
Conv2dShape conv2d_shape(const Node& node, const Shape& x, const Shape& w);
Inferred infer_conv2d(const Graph& graph, const Node& node);
Inferred infer_conv2d_backward_data(const Graph& graph, const Node& node);
Inferred infer_conv2d_backward_weights(const Graph& graph, const Node& node);
void conv2d_gradient(GradientTape& tape, const Node& node, ValueId dy);

// conv2d_transpose.cc
// Of the convolution whose gradient by its input this is: x is its output, y its input.
Conv2dShape conv2d_transpose_shape(const Node& node, const Shape& x, const Shape& w);
Inferred infer_conv2d_transpose(const Graph& graph, const Node& node);
void conv2d_transpose_gradient(GradientTape& tape, const Node& node, ValueId dy);

// dense.cc
Inferred infer_dense(const Graph& graph, const Node& node);
Inferred infer_dense_backward_data(const Graph& graph, const Node& node);
Inferred infer_dense_backward_weights(const Graph& graph, const Node& node);
Inferred infer_bias_backward(const Graph& graph, const Node& node);
void dense_gradient(GradientTape& tape, const Node& node, ValueId dy);
void bias_gradient(GradientTape& tape, const Node& node, ValueId bias, ValueId dy);

// pool2d.cc
Pool2dShape pool2d_shape(const Node& node, const Shape& x);  // as conv2d_shape
Inferred infer_max_pool2d(const Graph& graph, const Node& node);
Inferred infer_max_pool2d_backward(const Graph& graph, const Node& node);
void max_pool2d_gradient(GradientTape& tape, const Node& node, ValueId dy);
Inferred infer_avg_pool2d(const Graph& graph, const Node& node);
Inferred infer_avg_pool2d_backward(const Graph& graph, const Node& node);
void avg_pool2d_gradient(GradientTape& tape, const Node& node, ValueId dy);
Inferred infer_global_avg_pool2d(const Graph& graph, const Node& node);
Inferred infer_global_avg_pool2d_backward(const Graph& graph, const Node& node);
void global_avg_pool2d_gradient(GradientTape& tape, const Node& node, ValueId dy);

// channels.cc
Inferred infer_concatenate(const Graph& graph, const Node& node);
void concatenate_gradient(GradientTape& tape, const Node& node, ValueId dy);
Inferred infer_slice_channels(const Graph& graph, const Node& node);
Inferred infer_slice_channels_backward(const Graph& graph, const Node& node);
void slice_channels_gradient(GradientTape& tape, const Node& node, ValueId dy);

// upsample2d.cc
Inferred infer_upsample2d(const Graph& graph, const Node& node);
Inferred infer_upsample2d_backward(const Graph& graph, const Node& node);
void upsample2d_gradient(GradientTape& tape, const Node& node, ValueId dy);

// elementwise.cc
Inferred infer_reshape(const Graph& graph, const Node& node);
void reshape_gradient(GradientTape& tape, const Node& node, ValueId dy);
Inferred infer_add(const Graph& graph, const Node& node);
void add_gradient(GradientTape& tape, const Node& node, ValueId dy);
Inferred infer_activation(const Graph& graph, const Node& node);
Inferred infer_activation_backward(const Graph& graph, const Node& node);
void activation_gradient(GradientTape& tape, const Node& node, ValueId dy);
Inferred infer_dropout(const Graph& graph, const Node& node);
Inferred infer_dropout_backward(const Graph& graph, const Node& node);
void dropout_gradient(GradientTape& tape, const Node& node, ValueId dy);

// softmax.cc
Inferred infer_softmax(const Graph& graph, const Node& node);
Inferred infer_softmax_backward(const Graph& graph, const Node& node);
void softmax_gradient(GradientTape& tape, const Node& node, ValueId dy);

// batchnorm.cc
Inferred infer_batch_norm_training(const Graph& graph, const Node& node);
Inferred infer_batch_norm_inference(const Graph& graph, const Node& node);
Inferred infer_batch_norm_backward(const Graph& graph, const Node& node);
void batch_norm_training_gradient(GradientTape& tape, const Node& node, ValueId dy);
void batch_norm_inference_gradient(GradientTape& tape, const Node& node, ValueId dy);

// loss.cc
Inferred infer_loss(const Graph& graph, const Node& node);
Inferred infer_loss_backward(const Graph& graph, const Node& node);
void loss_gradient(GradientTape& tape, const Node& node, ValueId dy);
Inferred infer_metric(const Graph& graph, const Node& node);

// update.cc
Inferred infer_sgd(const Graph& graph, const Node& node);
Inferred infer_adam(const Graph& graph, const Node& node);
Inferred infer_moving_average(const Graph& graph, const Node& node);

}  // namespace pycnn
