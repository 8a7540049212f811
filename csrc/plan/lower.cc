// SPDX-License-Identifier: Apache-2.0
#include "plan/lower.h"

#include <algorithm>
#include <cassert>
#include <numeric>

#include "graph/op.h"
#include "plan/lower/rules.h"

namespace pycnn {
Lowering::Lowering(const Graph& graph, const FusedGraph& fused, Parameters& parameters,
                   OptimizerState& optimizer, dim_t batch, bool counts_steps)
    : graph_(graph),
      nodes_(fused.nodes),
      parameters_(parameters),
      optimizer_(optimizer),
      batch_(batch),
      trains_(std::ranges::any_of(nodes_, changes_state)),
      checks_(trains_ || counts_steps) {
  const std::size_t values = graph.values().size();
  schedule_.value_buffer = IdVector<ValueId, BufferId>(values);
  schedule_.layout = IdVector<ValueId, std::optional<PackedWeights>>(values);
  needed_until_ = IdVector<ValueId, std::size_t>(values);
  for (const Shape& shape : fused.shapes) schedule_.shapes.push_back(shape.with_batch(batch));
}

dim_t Lowering::count_of(ValueId v) const {
  const auto& layout = schedule_.layout[v];
  return layout ? layout->count() : shape_of(v).count();
}

std::size_t Lowering::bytes_of(ValueId v) const {
  return pycnn::bytes_of(count_of(v), graph_.value(v).dtype);
}

// Of a step that trains or is counted: a loss whose gradients were taken or, where that are none,
// the graph's first. Others are metrics, which may be what they like.
bool Lowering::is_objective(const Node& loss) const {
  if (!checks_) return false;
  const Node* first = nullptr;
  bool taken = false;
  for (const Node& node : graph_.nodes()) {
    if (node.op == OpKind::loss && first == nullptr) first = &node;
    if (node.op != OpKind::loss_backward) continue;
    taken = true;
    const auto &mine = loss.attrs_as<LossAttrs>(), &its = node.attrs_as<LossAttrs>();
    if (node.inputs == loss.inputs && mine.kind == its.kind &&
        mine.from_logits == its.from_logits) {
      return true;
    }
  }
  return !taken && first->outputs == loss.outputs;
}

// The first output of a step, where it is one number that was made of losses or of a user's own.
bool Lowering::is_total(const Node& node) const {
  if (!checks_ || graph_.outputs().empty()) return false;
  const ValueId total = graph_.outputs()[0];
  return graph_.shape(total).rank() == 0 && graph_.value(total).dtype == DType::f32 &&
         std::ranges::find(node.outputs, total) != node.outputs.end();
}

void Lowering::find_last_uses() {
  for (std::size_t i = 0; i < nodes_.size(); ++i) {
    for_each_read(nodes_[i], [&](ValueId v) { needed_until_[v] = i + 1; });
  }
  for (const ValueId v : graph_.outputs()) needed_until_[v] = nodes_.size() + 1;
}

BufferId Lowering::new_buffer(std::size_t bytes) {
  occupied_until_.push_back(0);
  return schedule_.buffers.push_back({.bytes = bytes});
}

BufferId Lowering::fixed_buffer(void* memory) {
  const BufferId buffer = new_buffer(0);
  schedule_.buffers[buffer].fixed = static_cast<std::byte*>(memory);
  return buffer;
}

const std::shared_ptr<Variable>& Lowering::variable_of(ValueId parameter) const {
  return parameters_.variable(graph_.producer(parameter).name);
}

float* Lowering::keep_constant(const Node& node) {
  schedule_.constants.push_back(node.attrs_as<ConstantAttrs>().values);
  return schedule_.constants.back().data();
}

const std::string& Lowering::owner_name(ValueId state) const {
  const Node& node = graph_.producer(state);
  return node.op == OpKind::slot ? graph_.producer(node.inputs[0]).name : node.name;
}

const std::shared_ptr<Variable>& Lowering::owner_of(ValueId state) const {
  return parameters_.variable(owner_name(state));
}

Tensor& Lowering::state_of(ValueId state) const {
  const Node& node = graph_.producer(state);
  if (node.op == OpKind::parameter) return variable_of(state)->values();
  return optimizer_.slot(owner_of(state), node.name);
}

FoldedWeights* Lowering::fold_norm(const FusedNode& node) {
  if (!node.norm) return nullptr;
  const auto values = [&](ValueId v) -> const float* {
    return v.has_value() ? variable_of(v)->values().data() : nullptr;
  };
  const FusedNorm& norm = *node.norm;
  const FoldSource source{
      values(node.inputs[1]), values(node.inputs[2]), values(norm.gamma), values(norm.beta),
      values(norm.mean),      values(norm.var),       norm.epsilon};
  schedule_.folded.push_back(parameters_.folded(source, *schedule_.layout[node.inputs[1]]));
  return schedule_.folded.back().get();
}

// The buffer of an input that ends with node i, where the output may take its place.
BufferId Lowering::taken_buffer(const FusedNode& node, ValueId out, std::size_t i) const {
  const int in_place = definition(node.op).in_place;
  for (std::size_t k = 0; k < node.inputs.size(); ++k) {
    const ValueId in = node.inputs[k];
    if (in_place != kAnyInput && in_place != static_cast<int>(k)) continue;
    const BufferId candidate = buffer_of(in);
    const bool ends_here = occupied_until_[candidate] == i + 1;
    const bool computed = schedule_.buffers[candidate].fixed == nullptr;
    if (ends_here && computed && bytes_of(in) == bytes_of(out)) return candidate;
  }
  return kNoBuffer;
}

// Gives each output of node i a buffer: its own, or an input's that ends here.
void Lowering::assign_buffers(std::size_t i) {
  const FusedNode& node = nodes_[i];
  const bool optional_second = node.op == OpKind::max_pool2d || node.pool.h != 0;  // arg
  for (std::size_t j = 0; j < node.outputs.size(); ++j) {
    const ValueId out = node.outputs[j];
    BufferId buffer = kNoBuffer;
    if (node.op == OpKind::parameter || node.op == OpKind::slot) {
      buffer = fixed_buffer(state_of(out).data());
    } else if (node.op == OpKind::constant) {
      buffer = fixed_buffer(keep_constant(node));
    } else if (j == 0 && definition(node.op).is_view) {
      buffer = as_layout(node.inputs[0], std::nullopt);  // of a packed value: a copy
    } else if (j == 0) {
      buffer = taken_buffer(node, out, i);
    }
    const bool wanted = needed_until_[out] > 0;
    if (!buffer.has_value() && (wanted || j == 0 || !optional_second)) {
      buffer = new_buffer(bytes_of(out));
    }
    schedule_.value_buffer[out] = buffer;
    if (!buffer.has_value()) continue;
    std::size_t& until = occupied_until_[buffer];
    until = std::max({until, needed_until_[out], i + 1});
    // A reshape shares its memory with views still to come: they extend it when they are assigned.
  }
}

void Lowering::touch(BufferId buffer, int step) {
  assert(step >= 0);
  if (!buffer.has_value()) return;
  std::optional<StepRange>& used = schedule_.buffers[buffer].used;
  if (!used) used = StepRange{step, step};
  used->first = std::min(used->first, step);
  used->last = std::max(used->last, step);
}

void Lowering::add_step(const Node& node, StepFn run) {
  schedule_.steps.push_back({.op = name_of(node.op), .name = node.name, .run = std::move(run)});
}

void Lowering::add_update(const Node& node, const std::shared_ptr<Variable>& variable, StepFn run) {
  add_step(node, std::move(run));
  schedule_.steps.back().changes_state = true;
  schedule_.updated.push_back(variable);
}

void Lowering::add_check(const std::string& op, const std::string& name, StepFn run) {
  schedule_.steps.push_back({.op = op, .name = name, .run = std::move(run), .is_check = true});
}

BufferId Lowering::workspace(dim_t count, DType dtype) {
  assert(count >= 0);
  if (count == 0) return kNoBuffer;
  const BufferId buffer = new_buffer(pycnn::bytes_of(count, dtype));
  touch(buffer, static_cast<int>(schedule_.steps.size()));
  return buffer;
}

void Lowering::need_scratch(dim_t count, DType dtype) {
  schedule_.scratch_bytes = std::max(schedule_.scratch_bytes, pycnn::bytes_of(count, dtype));
}

// Errors about memory name the node.
void Lowering::lower_named(const FusedNode& node) {
  try {
    lowering_rule(node.op)(*this, node);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::memory) throw;
    throw Error(error.kind(), concat(name_of(node.op), " '", node.name, "': ", error.what()));
  }
}

