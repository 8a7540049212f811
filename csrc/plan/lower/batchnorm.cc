// SPDX-License-Identifier: Apache-2.0
#include "ops/batchnorm.h"

#include "plan/lower/rules.h"

namespace pycnn {

void lower_batch_norm(Lowering& plan, const FusedNode& node) {
  const Matrix m = as_matrix(plan.shape_of(node.inputs[0]));
  const BatchNorm op =
      make_batch_norm(m.rows, m.columns, node.attrs_as<BatchNormAttrs>().epsilon, plan.isa());
  const BufferId space = plan.workspace(op.reduction.workspace_floats());
  std::vector<BufferId> in, out;
  for (const ValueId v : node.inputs) in.push_back(plan.buffer_of(v));
  for (const ValueId v : node.outputs) out.push_back(plan.buffer_of(v));
  if (node.op == OpKind::batch_norm_training) {
    return plan.add_step(node, [=](RunContext& run, Worker& worker) {
      batch_norm_training_forward(op, run.floats(in[0]), run.floats(in[1]), run.floats(in[2]),
                                  run.floats(out[0]), run.floats(out[1]), run.floats(out[2]),
                                  run.floats(space), worker);
    });
  }
  if (node.op == OpKind::batch_norm_inference) {
    return plan.add_step(node, [=](RunContext& run, Worker& worker) {
      batch_norm_inference_forward(op, run.floats(in[0]), run.floats(in[1]), run.floats(in[2]),
                                   run.floats(in[3]), run.floats(in[4]), run.floats(out[0]),
                                   run.floats(space), worker);
    });
  }
  plan.add_step(node, [=](RunContext& run, Worker& worker) {
    batch_norm_backward(op, run.floats(in[0]), run.floats(in[1]), run.floats(in[2]),
                        run.floats(in[3]), run.floats(in[4]), run.floats(out[0]),
                        run.floats(out[1]), run.floats(out[2]), run.floats(space), worker);
  });
}

}  // namespace pycnn
