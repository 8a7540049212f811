// SPDX-License-Identifier: Apache-2.0
#include "ops/reduce.h"
#include "plan/lower/rules.h"

namespace pycnn {

// The 1x1 convolution of a row of pixels.
void lower_dense(Lowering& plan, const FusedNode& node) {
  const bool weights = node.op == OpKind::dense_backward_weights;
  const Shape& x = plan.shape_of(node.inputs[node.op == OpKind::dense_backward_data ? 2 : 0]);
  const Shape& w = plan.shape_of(node.inputs[weights ? 2 : 1]);
  Conv2dShape shape;
  shape.W = as_matrix(x).rows;
  shape.C = w[0];
  shape.K = w[1];
  lower_product(plan, node, shape);
}

void lower_bias_backward(Lowering& plan, const FusedNode& node) {
  const BufferId dy = plan.buffer_of(node.inputs[0]), db = plan.buffer_of(node.outputs[0]);
  const Matrix m = as_matrix(plan.shape_of(node.inputs[0]));
  const RowReduction op = make_row_reduction(m.rows, m.columns, plan.isa());
  const BufferId space = plan.workspace(op.workspace_floats());
  plan.add_step(node, [=](RunContext& run, Worker& worker) {
    bias_backward(op, run.floats(dy), run.floats(db), run.floats(space), worker);
  });
}

}  // namespace pycnn
