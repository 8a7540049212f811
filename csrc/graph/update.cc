// SPDX-License-Identifier: Apache-2.0
// Slots, and the ops that write parameters and slots and have no output: optimizers, moving
// averages, assign.
#include <algorithm>
#include <array>
#include <string>
#include <string_view>

#include "graph/check.h"
#include "graph/rules.h"

namespace pycnn {

std::array<std::string_view, 2> own_slots(OpKind op) {
  if (op == OpKind::sgd) return {"velocity"};
  if (op == OpKind::adam) return {"m", "v"};
  return {};
}

namespace {

constexpr std::size_t kMostSlotName = 64;

// Files know slots by their names.
bool is_slot_name(const std::string& name) {
  const auto fits = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-' || c == '.';
  };
  return !name.empty() && name.size() <= kMostSlotName && std::ranges::all_of(name, fits);
}

void check_is_parameter(const Graph& graph, const Node& node) {
  const OpKind producer = graph.producer(node.inputs[0]).op;
  PYCNN_CHECK_VALUE(producer == OpKind::parameter, name_of(node.op),
                    ": parameter must be a parameter, got the output of ", name_of(producer));
}

Inferred infer_slot(const Graph& graph, const Node& node) {
  const ValueId parameter = node.inputs[0];
  check_is_parameter(graph, node);
  PYCNN_CHECK_VALUE(is_slot_name(node.name), "slot: name must be 1 to ", kMostSlotName,
                    " letters, digits, _, - or ., got ", node.name.size(), " characters");
  PYCNN_CHECK_VALUE(!graph.slot_named(parameter, node.name).has_value(), "slot: the graph already ",
                    "has the slot '", node.name, "' of ", graph.producer(parameter).name);
  return {.shapes = {graph.shape(parameter)}};
}

Inferred infer_update(const Graph& graph, const Node& node) {
  const ValueId parameter = node.inputs[0];
  check_is_parameter(graph, node);
  check_shape(node, definition(node.op).inputs[1].name, graph.shape(parameter),
              graph.shape(node.inputs[1]));
  PYCNN_CHECK_VALUE(!graph.is_updated_by(OpKind::assign, parameter), name_of(node.op), ": ",
                    graph.producer(parameter).name, " is assigned already");
  for (const std::string_view name : own_slots(node.op)) {
    const ValueId slot = graph.slot_named(parameter, std::string(name));
    PYCNN_CHECK_VALUE(!slot.has_value() || !graph.is_updated_by(OpKind::assign, slot),
                      name_of(node.op), ": its slot '", name, "' of ",
                      graph.producer(parameter).name, " is assigned already");
  }
  return {};
}

Inferred infer_assign(const Graph& graph, const Node& node) {
  const ValueId target = node.inputs[0];
  const Node& made = graph.producer(target);
  const bool is_slot = made.op == OpKind::slot;
  PYCNN_CHECK_VALUE(is_slot || made.op == OpKind::parameter,
                    "assign: target must be a parameter or a slot, got the output of ",
                    name_of(made.op));
  check_shape(node, "value", graph.shape(target), graph.shape(node.inputs[1]));
  for (const OpKind op : {OpKind::sgd, OpKind::adam, OpKind::moving_average, OpKind::assign}) {
    const auto own = own_slots(op);
    const bool writes = is_slot && std::ranges::find(own, made.name) != own.end() &&
                        graph.is_updated_by(op, made.inputs[0]);
    PYCNN_CHECK_VALUE(!writes && !graph.is_updated_by(op, target), "assign: ", made.name,
                      " is updated by ", name_of(op), " already");
  }
  return {};
}

// A constant: what it holds was computed in earlier steps.
void slot_gradient(GradientTape&, const Node&, ValueId) {}

}  // namespace

std::span<const OpDefinition> update_ops() {
  static const OpDefinition rows[] = {
      {.kind = OpKind::slot,
       .name = "slot",
       .inputs = {{"parameter", Presence::shape_only}},
       .infer = infer_slot,
       .gradient = slot_gradient},
      {.kind = OpKind::sgd,
       .name = "sgd",
       .inputs = {{"parameter"}, {"gradient"}},
       .attrs = SgdAttrs{},
       .role = Role::update,
       .results = 0,
       .infer = infer_update},
      {.kind = OpKind::adam,
       .name = "adam",
       .inputs = {{"parameter"}, {"gradient"}},
       .attrs = AdamAttrs{},
       .role = Role::update,
       .results = 0,
       .infer = infer_update},
      {.kind = OpKind::moving_average,
       .name = "moving_average",
       .inputs = {{"parameter"}, {"sample"}},
       .attrs = MovingAverageAttrs{},
       .role = Role::update,
       .results = 0,
       .infer = infer_update},
      {.kind = OpKind::assign,
       .name = "assign",
       .inputs = {{"target"}, {"value"}},
       .role = Role::update,
       .results = 0,
       .infer = infer_assign},
  };
  return rows;
}

}  // namespace pycnn
