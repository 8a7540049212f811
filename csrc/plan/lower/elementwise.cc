// SPDX-License-Identifier: Apache-2.0
#include "ops/elementwise.h"

#include "plan/lower/rules.h"

namespace pycnn {

void lower_add(Lowering& plan, const FusedNode& node) {
  const Elementwise op = make_elementwise(plan.count_of(node.outputs[0]), plan.isa());
  const BufferId a = plan.buffer_of(node.inputs[0]), b = plan.buffer_of(node.inputs[1]),
                 y = plan.buffer_of(node.outputs[0]);
  plan.add_step(node, [=](RunContext& run, Worker& worker) {
    add_forward(op, run.floats(a), run.floats(b), run.floats(y), worker);
  });
}

void lower_activation(Lowering& plan, const FusedNode& node) {
  const auto& attrs = node.attrs_as<ActivationAttrs>();
  const Activation op =
      make_activation(plan.count_of(node.outputs[0]), attrs.kind, attrs.alpha, plan.isa());
  const BufferId in = plan.buffer_of(node.inputs[0]), out = plan.buffer_of(node.outputs[0]);
  if (node.op == OpKind::activation) {
    return plan.add_step(node, [=](RunContext& run, Worker& worker) {
      activation_forward(op, run.floats(in), run.floats(out), worker);
    });
  }
  const BufferId dy = plan.buffer_of(node.inputs[1]);
  plan.add_step(node, [=](RunContext& run, Worker& worker) {
    activation_backward(op, run.floats(in), run.floats(dy), run.floats(out), worker);
  });
}

// Its own gradient.
void lower_dropout(Lowering& plan, const FusedNode& node) {
  const auto& attrs = node.attrs_as<DropoutAttrs>();
  const Dropout op =
      make_dropout(plan.count_of(node.outputs[0]), attrs.rate, attrs.stream, plan.isa());
  const BufferId x = plan.buffer_of(node.inputs[0]), y = plan.buffer_of(node.outputs[0]);
  plan.add_step(node, [=](RunContext& run, Worker& worker) {
    dropout_forward(op, run.random, run.floats(x), run.floats(y), worker);
  });
}

}  // namespace pycnn
