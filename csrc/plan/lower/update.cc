// SPDX-License-Identifier: Apache-2.0
// Updates of parameters, and what is found out about them before the first one writes.
#include "ops/update.h"

#include <algorithm>
#include <cmath>

#include "ops/loss.h"
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
  const auto& variable = plan.variable_of(node.inputs[0]);
  OptimizerState& slots = plan.optimizer();
  float* w = variable->values().data();
  const BufferId sample = plan.buffer_of(node.inputs[1]);
  const dim_t count = plan.count_of(node.inputs[1]);
  if (node.op == OpKind::moving_average) {
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

void Lowering::lower_guards() {
  for (const FusedNode& node : nodes_) {
    if (node.op != OpKind::sgd && node.op != OpKind::adam) continue;
    const auto& variable = variable_of(node.inputs[0]);
    const std::string& name = graph_.producer(node.inputs[0]).name;
    const ValueId gradient = node.inputs[1];
    const BufferId g = buffer_of(gradient);
    const auto check = std::ranges::find(schedule_.checks, gradient, &Check::value);
    const dim_t count = count_of(gradient);
    Tensor& w = variable->values();
    if (node.op == OpKind::sgd) {
      const Sgd op = sgd_of(node, count, isa());
      Tensor* velocity = op.momentum != 0 ? &optimizer_.slot(variable, "velocity") : nullptr;
      schedule_.guards.push_back(
          std::make_shared<UpdateGuard>(name, op, w, velocity, g, check->largest, isa()));
    } else {
      schedule_.guards.push_back(std::make_shared<UpdateGuard>(
          name, adam_of(node, count, isa()), w, optimizer_.slot(variable, "m"),
          optimizer_.slot(variable, "v"), g, check->largest, isa()));
    }
    touch_now(g);
  }
  add_check("check_updates", "", [guards = schedule_.guards](RunContext& run, Worker& worker) {
    worker.single([&] {
      for (const auto& guard : guards) {
        if (guard->stays_finite(run) || !run.request->check_finite) continue;
        run.overflowing = &guard->name();
        run.failed = true;
        return;
      }
      for (const auto& guard : guards) guard->commit();
      run.updating.emplace(fork_gate(), Access::shared, "update");
    });
  });
}

void Lowering::lower_check(ValueId v) {
  const BufferId x = buffer_of(v), largest = new_buffer(sizeof(float));
  keep(largest);
  schedule_.checks.push_back({v, largest});
  const dim_t count = count_of(v);
  const Isa isa = parameters_.isa();
  touch_now(x);
  add_check("check_finite", graph_.value(v).name, [=](RunContext& run, Worker& worker) {
    float* size = run.floats(largest);
    max_abs(run.floats(x), count, isa, size, worker);
    worker.single([&] { run.failed = run.failed || !std::isfinite(*size); });
  });
}

}  // namespace pycnn
