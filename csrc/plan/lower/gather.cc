// SPDX-License-Identifier: Apache-2.0
#include "ops/gather.h"

#include <bit>
#include <cmath>
#include <limits>

#include "graph/rules.h"
#include "plan/lower/rules.h"

namespace pycnn {

void lower_gather(Lowering& plan, const FusedNode& node) {
  const bool forward = node.op == OpKind::gather;
  const ValueId x = forward ? node.inputs[0] : node.outputs[0];
  const Shape& shape = plan.shape_of(x);
  const int axis = checked_axis(node, node.attrs_as<GatherAttrs>().axis, shape);
  dim_t outer = 1, run = 1;
  for (int i = 0; i < shape.rank(); ++i) (i < axis ? outer : run) *= i == axis ? 1 : shape[i];
  const dim_t picks = plan.shape_of(node.inputs[1]).count();
  PYCNN_CHECK_SHAPE(picks <= kMaxExtent, name_of(node.op), " '", node.name,
                    "': indices must be of <= ", kMaxExtent, " elements, got ", picks);
  const Gather op = make_gather(outer, shape[axis], picks, run, plan.isa());
  const BufferId in = plan.buffer_of(node.inputs[0]), out = plan.buffer_of(node.outputs[0]);
  const BufferId picked = plan.buffer_of(node.inputs[1]);
  const auto integers = [](RunContext& run, BufferId buffer) {
    return reinterpret_cast<std::int32_t*>(run.bytes(buffer));
  };
  if (!forward) {
    const BufferId sorted = plan.workspace(op.workspace_integers(), DType::i32);
    return plan.add_step(node, [=](RunContext& run, Worker& worker) {
      gather_backward(op, run.floats(in), integers(run, picked), run.floats(out),
                      integers(run, sorted), worker);
    });
  }
  const bool whole = plan.graph().value(x).dtype == DType::i32;
  const float missing = whole ? std::bit_cast<float>(std::numeric_limits<std::int32_t>::min())
                              : std::numeric_limits<float>::quiet_NaN();
  plan.add_step(node, [=](RunContext& run, Worker& worker) {
    gather_forward(op, run.floats(in), integers(run, picked), missing, run.floats(out), worker);
  });
}

}  // namespace pycnn
