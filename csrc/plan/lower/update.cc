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

BufferId Lowering::update_input(const FusedNode& update, std::size_t k) const {
  return update_inputs_[static_cast<std::size_t>(&update - nodes_.data())][k].buffer;
}

// Parameters and slots that this step changes, seen through views of them.
bool Lowering::is_written_state(ValueId v) const {
  const Node* made = &graph_.producer(v);
  while (made->op == OpKind::reshape) made = &graph_.producer(made->inputs[0]);
  if (made->op != OpKind::parameter && made->op != OpKind::slot) return false;
  return std::ranges::any_of(nodes_, [&](const FusedNode& node) {
    return is_update(node.op) && node.inputs[0] == made->outputs[0];
  });
}

// What an update reads was computed, or copied, before the first update.
Lowering::UpdateInput Lowering::prepare_input(const FusedNode& update, std::size_t k) {
  const ValueId v = update.inputs[k];
  const auto& wanted = schedule_.layout[update.inputs[0]];
  UpdateInput input{as_layout(v, wanted), kNoBuffer};
  if (update.op == OpKind::assign && input.buffer == buffer_of(v) && is_written_state(v)) {
    input.buffer = copied(v, input.buffer, wanted, wanted);
  }
  return input;
}

void Lowering::prepare_updates(std::size_t first) {
  update_inputs_.resize(nodes_.size());
  for (std::size_t i = first; i < nodes_.size(); ++i) {
    update_inputs_[i] = {{}, prepare_input(nodes_[i], 1)};
  }
  for (std::size_t i = first; i < nodes_.size(); ++i) {
    const ValueId v = nodes_[i].inputs[1];
    UpdateInput& input = update_inputs_[i][1];
    // What is assigned need not be a gradient: its guard says what is wrong.
    input.largest = lower_check(graph_.value(v).name, input.buffer, count_of(nodes_[i].inputs[0]),
                                nodes_[i].op != OpKind::assign);
  }
  lower_guards();
}

std::shared_ptr<UpdateGuard> Lowering::make_guard(const FusedNode& update) const {
  const ValueId target = update.inputs[0];
  const auto& input = update_inputs_[static_cast<std::size_t>(&update - nodes_.data())][1];
  const std::string& name = owner_name(target);
  const dim_t count = count_of(target);
  Tensor& w = state_of(target);
  const auto slot = [&](const char* of) { return &optimizer_.slot(owner_of(target), of); };
  if (update.op == OpKind::sgd) {
    const Sgd op = sgd_of(update, count, isa());
    return std::make_shared<OptimizerGuard>(name, op, w,
                                            op.momentum != 0 ? slot("velocity") : nullptr,
                                            input.buffer, input.largest, isa());
  }
  if (update.op == OpKind::adam) {
    return std::make_shared<OptimizerGuard>(name, adam_of(update, count, isa()), w, *slot("m"),
                                            *slot("v"), input.buffer, input.largest, isa());
  }
  if (update.op == OpKind::assign) {
    return std::make_shared<AssignGuard>(name, w, input.largest);
  }
  return std::make_shared<AverageGuard>(name, w);
}

void Lowering::lower_guards() {
  for (const FusedNode& node : nodes_) {
    if (!is_update(node.op)) continue;
    schedule_.guards.push_back(make_guard(node));
    touch_now(update_input(node, 1));
  }
  add_check("check_updates", "", [guards = schedule_.guards](RunContext& run, Worker& worker) {
    worker.barrier();  // others may still be looking at what the check before has found
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

BufferId Lowering::lower_check(const std::string& name, BufferId x, dim_t count, bool stops) {
  const BufferId largest = new_buffer(sizeof(float));
  keep(largest);
  touch_now(x);
  add_check("check_finite", name, [=, isa = isa()](RunContext& run, Worker& worker) {
    float* size = run.floats(largest);
    max_abs(run.floats(x), count, isa, size, worker);
    worker.single([&] { run.failed = run.failed || (stops && !std::isfinite(*size)); });
  });
  return largest;
}

}  // namespace pycnn
