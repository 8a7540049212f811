// SPDX-License-Identifier: Apache-2.0
// The three passes of a conv2d with one input channel and one filter per group.
#include "ops/depthwise.h"

#include "plan/lower/rules.h"

namespace pycnn {
namespace {

void lower_forward(Lowering& plan, const FusedNode& node, const Conv2dShape& shape) {
  const DepthwisePass op = make_depthwise_forward(shape, plan.isa());
  FoldedWeights* folded = plan.fold_norm(node);
  const BufferId x = plan.buffer_of(node.inputs[0]), residual = plan.buffer_of(node.residual),
                 w = folded ? plan.fixed_buffer(folded->kernel()) : plan.buffer_of(node.inputs[1]),
                 bias = folded ? plan.fixed_buffer(folded->bias()) : plan.buffer_of(node.inputs[2]),
                 y = plan.buffer_of(node.outputs[0]);
  const ActivationKind act = node.act;
  plan.add_step(node, [=](RunContext& run, Worker& worker) {
    const Epilogue epilogue{run.floats(bias), run.floats(residual), nullptr, 0, act};
    depthwise_gather(op, run.floats(x), run.floats(w), epilogue, run.floats(y), worker);
  });
}

void lower_backward_data(Lowering& plan, const FusedNode& node, const Conv2dShape& shape) {
  const DepthwisePass op = make_depthwise_backward_data(shape, plan.isa());
  const BufferId dy = plan.buffer_of(node.inputs[0]), w = plan.buffer_of(node.inputs[1]),
                 gate = plan.buffer_of(node.gate), dx = plan.buffer_of(node.outputs[0]);
  const float ceiling = node.act == ActivationKind::relu6 ? 6.0f : 0.0f;
  plan.add_step(node, [=](RunContext& run, Worker& worker) {
    const Epilogue epilogue{nullptr, nullptr, run.floats(gate), ceiling, ActivationKind::linear};
    depthwise_gather(op, run.floats(dy), run.floats(w), epilogue, run.floats(dx), worker);
  });
}

void lower_backward_weights(Lowering& plan, const FusedNode& node, const Conv2dShape& shape) {
  const DepthwiseBackwardWeights op = make_depthwise_backward_weights(shape, plan.isa());
  const BufferId x = plan.buffer_of(node.inputs[0]), dy = plan.buffer_of(node.inputs[1]),
                 dw = plan.buffer_of(node.outputs[0]),
                 partial = plan.workspace(op.workspace_floats());
  plan.add_step(node, [=](RunContext& run, Worker& worker) {
    depthwise_backward_weights(op, run.floats(x), run.floats(dy), run.floats(dw),
                               run.floats(partial), worker);
  });
}

}  // namespace

void lower_depthwise(Lowering& plan, const FusedNode& node, const Conv2dShape& shape) {
  if (node.op == OpKind::conv2d) return lower_forward(plan, node, shape);
  if (node.op == OpKind::conv2d_backward_data) return lower_backward_data(plan, node, shape);
  lower_backward_weights(plan, node, shape);
}

}  // namespace pycnn
