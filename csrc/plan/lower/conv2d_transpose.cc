// SPDX-License-Identifier: Apache-2.0
#include "graph/rules.h"
#include "ops/conv2d.h"
#include "plan/lower/rules.h"

namespace pycnn {

void lower_conv2d_transpose(Lowering& plan, const FusedNode& node) {
  const ValueId x_value = node.inputs[0], w_value = node.inputs[1], bias_value = node.inputs[2];
  Conv2dShape shape = conv2d_transpose_shape(node, plan.shape_of(x_value), plan.shape_of(w_value));
  shape.N = plan.batch();
  plan.check_kernel(node, w_value, shape);
  const Conv2dBackwardData op = make_conv2d_backward_data(shape, {0, 0}, plan.isa());
  plan.need_scratch(op.scratch_floats());
  const BufferId x = plan.buffer_of(x_value), w = plan.buffer_of(w_value),
                 bias = plan.buffer_of(bias_value), residual = plan.buffer_of(node.residual),
                 y = plan.buffer_of(node.outputs[0]), packed = plan.workspace(op.packed_floats());
  const bool fixed_bias =
      !bias_value.has_value() || plan.graph().producer(bias_value).op == OpKind::parameter;
  const bool kept = !plan.trains() && fixed_bias;
  if (kept && packed.has_value()) plan.keep(packed);
  const ActivationKind act = node.act;
  plan.add_step(node, [=](RunContext& run, Worker& worker) {
    const Epilogue epilogue{run.floats(bias), run.floats(residual), nullptr, 0, act};
    if (!kept || run.weights_changed) {
      if (worker.id() == 0) ++run.kernels_packed;
      pack_backward_data(op, run.floats(w), run.floats(bias), run.floats(packed), worker);
    }
    conv2d_backward_data(op, run.floats(x), nullptr, run.floats(packed), epilogue, run.floats(y),
                         worker);
  });
}

}  // namespace pycnn
