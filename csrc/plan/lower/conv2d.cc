// SPDX-License-Identifier: Apache-2.0
#include "ops/conv2d.h"

#include "graph/rules.h"
#include "plan/lower/rules.h"

namespace pycnn {
namespace {

void lower_forward(Lowering& plan, const FusedNode& node, const Conv2dShape& shape) {
  const Conv2dForward op = make_conv2d_forward(shape, node.pool, plan.isa());
  plan.need_scratch(op.scratch_floats());
  FoldedWeights* folded = plan.fold_norm(node);
  const BufferId x = plan.buffer_of(node.inputs[0]), residual = plan.buffer_of(node.residual),
                 w = folded ? plan.fixed_buffer(folded->kernel()) : plan.buffer_of(node.inputs[1]),
                 bias = folded ? plan.fixed_buffer(folded->bias()) : plan.buffer_of(node.inputs[2]),
                 y = plan.buffer_of(node.outputs[0]),
                 packed = plan.workspace(op.workspace_floats());
  const BufferId arg = node.outputs.size() > 1 ? plan.buffer_of(node.outputs[1]) : kNoBuffer;
  const ActivationKind act = node.act;
  plan.add_step(node, [=](RunContext& run, Worker& worker) {
    const Epilogue epilogue{run.floats(bias), run.floats(residual), nullptr, 0, act};
    conv2d_forward(op, run.floats(x), run.floats(w), epilogue, run.floats(y), run.indices(arg),
                   run.floats(packed), worker);
  });
}

void lower_backward_data(Lowering& plan, const FusedNode& node, const Conv2dShape& shape) {
  const Conv2dBackwardData op = make_conv2d_backward_data(shape, node.pool, plan.isa());
  plan.need_scratch(op.scratch_floats());
  const BufferId dy = plan.buffer_of(node.inputs[0]), w = plan.buffer_of(node.inputs[1]),
                 gate = plan.buffer_of(node.gate), dx = plan.buffer_of(node.outputs[0]),
                 packed = plan.workspace(op.packed_floats()), arg = plan.buffer_of(node.arg);
  const float ceiling = node.act == ActivationKind::relu6 ? 6.0f : 0.0f;
  plan.add_step(node, [=](RunContext& run, Worker& worker) {
    const Epilogue epilogue{nullptr, nullptr, run.floats(gate), ceiling, ActivationKind::linear};
    pack_backward_data(op, run.floats(w), nullptr, run.floats(packed), worker);
    conv2d_backward_data(op, run.floats(dy), run.indices(arg), run.floats(packed), epilogue,
                         run.floats(dx), worker);
  });
}

void lower_backward_weights(Lowering& plan, const FusedNode& node, const Conv2dShape& shape) {
  const Conv2dBackwardWeights op = make_conv2d_backward_weights(shape, node.pool, plan.isa());
  plan.need_scratch(op.scratch_floats());
  const BufferId x = plan.buffer_of(node.inputs[0]), dy = plan.buffer_of(node.inputs[1]),
                 dw = plan.buffer_of(node.outputs[0]),
                 partial = plan.workspace(op.workspace_floats()), arg = plan.buffer_of(node.arg);
  plan.add_step(node, [=](RunContext& run, Worker& worker) {
    conv2d_backward_weights(op, run.floats(x), run.floats(dy), run.indices(arg), run.floats(dw),
                            run.floats(partial), worker);
  });
}

}  // namespace

void lower_product(Lowering& plan, const FusedNode& node, const Conv2dShape& shape) {
  switch (definition(node.op).kernel) {
    case 2:  // its shape and layout only: dw lies as the kernel does
      plan.check_kernel(node, node.outputs[0], shape);
      return shape.depthwise() ? lower_depthwise(plan, node, shape)
                               : lower_backward_weights(plan, node, shape);
    default:
      plan.check_kernel(node, node.inputs[1], shape);
      if (shape.depthwise()) return lower_depthwise(plan, node, shape);
      const bool forward = node.op == OpKind::conv2d || node.op == OpKind::dense;
      return forward ? lower_forward(plan, node, shape) : lower_backward_data(plan, node, shape);
  }
}

void lower_conv2d(Lowering& plan, const FusedNode& node) {
  const bool weights = node.op == OpKind::conv2d_backward_weights;
  const ValueId x = node.inputs[node.op == OpKind::conv2d_backward_data ? 2 : 0];
  const ValueId w = node.inputs[weights ? 2 : 1];
  Conv2dShape shape = conv2d_shape(node, plan.shape_of(x), plan.shape_of(w));
  shape.N = plan.batch();
  lower_product(plan, node, shape);
}

}  // namespace pycnn