Schedule Lowering::lower() {
  propagate_layouts();
  find_last_uses();
  int inputs = 0;
  bool checked = false;
  for (std::size_t i = 0; i < nodes_.size(); ++i) {
    const FusedNode& node = nodes_[i];
    assign_buffers(i);
    const int first_step = static_cast<int>(schedule_.steps.size());
    if (changes_state(node) && !checked) {
      prepare_updates(i);
      checked = true;
    }
    const std::vector<Replaced> replaced = unpack_inputs(node);
    if (node.op == OpKind::input) {
      lower_input(node, inputs++);
    } else {
      lower_named(node);
    }
    for (const Replaced& r : replaced) {
      touch(buffer_of(r.value), static_cast<int>(schedule_.steps.size()) - 1);
    }
    put_back(replaced);
    for (int s = first_step; s < static_cast<int>(schedule_.steps.size()); ++s) {
      for (const ValueId v : node.outputs) touch(schedule_.value_buffer[v], s);
      for_each_read(node, [&](ValueId v) { touch(schedule_.value_buffer[v], s); });
    }
    if (node.op == OpKind::loss ? is_objective(node) : is_total(node)) {
      const ValueId v = node.outputs[0];
      lower_check(graph_.value(v).name, buffer_of(v), count_of(v), true);
    }
  }
  for (std::size_t k = 0; k < graph_.outputs().size(); ++k) {
    lower_output(graph_.outputs()[k], static_cast<int>(k));
    touch(buffer_of(graph_.outputs()[k]), static_cast<int>(schedule_.steps.size()));
  }
  for (const BufferId buffer : kept_) {  // alive in all steps: no other buffer takes its place
    touch(buffer, 0);
    touch(buffer, static_cast<int>(schedule_.steps.size()));
  }
  keep_lendable();
  return std::move(schedule_);
}

Schedule lower(const Graph& graph, const FusedGraph& fused, Parameters& parameters,
               OptimizerState& optimizer, dim_t batch, bool counts_steps) {
  return Lowering(graph, fused, parameters, optimizer, batch, counts_steps).lower();
}

}  // namespace pycnn
