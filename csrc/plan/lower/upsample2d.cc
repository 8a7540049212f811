// SPDX-License-Identifier: Apache-2.0
#include "ops/upsample2d.h"

#include "plan/lower/rules.h"

namespace pycnn {

void lower_upsample2d(Lowering& plan, const FusedNode& node) {
  const bool forward = node.op == OpKind::upsample2d;
  const Shape& x = plan.shape_of(forward ? node.inputs[0] : node.outputs[0]);
  const Size2d factor = node.attrs_as<Upsample2dAttrs>().factor;
  const Upsample2d op = make_upsample2d(x[0] * x[1], x[2], x[3], factor, plan.isa());
  const BufferId in = plan.buffer_of(node.inputs[0]), out = plan.buffer_of(node.outputs[0]);
  const auto resize = forward ? upsample2d_forward : upsample2d_backward;
  plan.add_step(node, [=](RunContext& run, Worker& worker) {
    resize(op, run.floats(in), run.floats(out), worker);
  });
}

}  // namespace pycnn
