// SPDX-License-Identifier: Apache-2.0
// What updates read, and what is found out about them, before the first one writes.
#include <algorithm>
#include <cmath>

#include "ops/loss.h"
#include "plan/lower/rules.h"
#include "plan/map_guard.h"
#include "plan/update_guard.h"

namespace pycnn {

const std::vector<Lowering::UpdateInput>& Lowering::inputs_of(const FusedNode& update) const {
  return update_inputs_[static_cast<std::size_t>(&update - nodes_.data())];
}

BufferId Lowering::update_input(const FusedNode& update, std::size_t k) const {
  return inputs_of(update)[k].buffer;
}

ValueId Lowering::first_target(const FusedNode& update) const {
  return update.targets.empty() ? update.inputs[0] : update.targets[0];
}

// What an update reads was computed, or copied, before the first update.
Lowering::UpdateInput Lowering::prepare_input(const FusedNode& update, std::size_t k) {
  const ValueId v = update.inputs[k];
  const auto& wanted = schedule_.layout[first_target(update)];
  const bool is_number = !update.targets.empty() && shape_of(v).count() == 1;
  UpdateInput input{is_number ? buffer_of(v) : as_layout(v, wanted), kNoBuffer};
  const ValueId state = state_behind(graph_, v);
  if (update.op == OpKind::assign && input.buffer == buffer_of(v) && state.has_value() &&
      is_written_[state]) {
    input.buffer = copied(v, input.buffer, wanted, wanted);
  }
  return input;
}

void Lowering::prepare_updates(std::size_t first) {
  update_inputs_.resize(nodes_.size());
  is_written_ = IdVector<ValueId, bool>(graph_.values().size());
  for (const FusedNode& node : nodes_) {
    for_each_written(graph_, node, [&](ValueId v) { is_written_[v] = true; });
  }
  for (std::size_t i = first; i < nodes_.size(); ++i) {
    const std::size_t own = nodes_[i].targets.empty() ? 1 : 0;  // the target itself
    update_inputs_[i].resize(nodes_[i].inputs.size());
    for (std::size_t k = own; k < nodes_[i].inputs.size(); ++k) {
      update_inputs_[i][k] = prepare_input(nodes_[i], k);
    }
  }
  for (std::size_t i = first; i < nodes_.size(); ++i) {
    const bool is_map = !nodes_[i].targets.empty();
    const dim_t count = count_of(first_target(nodes_[i]));
    for (std::size_t k = is_map ? 0 : 1; k < nodes_[i].inputs.size(); ++k) {
      const ValueId v = nodes_[i].inputs[k];
      if (is_map && (is_state(v) || shape_of(v).count() == 1)) continue;
      // What is assigned need not be a gradient: its guard says what is wrong.
      const bool stops = !is_map && nodes_[i].op != OpKind::assign;
      UpdateInput& input = update_inputs_[i][k];
      input.largest = lower_check(graph_.value(v).name, input.buffer, count, stops);
    }
  }
  lower_guards();
}

bool Lowering::is_state(ValueId v) const { return state_behind(graph_, v) == v; }

std::shared_ptr<MapGuard> Lowering::make_map_guard(const FusedNode& update) {
  const ValueId target = update.targets[0];
  const auto& expression = update.attrs_as<MapAttrs>().expression;
  MapGuard::Work work{.expression = expression, .layout = schedule_.layout[target], .isa = isa()};
  for (const ValueId state : update.targets) work.targets.push_back(&state_of(state));
  for (std::size_t k = 0; k < update.inputs.size(); ++k) {
    const ValueId v = update.inputs[k];
    const UpdateInput& input = inputs_of(update)[k];
    work.inputs.push_back({.buffer = input.buffer,
                           .state = is_state(v) ? &state_of(v) : nullptr,
                           .largest = input.largest,
                           .dtype = graph_.value(v).dtype});
    touch_now(input.buffer);
  }
  const dim_t count = count_of(target);
  work.trial = {
      make_block_program(expression, Shape{count}, flat_inputs(update), {}, batch_, isa()), count};
  need_scratch(work.trial.program.scratch_floats());
  return std::make_shared<MapGuard>(owner_name(target), std::move(work));
}

std::vector<MapInput> Lowering::flat_inputs(const FusedNode& node) const {
  std::vector<MapInput> inputs;
  for (const ValueId v : node.inputs) {
    const dim_t count = shape_of(v).count();
    const dim_t whole = count_of(node.targets.empty() ? node.outputs[0] : node.targets[0]);
    inputs.push_back({count == 1 ? Shape{} : Shape{whole}, graph_.value(v).dtype});
  }
  return inputs;
}

// A step of its own: it may be stopped, and what is found is kept only once it is complete.
void Lowering::try_maps() {
  std::vector<std::shared_ptr<MapGuard>> guards;
  for (const FusedNode& node : nodes_) {
    if (!node.targets.empty()) guards.push_back(make_map_guard(node));
  }
  if (guards.empty()) return;
  schedule_.guards.insert(schedule_.guards.end(), guards.begin(), guards.end());
  const auto open = std::make_shared<std::vector<char>>(guards.size());
  schedule_.steps.push_back({.op = "try_updates", .run = [=](RunContext& run, Worker& worker) {
                               worker.single([&] {
                                 for (std::size_t i = 0; i < guards.size(); ++i) {
                                   (*open)[i] =
                                       guards[i]->is_open(run) && run.request->check_finite;
                                 }
                               });
                               for (std::size_t i = 0; i < guards.size(); ++i) {
                                 if ((*open)[i]) guards[i]->evaluate(run, worker);
                               }
                             }});
}

void Lowering::lower_guards() {
  try_maps();
  for (const FusedNode& node : nodes_) {
    if (!is_update(node.op)) continue;
    schedule_.guards.push_back(make_guard(*this, node, inputs_of(node)[1].largest));
    touch_now(update_input(node, 1));
  }
  add_check("check_updates", "", [guards = schedule_.guards](RunContext& run, Worker& worker) {
    worker.barrier();  // others may still be looking at what the check before has found
    worker.single([&] {
      for (const auto& guard : guards) {
        if (guard->stays_finite(run) || !run.request->check_finite) continue;
        run.overflowing = guard->blames_input(run) ? nullptr : &guard->name();
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
