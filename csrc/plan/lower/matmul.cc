// SPDX-License-Identifier: Apache-2.0
#include "ops/matmul.h"

#include "plan/lower/rules.h"

namespace pycnn {

void lower_matmul(Lowering& plan, const FusedNode& node) {
  const auto& [transpose_a, transpose_b] = node.attrs_as<MatmulAttrs>();
  const Matmul op = make_matmul(plan.shape_of(node.inputs[0]), transpose_a,
                                plan.shape_of(node.inputs[1]), transpose_b, plan.isa());
  plan.need_scratch(op.scratch_floats());
  const BufferId a = plan.buffer_of(node.inputs[0]), b = plan.buffer_of(node.inputs[1]),
                 y = plan.buffer_of(node.outputs[0]);
  plan.add_step(node, [=](RunContext& run, Worker& worker) {
    matmul(op, run.floats(a), run.floats(b), run.floats(y), worker);
  });
}

}  // namespace pycnn
