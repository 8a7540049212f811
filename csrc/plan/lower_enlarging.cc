// SPDX-License-Identifier: Apache-2.0
#include "graph/rules.h"
#include "ops/conv2d.h"
#include "ops/upsample2d.h"
#include "plan/lowering.h"

namespace pycnn {

void Lowering::lower_conv2d_transpose(const Node& node) {
  Conv2dShape shape =
      conv2d_transpose_shape(node, shape_of(node.inputs[0]), graph_.shape(node.inputs[1]));
  shape.N = batch_;
  check_kernel(node, node.inputs[1], shape);
  const Conv2dBackwardData op = make_conv2d_backward_data(shape, {0, 0}, isa());
  need_scratch(op.scratch_floats());
  const BufferId x = buffer_of(node.inputs[0]), w = buffer_of(node.inputs[1]),
                 bias = buffer_of(node.inputs[2]), residual = buffer_of(node.inputs[3]),
                 y = buffer_of(node.outputs[0]), packed = workspace(op.packed_floats());
  const bool fixed_bias =
      !bias.has_value() || graph_.producer(node.inputs[2]).op == OpKind::parameter;
  const bool kept = !trains_ && fixed_bias;
  if (kept && packed.has_value()) kept_.push_back(packed);
  const ActivationKind act = node.attrs_as<Conv2dAttrs>().act;
  add_step("conv2d_transpose", node.name, [=](RunContext& run, Worker& worker) {
    const Epilogue epilogue{run.floats(bias), run.floats(residual), nullptr, 0, act};
    if (!kept || run.weights_changed) {
      if (worker.id() == 0) ++run.kernels_packed;
      pack_backward_data(op, run.floats(w), run.floats(bias), run.floats(packed), worker);
    }
    conv2d_backward_data(op, run.floats(x), nullptr, run.floats(packed), epilogue, run.floats(y),
                         worker);
  });
}

void Lowering::lower_upsample2d(const Node& node) {
  const bool forward = node.op == OpKind::upsample2d;
  const Shape& x = shape_of(forward ? node.inputs[0] : node.outputs[0]);
  const Size2d factor = node.attrs_as<Upsample2dAttrs>().factor;
  const Upsample2d op = make_upsample2d(x[0] * x[1], x[2], x[3], factor, isa());
  const BufferId in = buffer_of(node.inputs[0]), out = buffer_of(node.outputs[0]);
  const auto resize = forward ? upsample2d_forward : upsample2d_backward;
  add_step(forward ? "upsample2d" : "upsample2d_backward", node.name,
           [=](RunContext& run, Worker& worker) {
             resize(op, run.floats(in), run.floats(out), worker);
           });
}

}  // namespace pycnn
