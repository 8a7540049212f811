// SPDX-License-Identifier: Apache-2.0
#include "plan/lower.h"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <numeric>

#include "plan/fuse.h"
#include "plan/lowering.h"

namespace pycnn {
namespace {

// Ops that may write their result over this input, element by element.
std::optional<std::size_t> in_place_input(OpKind op) {
  switch (op) {
    case OpKind::activation:
    case OpKind::dropout:
    case OpKind::dropout_backward:
    case OpKind::add:
    case OpKind::softmax:
      return 0;
    case OpKind::activation_backward:
    case OpKind::softmax_backward:
    case OpKind::loss_backward:
      return 1;
    case OpKind::batch_norm_backward:
      return 4;
    default:
      return std::nullopt;
  }
}

}  // namespace

Lowering::Lowering(const Graph& graph, const std::vector<Node>& nodes, Parameters& parameters,
                   OptimizerState& optimizer, dim_t batch, bool counts_steps)
    : graph_(graph),
      nodes_(nodes),
      parameters_(parameters),
      optimizer_(optimizer),
      batch_(batch),
      trains_(
          std::any_of(nodes.begin(), nodes.end(), [](const Node& n) { return is_update(n.op); })),
      checks_(trains_ || counts_steps) {
  const std::size_t values = graph.values().size();
  program_.value_buffer = IdVector<ValueId, BufferId>(values);
  program_.layout = IdVector<ValueId, std::optional<PackedWeights>>(values);
  needed_until_ = IdVector<ValueId, std::size_t>(values);
  for (const Value& value : graph.values())
    program_.shapes.push_back(value.shape.with_batch(batch));
}

std::size_t Lowering::bytes_of(ValueId v) const {
  const auto& layout = program_.layout[v];
  const dim_t count = layout ? layout->count() : shape_of(v).count();
  return (Checked(count) * size_of(graph_.value(v).dtype)).bytes();
}

// The layout of a parameter, which must be what this graph takes it for.
std::optional<PackedWeights> Lowering::stored_layout(const ParameterSpec& wanted) const {
  const Variable& stored = *parameters_.variable(wanted.name);
  PYCNN_CHECK_SHAPE(wanted.shape == stored.shape(), "parameter ", wanted.name,
                    ": the graph expects ", wanted.shape.text(), ", the parameters hold ",
                    stored.shape().text());
  PYCNN_CHECK_VALUE(!wanted.read || wanted.packed == stored.layout(), "parameter ", wanted.name,
                    ": the parameters hold it for another op or number of groups");
  return stored.layout();
}

// Kernels and their gradients are packed; sums of such gradients, too. Nothing else may read them.
void Lowering::propagate_layouts() {
  for (const ParameterSpec& spec : parameter_specs(graph_, isa())) {
    program_.layout[graph_.parameter_named(spec.name)] = stored_layout(spec);
  }
  for (const Node& node : nodes_) {
    std::optional<PackedWeights> layout;
    if (node.op == OpKind::parameter) {
      layout = program_.layout[node.outputs[0]];
    } else if (node.op == OpKind::conv2d_backward_weights ||
               node.op == OpKind::dense_backward_weights) {
      layout = program_.layout[node.inputs[2]];
      PYCNN_CHECK_VALUE(layout.has_value(), node.name, ": backward_weights needs a parameter as w");
    } else if (node.op == OpKind::add || is_update(node.op)) {
      layout = program_.layout[node.inputs[0]];
      PYCNN_CHECK_VALUE(layout == program_.layout[node.inputs[1]], name_of(node.op), " '",
                        node.name,
                        "': a kernel or its gradient meets an ordinary value, or one of another "
                        "number of groups");
    } else {
      check_plain_inputs(node);
    }
    if (layout && !node.outputs.empty()) program_.layout[node.outputs[0]] = layout;
  }
}

// The value is a kernel that lies as this layer reads it.
void Lowering::check_kernel(const Node& node, ValueId w, const Conv2dShape& s) const {
  PYCNN_CHECK_VALUE(program_.layout[w] == make_packed_weights(s.R, s.S, s.C, s.K, s.G, isa()),
                    node.name, ": the kernel must be a parameter");
}

// Of the packed values only parameters in their place as a kernel may be read.
void Lowering::check_plain_inputs(const Node& node) const {
  for (std::size_t j = 0; j < node.inputs.size(); ++j) {
    const ValueId v = node.inputs[j];
    if (!v.has_value() || !program_.layout[v]) continue;
    PYCNN_CHECK_VALUE(graph_.producer(v).op == OpKind::parameter, node.name,
                      ": the gradient of a kernel can only be added, applied or returned");
  }
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

void Lowering::find_last_uses() {
  for (std::size_t i = 0; i < nodes_.size(); ++i) {
    for (std::size_t j = 0; j < nodes_[i].inputs.size(); ++j) {
      const ValueId v = nodes_[i].inputs[j];
      if (v.has_value() && reads(nodes_[i], j)) needed_until_[v] = i + 1;
    }
  }
  for (const ValueId v : graph_.outputs()) needed_until_[v] = nodes_.size() + 1;
}

BufferId Lowering::new_buffer(std::size_t bytes) {
  occupied_until_.push_back(0);
  return program_.buffers.push_back({.bytes = bytes});
}

BufferId Lowering::fixed_buffer(float* memory) {
  const BufferId buffer = new_buffer(0);
  program_.buffers[buffer].fixed = memory;
  return buffer;
}

float* Lowering::parameter_of(ValueId v) {
  if (!v.has_value()) return nullptr;
  return parameters_.variable(graph_.producer(v).name)->values().data();
}

FoldedWeights* Lowering::fold_norm(const Node& node) {
  if (node.inputs.size() <= 4) return nullptr;
  const auto* conv = std::get_if<Conv2dAttrs>(&node.attrs);
  const FoldSource source{
      parameter_of(node.inputs[1]),
      parameter_of(node.inputs[2]),
      parameter_of(node.inputs[4]),
      parameter_of(node.inputs[5]),
      parameter_of(node.inputs[6]),
      parameter_of(node.inputs[7]),
      conv != nullptr ? conv->norm_epsilon : node.attrs_as<DenseAttrs>().norm_epsilon};
  program_.folded.push_back(parameters_.folded(source, *program_.layout[node.inputs[1]]));
  return program_.folded.back().get();
}

// Gives each output of node i a buffer: its own, or an input's that ends here.
void Lowering::assign_buffers(std::size_t i) {
  const Node& node = nodes_[i];
  const bool optional_second = node.op == OpKind::max_pool2d || node.op == OpKind::conv2d;  // arg
  for (std::size_t j = 0; j < node.outputs.size(); ++j) {
    const ValueId out = node.outputs[j];
    BufferId buffer = kNoBuffer;
    if (node.op == OpKind::parameter) {
      buffer = fixed_buffer(parameter_of(out));
    } else if (j == 0 && node.op == OpKind::reshape) {
      buffer = buffer_of(node.inputs[0]);
    } else if (const auto in_place = in_place_input(node.op); j == 0 && in_place) {
      const ValueId in = node.inputs[*in_place];
      const BufferId candidate = buffer_of(in);
      const bool ends_here = occupied_until_[candidate] == i + 1;
      const bool computed = program_.buffers[candidate].fixed == nullptr;
      if (ends_here && computed && bytes_of(in) == bytes_of(out)) buffer = candidate;
    }
    const bool wanted = needed_until_[out] > 0;
    if (!buffer.has_value() && (wanted || j == 0 || !optional_second)) {
      buffer = new_buffer(bytes_of(out));
    }
    program_.value_buffer[out] = buffer;
    if (!buffer.has_value()) continue;
    std::size_t& until = occupied_until_[buffer];
    until = std::max({until, needed_until_[out], i + 1});
    // A reshape shares its memory with views still to come: they extend it when they are assigned.
  }
}

void Lowering::touch(BufferId buffer, int step) {
  assert(step >= 0);
  if (!buffer.has_value()) return;
  std::optional<StepRange>& used = program_.buffers[buffer].used;
  if (!used) used = StepRange{step, step};
  used->first = std::min(used->first, step);
  used->last = std::max(used->last, step);
}

void Lowering::add_step(const std::string& op, const std::string& name, StepFn run) {
  program_.steps.push_back({op, name, std::move(run), false, false});
}

BufferId Lowering::workspace(dim_t floats) {
  assert(floats >= 0);
  if (floats == 0) return kNoBuffer;
  const BufferId buffer = new_buffer(float_bytes(floats));
  touch(buffer, static_cast<int>(program_.steps.size()));
  return buffer;
}

void Lowering::need_scratch(dim_t floats) {
  program_.scratch_bytes = std::max(program_.scratch_bytes, float_bytes(floats));
}

// Copies the batch's rows of the caller's arrays.
void Lowering::lower_input(const Node& node, int position) {
  const ValueId v = node.outputs[0];
  const BufferId to = buffer_of(v);
  const std::size_t row_bytes = batch_ > 0 ? bytes_of(v) / static_cast<std::size_t>(batch_) : 0;
  const dim_t rows = batch_;
  const auto slot = static_cast<std::size_t>(position);
  add_step("input", node.name, [=](RunContext& run, Worker& worker) {
    worker.parallel_for(rows, [&](dim_t begin, dim_t end) noexcept {
      for (dim_t i = begin; i < end; ++i) {
        const dim_t row = run.rows != nullptr ? run.rows[i] : run.start + i;
        std::memcpy(run.bytes(to) + static_cast<std::size_t>(i) * row_bytes,
                    run.inputs[slot] + static_cast<std::size_t>(row) * row_bytes, row_bytes);
      }
    });
  });
}

// Copies a result to the caller's array, rows start, start + 1, ...
void Lowering::lower_output(ValueId v, int position) {
  if (program_.shapes[v].rank() == 0 || !graph_.shape(v).has_batch()) return;
  const BufferId from = buffer_of(v);
  const std::size_t bytes = bytes_of(v);
  const std::size_t row_bytes = bytes / static_cast<std::size_t>(batch_);
  const auto slot = static_cast<std::size_t>(position);
  add_step("output", graph_.value(v).name, [=](RunContext& run, Worker& worker) {
    worker.single([&] {
      if (run.outputs[slot] == nullptr) return;
      std::memcpy(run.outputs[slot] + static_cast<std::size_t>(run.start) * row_bytes,
                  run.bytes(from), bytes);
    });
  });
}

// lower_node, whose errors about memory name the node.
void Lowering::lower_named(const Node& node) {
  try {
    lower_node(node);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::memory) throw;
    throw Error(error.kind(), concat(name_of(node.op), " '", node.name, "': ", error.what()));
  }
}

Program Lowering::lower() {
  propagate_layouts();
  find_last_uses();
  int inputs = 0;
  bool checked = false;
  for (std::size_t i = 0; i < nodes_.size(); ++i) {
    const Node& node = nodes_[i];
    assign_buffers(i);
    const int first_step = static_cast<int>(program_.steps.size());
    if (is_update(node.op) && !checked) {
      for (std::size_t k = i; k < nodes_.size(); ++k) lower_check(nodes_[k].inputs[1]);
      lower_guards();
      checked = true;
    }
    if (node.op == OpKind::input)
      lower_input(node, inputs++);
    else
      lower_named(node);
    for (int s = first_step; s < static_cast<int>(program_.steps.size()); ++s) {
      for (const ValueId v : node.outputs) touch(program_.value_buffer[v], s);
      for (std::size_t j = 0; j < node.inputs.size(); ++j) {
        const ValueId v = node.inputs[j];
        if (v.has_value() && reads(node, j)) touch(program_.value_buffer[v], s);
      }
    }
    if (node.op == OpKind::loss && is_objective(node)) lower_check(node.outputs[0]);
  }
  for (std::size_t k = 0; k < graph_.outputs().size(); ++k) {
    lower_output(graph_.outputs()[k], static_cast<int>(k));
    touch(buffer_of(graph_.outputs()[k]), static_cast<int>(program_.steps.size()));
  }
  for (const BufferId buffer : kept_) {  // alive in all steps: no other buffer takes its place
    touch(buffer, 0);
    touch(buffer, static_cast<int>(program_.steps.size()));
  }
  return std::move(program_);
}

Program lower(const Graph& graph, const std::vector<Node>& nodes, Parameters& parameters,
              OptimizerState& optimizer, dim_t batch, bool counts_steps) {
  return Lowering(graph, nodes, parameters, optimizer, batch, counts_steps).lower();
}

}  // namespace pycnn
