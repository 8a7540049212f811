// SPDX-License-Identifier: Apache-2.0
// Updates of parameters, and what is found out about them before the first one writes.
#include <algorithm>
#include <cmath>

#include "ops/loss.h"
#include "ops/optimizer.h"
#include "plan/lowering.h"
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

void Lowering::lower_guards() {
  for (const Node& node : nodes_) {
    if (node.op != OpKind::sgd && node.op != OpKind::adam) continue;
    const std::string& name = graph_.producer(node.inputs[0]).name;
    const auto& variable = parameters_.variable(name);
    const ValueId gradient = node.inputs[1];
    const BufferId g = buffer_of(gradient);
    const auto check = std::find_if(program_.checks.begin(), program_.checks.end(),
                                    [&](const Check& c) { return c.value == gradient; });
    const dim_t count = count_of(gradient);
    Tensor& w = variable->values();
    if (node.op == OpKind::sgd) {
      const Sgd op = sgd_of(node, count, isa());
      Tensor* velocity = op.momentum != 0 ? &optimizer_.slot(variable, "velocity") : nullptr;
      program_.guards.push_back(
          std::make_shared<UpdateGuard>(name, op, w, velocity, g, check->largest, isa()));
    } else {
      program_.guards.push_back(std::make_shared<UpdateGuard>(
          name, adam_of(node, count, isa()), w, optimizer_.slot(variable, "m"),
          optimizer_.slot(variable, "v"), g, check->largest, isa()));
    }
    touch(g, static_cast<int>(program_.steps.size()));
  }
  add_step("check_updates", "", [guards = program_.guards](RunContext& run, Worker& worker) {
    worker.single([&] {
      for (const auto& guard : guards) {
        if (guard->stays_finite(run) || !run.check_finite) continue;
        run.overflowing = &guard->name();
        run.failed = true;
        return;
      }
      for (const auto& guard : guards) guard->commit();
      run.updating.emplace(fork_gate(), Access::shared, "update");
    });
  });
  program_.steps.back().is_check = true;
}

void Lowering::lower_update(const Node& node) {
  const ValueId parameter = node.inputs[0];
  const auto& variable = parameters_.variable(graph_.producer(parameter).name);
  float* w = variable->values().data();
  program_.updated.push_back(variable);
  const BufferId sample = buffer_of(node.inputs[1]);
  const dim_t count = count_of(node.inputs[1]);
  if (node.op == OpKind::moving_average) {
    const MovingAverage op{count, node.attrs_as<MovingAverageAttrs>().momentum};
    add_step("moving_average", node.name, [=](RunContext& run, Worker& worker) {
      moving_average_update(op, w, run.floats(sample), worker);
    });
  } else if (node.op == OpKind::sgd) {
    const Sgd op = sgd_of(node, count, isa());
    float* velocity = op.momentum != 0 ? optimizer_.slot(variable, "velocity").data() : nullptr;
    add_step("sgd", node.name, [=](RunContext& run, Worker& worker) {
      sgd_update(op, run.learning_rate, w, run.floats(sample), velocity, worker);
    });
  } else {
    const Adam op = adam_of(node, count, isa());
    float *m = optimizer_.slot(variable, "m").data(), *v = optimizer_.slot(variable, "v").data();
    add_step("adam", node.name, [=](RunContext& run, Worker& worker) {
      adam_update(op, run.learning_rate, run.random.step, w, run.floats(sample), m, v, worker);
    });
  }
  program_.steps.back().changes_state = true;
}

void Lowering::lower_check(ValueId v) {
  const BufferId x = buffer_of(v), largest = new_buffer(sizeof(float));
  kept_.push_back(largest);
  program_.checks.push_back({v, largest});
  const dim_t count = count_of(v);
  touch(x, static_cast<int>(program_.steps.size()));
  const Isa isa = parameters_.isa();
  add_step("check_finite", graph_.value(v).name, [=](RunContext& run, Worker& worker) {
    float* size = run.floats(largest);
    max_abs(run.floats(x), count, isa, size, worker);
    worker.single([&] { run.failed = run.failed || !std::isfinite(*size); });
  });
  program_.steps.back().is_check = true;
}

}  // namespace pycnn
