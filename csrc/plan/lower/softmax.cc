// SPDX-License-Identifier: Apache-2.0
#include "ops/softmax.h"

#include "plan/lower/rules.h"

namespace pycnn {

void lower_softmax(Lowering& plan, const FusedNode& node) {
  const Matrix m = as_matrix(plan.shape_of(node.inputs[0]));
  const RowMap op = make_row_map(m.rows, m.columns, plan.isa());
  const BufferId in = plan.buffer_of(node.inputs[0]), out = plan.buffer_of(node.outputs[0]);
  if (node.op == OpKind::softmax) {
    return plan.add_step(node, [=](RunContext& run, Worker& worker) {
      softmax_forward(op, run.floats(in), run.floats(out), worker);
    });
  }
  const BufferId dy = plan.buffer_of(node.inputs[1]);
  plan.add_step(node, [=](RunContext& run, Worker& worker) {
    softmax_backward(op, run.floats(in), run.floats(dy), run.floats(out), worker);
  });
}

}  // namespace pycnn
