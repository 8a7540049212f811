// SPDX-License-Identifier: Apache-2.0
// Updates of parameters by ops of their own, and what guards them.
#include "ops/update.h"

#include "plan/lower/rules.h"
#include "plan/update_guard.h"

namespace pycnn {
namespace {

Sgd sgd_of(const Node& node, dim_t count, Isa isa) {
  const auto& a = node.attrs_as<SgdAttrs>();
  return make_sgd(count, a.momentum, a.nesterov, a.weight_decay, isa);
}

Adam adam_of(const Node& node, dim_t count, Isa isa) {
  const auto& a = node.attrs_as<AdamAttrs>();
  return make_adam(count, a.beta_1, a.beta_2, a.epsilon, a.weight_decay, isa);
}

}  // namespace

void lower_update(Lowering& plan, const FusedNode& node) {
  const ValueId target = node.inputs[0];
  const auto& variable = plan.owner_of(target);
  OptimizerState& slots = plan.optimizer();
  float* w = plan.state_of(target).data();
  const BufferId sample = plan.update_input(node, 1);
  const dim_t count = plan.count_of(target);
  plan.touch_now(sample);
  if (node.op == OpKind::assign) {
    plan.add_update(node, variable, [=](RunContext& run, Worker& worker) {
      copy_floats(run.floats(sample), w, count, worker);
    });
  } else if (node.op == OpKind::moving_average) {
    const MovingAverage op{count, node.attrs_as<MovingAverageAttrs>().momentum};
    plan.add_update(node, variable, [=](RunContext& run, Worker& worker) {
      moving_average_update(op, w, run.floats(sample), worker);
    });
  } else if (node.op == OpKind::sgd) {
    const Sgd op = sgd_of(node, count, plan.isa());
    float* velocity = op.momentum != 0 ? slots.slot(variable, "velocity").data() : nullptr;
    plan.add_update(node, variable, [=](RunContext& run, Worker& worker) {
      sgd_update(op, run.request->learning_rate, w, run.floats(sample), velocity, worker);
    });
  } else {
    const Adam op = adam_of(node, count, plan.isa());
    float *m = slots.slot(variable, "m").data(), *v = slots.slot(variable, "v").data();
    plan.add_update(node, variable, [=](RunContext& run, Worker& worker) {
      adam_update(op, run.request->learning_rate, run.random.step, w, run.floats(sample), m, v,
                  worker);
    });
  }
}

std::shared_ptr<UpdateGuard> make_guard(Lowering& plan, const FusedNode& update, BufferId largest) {
  const ValueId target = update.inputs[0];
  const std::string& name = plan.owner_name(target);
  const dim_t count = plan.count_of(target);
  const BufferId gradient = plan.update_input(update, 1);
  Tensor& w = plan.state_of(target);
  const auto slot = [&](const char* of) {
    return &plan.optimizer().slot(plan.owner_of(target), of);
  };
  switch (update.op) {
    case OpKind::sgd: {
      const Sgd op = sgd_of(update, count, plan.isa());
      Tensor* velocity = op.momentum != 0 ? slot("velocity") : nullptr;
      return std::make_shared<OptimizerGuard>(name, op, w, velocity, gradient, largest, plan.isa());
    }
    case OpKind::adam:
      return std::make_shared<OptimizerGuard>(name, adam_of(update, count, plan.isa()), w,
                                              *slot("m"), *slot("v"), gradient, largest,
                                              plan.isa());
    case OpKind::assign:
      return std::make_shared<AssignGuard>(name, w, largest);
    default:
      return std::make_shared<AverageGuard>(name, w);
  }
}

}  // namespace pycnn
