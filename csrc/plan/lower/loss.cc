// SPDX-License-Identifier: Apache-2.0
#include "ops/loss.h"

#include "plan/lower/rules.h"

namespace pycnn {

void lower_loss(Lowering& plan, const FusedNode& node) {
  const auto& attrs = node.attrs_as<LossAttrs>();
  const Matrix m = as_matrix(plan.shape_of(node.inputs[1]));
  const Loss op = make_loss(m.rows, m.columns, attrs.kind, attrs.from_logits, plan.isa());
  const BufferId y_true = plan.buffer_of(node.inputs[0]), y_pred = plan.buffer_of(node.inputs[1]),
                 out = plan.buffer_of(node.outputs[0]);
  if (node.op == OpKind::loss) {
    const BufferId space = plan.workspace(op.workspace_floats());
    return plan.add_step(node, [=](RunContext& run, Worker& worker) {
      loss_forward(op, run.bytes(y_true), run.floats(y_pred), run.floats(out), run.floats(space),
                   worker);
    });
  }
  plan.add_step(node, [=](RunContext& run, Worker& worker) {
    loss_backward(op, run.bytes(y_true), run.floats(y_pred), run.floats(out), worker);
  });
}

void lower_metric(Lowering& plan, const FusedNode& node) {
  const auto& attrs = node.attrs_as<MetricAttrs>();
  const Matrix m = as_matrix(plan.shape_of(node.inputs[1]));
  const Metric op = make_metric(m.rows, m.columns, attrs.kind, attrs.threshold, plan.isa());
  const BufferId y_true = plan.buffer_of(node.inputs[0]), y_pred = plan.buffer_of(node.inputs[1]),
                 value = plan.buffer_of(node.outputs[0]),
                 space = plan.workspace(op.workspace_floats());
  plan.add_step(node, [=](RunContext& run, Worker& worker) {
    metric_forward(op, run.bytes(y_true), run.floats(y_pred), run.floats(value), run.floats(space),
                   worker);
  });
}

}  // namespace pycnn
