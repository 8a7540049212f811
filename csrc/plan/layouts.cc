// SPDX-License-Identifier: Apache-2.0
// How values lie: as their shape says, or packed as a kernel is. Who reads a packed value as an
// ordinary one gets a copy.
#include <algorithm>

#include "graph/op.h"
#include "ops/update.h"
#include "plan/lowering.h"

namespace pycnn {
namespace {

// Places and random numbers follow from where an element stands, which packing changes.
bool knows_places(const Expression& expression) {
  bool found = false;
  for_each_operand(expression, [&](const Operand& operand) {
    found = found || operand.is(OperandKind::iota) || operand.is(OperandKind::uniform);
  });
  return found;
}

bool is_kernel_of(const Node& node, ValueId v) {
  const int kernel = definition(node.op).kernel;
  return kernel >= 0 && node.inputs[static_cast<std::size_t>(kernel)] == v;
}

}  // namespace

// The layout of a parameter, which must be what this graph takes it for.
std::optional<PackedWeights> Lowering::stored_layout(const ParameterSpec& wanted) const {
  const Variable& stored = *parameters_.variable(wanted.name);
  PYCNN_CHECK_SHAPE(wanted.shape == stored.graph_shape(), "parameter ", wanted.name,
                    ": the graph expects ", wanted.shape.text(), ", the parameters hold ",
                    stored.graph_shape().text());
  PYCNN_CHECK(wanted.dtype == stored.dtype(), ErrorKind::dtype, "parameter ", wanted.name,
              ": the graph expects ", name_of(wanted.dtype), ", the parameters hold ",
              name_of(stored.dtype()));
  PYCNN_CHECK_VALUE(!wanted.packed || wanted.packed == stored.layout(), "parameter ", wanted.name,
                    ": the parameters hold it for another op or number of groups");
  return stored.layout();
}

// That of a map, element by element in memory: of values that are packed alike, and numbers.
std::optional<PackedWeights> Lowering::flat_layout(const FusedNode& node) const {
  const ValueId y = node.outputs[0];
  if (node.op != OpKind::map || graph_.value(y).dtype != DType::f32) return std::nullopt;
  if (graph_.shape(y).has_batch()) return std::nullopt;
  std::optional<PackedWeights> layout;
  for (const ValueId v : node.inputs) {
    const auto& its = schedule_.layout[v];
    if (!its && shape_of(v).count() == 1) continue;
    if (!its || (layout && layout != its) || shape_of(v) != shape_of(y)) return std::nullopt;
    layout = its;
  }
  return knows_places(node.attrs_as<MapAttrs>().expression) ? std::nullopt : layout;
}

// Kernels, slots of them and their gradients are packed; so are sums and maps of such values alone.
void Lowering::propagate_layouts() {
  for (const ParameterSpec& spec : parameter_specs(graph_, isa())) {
    schedule_.layout[graph_.parameter_named(spec.name)] = stored_layout(spec);
  }
  for (const FusedNode& node : nodes_) {
    if (node.outputs.empty() || node.op == OpKind::parameter) continue;
    std::optional<PackedWeights> layout;
    if (node.op == OpKind::slot) {
      layout = schedule_.layout[node.inputs[0]];
    } else if (node.op == OpKind::conv2d_backward_weights ||
               node.op == OpKind::dense_backward_weights) {
      layout = schedule_.layout[node.inputs[2]];
      PYCNN_CHECK_VALUE(layout.has_value(), node.name, ": backward_weights needs a parameter as w");
    } else if (node.op == OpKind::add) {
      layout = schedule_.layout[node.inputs[0]];
      if (layout != schedule_.layout[node.inputs[1]]) layout = std::nullopt;
    } else {
      layout = flat_layout(node);
    }
    schedule_.layout[node.outputs[0]] = layout;
  }
}

// The value is a kernel that lies as this layer reads it.
void Lowering::check_kernel(const Node& node, ValueId w, const Conv2dShape& s) const {
  const bool stored = graph_.producer(w).op == OpKind::parameter || node.outputs[0] == w;
  const PackedWeights wanted = make_packed_weights(s.R, s.S, s.C, s.K, s.G, isa());
  PYCNN_CHECK_VALUE(stored && schedule_.layout[w] == wanted, node.name,
                    ": the kernel must be a parameter");
}

BufferId Lowering::copied(ValueId v, BufferId from, const std::optional<PackedWeights>& layout,
                          const std::optional<PackedWeights>& wanted) {
  const dim_t count = wanted ? wanted->count() : shape_of(v).count();
  const BufferId to = new_buffer(pycnn::bytes_of(count, DType::f32));
  touch_now(from);
  touch_now(to);
  const auto add = [&](const char* op, StepFn run) {
    schedule_.steps.push_back({.op = op, .name = graph_.value(v).name, .run = std::move(run)});
  };
  if (layout == wanted) {
    add("copy", [=](RunContext& run, Worker& worker) {
      copy_floats(run.floats(from), run.floats(to), count, worker);
    });
  } else if (layout) {
    add("unpack", [=, packed = *layout](RunContext& run, Worker& worker) {
      unpack_weights(packed, run.floats(from), run.floats(to), worker);
    });
  } else {
    add("pack", [=, packed = *wanted](RunContext& run, Worker& worker) {
      pack_weights(packed, run.floats(from), run.floats(to), worker);
    });
  }
  return to;
}

BufferId Lowering::as_layout(ValueId v, const std::optional<PackedWeights>& wanted) {
  const auto layout = schedule_.layout[v];
  BufferId buffer = buffer_of(v);
  if (layout == wanted) return buffer;
  if (layout) buffer = copied(v, buffer, layout, std::nullopt);
  return wanted ? copied(v, buffer, std::nullopt, wanted) : buffer;
}

// Until they are put back the node's packed inputs are ordinary copies of them.
std::vector<Lowering::Replaced> Lowering::unpack_inputs(const FusedNode& node) {
  std::vector<Replaced> replaced;
  const bool is_ready = changes_state(node) || node.op == OpKind::reshape;
  const bool is_flat = !node.outputs.empty() && schedule_.layout[node.outputs[0]];
  if (is_ready || (is_flat && definition(node.op).kernel < 0)) return replaced;
  for_each_read(node, [&](ValueId v) {
    if (!schedule_.layout[v] || is_kernel_of(node, v)) return;
    replaced.push_back({v, buffer_of(v), schedule_.layout[v]});
    schedule_.value_buffer[v] = as_layout(v, std::nullopt);
    schedule_.layout[v] = std::nullopt;
  });
  return replaced;
}

void Lowering::put_back(const std::vector<Replaced>& replaced) {
  for (const Replaced& r : replaced) {
    schedule_.value_buffer[r.value] = r.buffer;
    schedule_.layout[r.value] = r.layout;
  }
}

}  // namespace pycnn
