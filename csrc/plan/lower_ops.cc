// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "graph/rules.h"
#include "ops/conv2d.h"
#include "ops/elementwise.h"
#include "ops/loss.h"
#include "ops/pool2d.h"
#include "ops/reduce.h"
#include "plan/lowering.h"

namespace pycnn {
namespace {

// Rows and columns of a tensor seen as a matrix with the last axis as columns.
struct Matrix {
  dim_t rows, columns;
};
Matrix as_matrix(const Shape& shape) {
  const dim_t columns = shape[-1];
  return {columns == 0 ? 0 : shape.count() / columns, columns};
}

// dense is the 1x1 convolution of a row of pixels.
Conv2dShape dense_shape(const Shape& x, const Shape& w) {
  Conv2dShape s;
  s.W = as_matrix(x).rows;
  s.C = w[0];
  s.K = w[1];
  return s;
}

const Conv2dAttrs* conv_attrs(const Node& node) { return std::get_if<Conv2dAttrs>(&node.attrs); }

ActivationKind epilogue_act(const Node& node) {
  if (const Conv2dAttrs* conv = conv_attrs(node)) return conv->act;
  const DenseAttrs* dense = std::get_if<DenseAttrs>(&node.attrs);
  return dense != nullptr ? dense->act : ActivationKind::linear;
}

Size2d pool_of(const Node& node) {
  const Conv2dAttrs* conv = conv_attrs(node);
  return conv == nullptr ? Size2d{0, 0} : conv->pool;
}

}  // namespace

void Lowering::lower_node(const Node& node) {
  switch (node.op) {
    case OpKind::input:
    case OpKind::parameter:
    case OpKind::reshape:
    case OpKind::count_:
      return;
    case OpKind::conv2d:
    case OpKind::dense:
      return lower_product(node);
    case OpKind::conv2d_transpose:
      return lower_conv2d_transpose(node);
    case OpKind::conv2d_backward_data:
    case OpKind::dense_backward_data:
      return lower_product_backward_data(node);
    case OpKind::conv2d_backward_weights:
    case OpKind::dense_backward_weights:
      return lower_product_backward_weights(node);
    case OpKind::max_pool2d:
    case OpKind::max_pool2d_backward:
    case OpKind::avg_pool2d:
    case OpKind::avg_pool2d_backward:
    case OpKind::global_avg_pool2d:
    case OpKind::global_avg_pool2d_backward:
      return lower_pool(node);
    case OpKind::concatenate:
    case OpKind::slice_channels:
    case OpKind::slice_channels_backward:
      return lower_channels(node);
    case OpKind::upsample2d:
    case OpKind::upsample2d_backward:
      return lower_upsample2d(node);
    case OpKind::add:
    case OpKind::activation:
    case OpKind::activation_backward:
    case OpKind::dropout:
    case OpKind::dropout_backward:
      return lower_elementwise(node);
    case OpKind::bias_backward:
    case OpKind::softmax:
    case OpKind::softmax_backward:
      return lower_rows(node);
    case OpKind::batch_norm_training:
    case OpKind::batch_norm_inference:
    case OpKind::batch_norm_backward:
      return lower_batch_norm(node);
    case OpKind::loss:
    case OpKind::loss_backward:
    case OpKind::metric:
      return lower_loss(node);
    case OpKind::sgd:
    case OpKind::adam:
    case OpKind::moving_average:
      return lower_update(node);
  }
}

// The full shape of a convolution or dense node whose input and kernel are the values x and w.
static Conv2dShape product_shape(const Node& node, const Shape& x, const Shape& w, dim_t batch) {
  if (conv_attrs(node) == nullptr) return dense_shape(x, w);
  Conv2dShape s = conv2d_shape(node, x, w);
  s.N = batch;
  return s;
}

void Lowering::lower_product(const Node& node) {
  const Conv2dShape shape =
      product_shape(node, shape_of(node.inputs[0]), graph_.shape(node.inputs[1]), batch_);
  check_kernel(node, node.inputs[1], shape);
  if (shape.depthwise()) return lower_depthwise(node, shape);
  const Conv2dForward op = make_conv2d_forward(shape, pool_of(node), isa());
  need_scratch(op.scratch_floats());
  FoldedWeights* folded = fold_norm(node);
  const BufferId x = buffer_of(node.inputs[0]), residual = buffer_of(node.inputs[3]),
                 w = folded ? fixed_buffer(folded->kernel()) : buffer_of(node.inputs[1]),
                 bias = folded ? fixed_buffer(folded->bias()) : buffer_of(node.inputs[2]),
                 y = buffer_of(node.outputs[0]), packed = workspace(op.workspace_floats());
  const BufferId arg = node.outputs.size() > 1 ? buffer_of(node.outputs[1]) : kNoBuffer;
  const ActivationKind act = epilogue_act(node);
  const char* name = node.op == OpKind::conv2d ? "conv2d" : "dense";
  add_step(name, node.name, [=](RunContext& run, Worker& worker) {
    const Epilogue epilogue{run.floats(bias), run.floats(residual), nullptr, 0, act};
    conv2d_forward(op, run.floats(x), run.floats(w), epilogue, run.floats(y), run.indices(arg),
                   run.floats(packed), worker);
  });
}

void Lowering::lower_product_backward_data(const Node& node) {
  const Conv2dShape shape =
      product_shape(node, shape_of(node.inputs[2]), graph_.shape(node.inputs[1]), batch_);
  check_kernel(node, node.inputs[1], shape);
  if (shape.depthwise()) return lower_depthwise(node, shape);
  const Conv2dBackwardData op = make_conv2d_backward_data(shape, pool_of(node), isa());
  need_scratch(op.scratch_floats());
  const BufferId dy = buffer_of(node.inputs[0]), w = buffer_of(node.inputs[1]),
                 gate = buffer_of(node.inputs[3]), dx = buffer_of(node.outputs[0]),
                 packed = workspace(op.packed_floats()),
                 arg = node.inputs.size() > 4 ? buffer_of(node.inputs[4]) : kNoBuffer;
  const float ceiling = epilogue_act(node) == ActivationKind::relu6 ? 6.0f : 0.0f;
  add_step(conv_attrs(node) ? "conv2d_backward_data" : "dense_backward_data", node.name,
           [=](RunContext& run, Worker& worker) {
             const Epilogue epilogue{nullptr, nullptr, run.floats(gate), ceiling,
                                     ActivationKind::linear};
             pack_backward_data(op, run.floats(w), nullptr, run.floats(packed), worker);
             conv2d_backward_data(op, run.floats(dy), run.indices(arg), run.floats(packed),
                                  epilogue, run.floats(dx), worker);
           });
}

void Lowering::lower_product_backward_weights(const Node& node) {
  const Conv2dShape shape =
      product_shape(node, shape_of(node.inputs[0]), graph_.shape(node.inputs[2]), batch_);
  check_kernel(node, node.outputs[0], shape);
  if (shape.depthwise()) return lower_depthwise(node, shape);
  const Conv2dBackwardWeights op = make_conv2d_backward_weights(shape, pool_of(node), isa());
  need_scratch(op.scratch_floats());
  const BufferId x = buffer_of(node.inputs[0]), dy = buffer_of(node.inputs[1]),
                 dw = buffer_of(node.outputs[0]), partial = workspace(op.workspace_floats()),
                 arg = node.inputs.size() > 3 ? buffer_of(node.inputs[3]) : kNoBuffer;
  add_step(conv_attrs(node) ? "conv2d_backward_weights" : "dense_backward_weights", node.name,
           [=](RunContext& run, Worker& worker) {
             conv2d_backward_weights(op, run.floats(x), run.floats(dy), run.indices(arg),
                                     run.floats(dw), run.floats(partial), worker);
           });
}

void Lowering::lower_pool(const Node& node) {
  const bool backward = node.op == OpKind::max_pool2d_backward;
  const bool reads_x = node.op == OpKind::max_pool2d || node.op == OpKind::avg_pool2d ||
                       node.op == OpKind::global_avg_pool2d;
  const ValueId image = node.inputs[reads_x ? 0 : backward ? 2 : 1];
  const Shape& x_shape = shape_of(image);
  const bool global = !std::holds_alternative<Pool2dAttrs>(node.attrs);
  Pool2dShape shape;
  if (global) {
    shape.H = shape.R = x_shape[1];
    shape.W = shape.S = x_shape[2];
    shape.C = x_shape[3];
  } else {
    shape = pool2d_shape(node, x_shape);
  }
  shape.N = batch_;
  const Pool2d op = make_pool2d(shape, isa());
  const BufferId in = buffer_of(node.inputs[0]), out = buffer_of(node.outputs[0]);
  switch (node.op) {
    case OpKind::max_pool2d: {
      const BufferId arg = buffer_of(node.outputs[1]);
      return add_step("max_pool2d", node.name, [=](RunContext& run, Worker& worker) {
        max_pool2d_forward(op, run.floats(in), run.floats(out), run.indices(arg), worker);
      });
    }
    case OpKind::max_pool2d_backward: {
      const BufferId dy = buffer_of(node.inputs[1]);
      return add_step("max_pool2d_backward", node.name, [=](RunContext& run, Worker& worker) {
        max_pool2d_backward(op, run.indices(in), run.floats(dy), run.floats(out), worker);
      });
    }
    default: {
      using PoolFn = void (*)(const Pool2d&, const float*, float*, Worker&) noexcept;
      const PoolFn pool = global
                              ? (reads_x ? global_avg_pool2d_forward : global_avg_pool2d_backward)
                              : (reads_x ? avg_pool2d_forward : avg_pool2d_backward);
      const char* name = global ? (reads_x ? "global_avg_pool2d" : "global_avg_pool2d_backward")
                                : (reads_x ? "avg_pool2d" : "avg_pool2d_backward");
      return add_step(name, node.name, [=](RunContext& run, Worker& worker) {
        pool(op, run.floats(in), run.floats(out), worker);
      });
    }
  }
}

void Lowering::lower_elementwise(const Node& node) {
  const BufferId a = buffer_of(node.inputs[0]), y = buffer_of(node.outputs[0]);
  const BufferId b = node.inputs.size() > 1 ? buffer_of(node.inputs[1]) : kNoBuffer;
  const dim_t count = count_of(node.outputs[0]);
  switch (node.op) {
    case OpKind::add: {
      const Elementwise op = make_elementwise(count, isa());
      return add_step("add", node.name, [=](RunContext& run, Worker& worker) {
        add_forward(op, run.floats(a), run.floats(b), run.floats(y), worker);
      });
    }
    case OpKind::activation:
    case OpKind::activation_backward: {
      const auto& attrs = node.attrs_as<ActivationAttrs>();
      const Activation op = make_activation(count, attrs.kind, attrs.alpha, isa());
      if (node.op == OpKind::activation) {
        return add_step("activation", node.name, [=](RunContext& run, Worker& worker) {
          activation_forward(op, run.floats(a), run.floats(y), worker);
        });
      }
      return add_step("activation_backward", node.name, [=](RunContext& run, Worker& worker) {
        activation_backward(op, run.floats(a), run.floats(b), run.floats(y), worker);
      });
    }
    default: {
      const auto& attrs = node.attrs_as<DropoutAttrs>();
      const Dropout op = make_dropout(count, attrs.rate, attrs.stream, isa());
      const char* name = node.op == OpKind::dropout ? "dropout" : "dropout_backward";
      return add_step(name, node.name, [=](RunContext& run, Worker& worker) {
        dropout_forward(op, run.random, run.floats(a), run.floats(y), worker);
      });
    }
  }
}

void Lowering::lower_rows(const Node& node) {
  const BufferId a = buffer_of(node.inputs[0]), y = buffer_of(node.outputs[0]);
  const Matrix m = as_matrix(shape_of(node.inputs[0]));
  if (node.op == OpKind::bias_backward) {
    const RowReduction op = make_row_reduction(m.rows, m.columns, isa());
    const BufferId space = workspace(op.workspace_floats());
    return add_step("bias_backward", node.name, [=](RunContext& run, Worker& worker) {
      bias_backward(op, run.floats(a), run.floats(y), run.floats(space), worker);
    });
  }
  const RowMap op = make_row_map(m.rows, m.columns, isa());
  if (node.op == OpKind::softmax) {
    return add_step("softmax", node.name, [=](RunContext& run, Worker& worker) {
      softmax_forward(op, run.floats(a), run.floats(y), worker);
    });
  }
  const BufferId dy = buffer_of(node.inputs[1]);
  add_step("softmax_backward", node.name, [=](RunContext& run, Worker& worker) {
    softmax_backward(op, run.floats(a), run.floats(dy), run.floats(y), worker);
  });
}

void Lowering::lower_batch_norm(const Node& node) {
  const Matrix m = as_matrix(shape_of(node.inputs[0]));
  const BatchNorm op =
      make_batch_norm(m.rows, m.columns, node.attrs_as<BatchNormAttrs>().epsilon, isa());
  const BufferId space = workspace(op.reduction.workspace_floats());
  std::vector<BufferId> in, out;
  for (const ValueId v : node.inputs) in.push_back(buffer_of(v));
  for (const ValueId v : node.outputs) out.push_back(buffer_of(v));
  if (node.op == OpKind::batch_norm_training) {
    return add_step("batch_norm_training", node.name, [=](RunContext& run, Worker& worker) {
      batch_norm_training_forward(op, run.floats(in[0]), run.floats(in[1]), run.floats(in[2]),
                                  run.floats(out[0]), run.floats(out[1]), run.floats(out[2]),
                                  run.floats(space), worker);
    });
  }
  if (node.op == OpKind::batch_norm_inference) {
    return add_step("batch_norm_inference", node.name, [=](RunContext& run, Worker& worker) {
      batch_norm_inference_forward(op, run.floats(in[0]), run.floats(in[1]), run.floats(in[2]),
                                   run.floats(in[3]), run.floats(in[4]), run.floats(out[0]),
                                   run.floats(space), worker);
    });
  }
  add_step("batch_norm_backward", node.name, [=](RunContext& run, Worker& worker) {
    batch_norm_backward(op, run.floats(in[0]), run.floats(in[1]), run.floats(in[2]),
                        run.floats(in[3]), run.floats(in[4]), run.floats(out[0]),
                        run.floats(out[1]), run.floats(out[2]), run.floats(space), worker);
  });
}

void Lowering::lower_loss(const Node& node) {
  const BufferId y_true = buffer_of(node.inputs[0]), y_pred = buffer_of(node.inputs[1]),
                 out = buffer_of(node.outputs[0]);
  const Matrix m = as_matrix(shape_of(node.inputs[1]));
  if (node.op == OpKind::metric) {
    const auto& attrs = node.attrs_as<MetricAttrs>();
    const Metric op = make_metric(m.rows, m.columns, attrs.kind, attrs.threshold, isa());
    const BufferId space = workspace(op.workspace_floats());
    return add_step("metric", node.name, [=](RunContext& run, Worker& worker) {
      metric_forward(op, run.bytes(y_true), run.floats(y_pred), run.floats(out), run.floats(space),
                     worker);
    });
  }
  const auto& attrs = node.attrs_as<LossAttrs>();
  const Loss op = make_loss(m.rows, m.columns, attrs.kind, attrs.from_logits, isa());
  if (node.op == OpKind::loss) {
    const BufferId space = workspace(op.workspace_floats());
    return add_step("loss", node.name, [=](RunContext& run, Worker& worker) {
      loss_forward(op, run.bytes(y_true), run.floats(y_pred), run.floats(out), run.floats(space),
                   worker);
    });
  }
  add_step("loss_backward", node.name, [=](RunContext& run, Worker& worker) {
    loss_backward(op, run.bytes(y_true), run.floats(y_pred), run.floats(out), worker);
  });
}

}  // namespace pycnn
