// SPDX-License-Identifier: Apache-2.0
#include "graph/graph.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "graph/check.h"
#include "graph/rules.h"

namespace pycnn {
namespace {

bool has_unique_name(OpKind op) { return op == OpKind::input || op == OpKind::parameter; }

std::string title_of(const Node& node) {
  return has_unique_name(node.op) ? concat(name_of(node.op), " '", node.name, "'")
                                  : std::string(name_of(node.op));
}

void check_extents(const Node& node, const Shape& shape) {
  const std::string who = title_of(node) + (has_unique_name(node.op) ? "" : ": output");
  for (int axis = shape.has_batch() ? 1 : 0; axis < shape.rank(); ++axis) {
    PYCNN_CHECK_SHAPE(shape[axis] >= 1, who, ": every extent must be >= 1, got ", shape.text());
  }
  PYCNN_CHECK_SHAPE(checked_product(shape.with_batch(1).dims()), who, ": shape ", shape.text(),
                    " has too many elements");
}

Inferred infer(const Graph& graph, Node& node) {
  const OpDefinition& op = definition(node.op);
  PYCNN_CHECK_VALUE(node.attrs.index() == op.attrs.index(), op.name,
                    ": got the attributes of another op");
  check_inputs(graph, node);
  check_attributes(node);
  Inferred inferred = op.infer(graph, node);
  for (const Shape& shape : inferred.shapes) check_extents(node, shape);
  return inferred;
}

Inferred infer_input(const Graph&, const Node& node) {
  const auto& attrs = node.attrs_as<InputAttrs>();
  return {.shapes = {attrs.shape}, .dtypes = {attrs.dtype}};
}

Inferred infer_parameter(const Graph&, const Node& node) {
  const auto& [shape, dtype, trainable] = node.attrs_as<ParameterAttrs>();
  PYCNN_CHECK_SHAPE(!shape.has_batch(), title_of(node), ": shape has a batch axis, got ",
                    shape.text());
  return {.shapes = {shape}, .dtypes = {dtype}};
}

constexpr std::size_t kMostConstants = 65536;  // more are weights, and belong into a parameter

Inferred infer_constant(const Graph&, const Node& node) {
  const auto& [shape, values] = node.attrs_as<ConstantAttrs>();
  PYCNN_CHECK_SHAPE(!shape.has_batch(), "constant: shape has a batch axis, got ", shape.text());
  PYCNN_CHECK_VALUE(values.size() <= kMostConstants, "constant: at most ", kMostConstants,
                    " values, got ", values.size(), "; make it a weight that is not trained");
  const std::optional<dim_t> count = checked_product(shape.dims());
  PYCNN_CHECK_SHAPE(count && static_cast<std::size_t>(*count) == values.size(), "constant: shape ",
                    shape.text(), " needs another number of values, got ", values.size());
  PYCNN_CHECK_VALUE(std::ranges::all_of(values, [](float x) { return std::isfinite(x); }),
                    "constant: values must be finite");
  return {.shapes = {shape}};
}

}  // namespace

std::span<const OpDefinition> graph_ops() {
  static const OpDefinition rows[] = {
      {.kind = OpKind::input,
       .name = "input",
       .inputs = {},
       .attrs = InputAttrs{},
       .infer = infer_input},
      {.kind = OpKind::parameter,
       .name = "parameter",
       .inputs = {},
       .attrs = ParameterAttrs{},
       .infer = infer_parameter},
      {.kind = OpKind::constant,
       .name = "constant",
       .inputs = {},
       .attrs = ConstantAttrs{},
       .infer = infer_constant},
  };
  return rows;
}

ValueId Graph::input(const std::string& name, const Shape& shape, DType dtype) {
  return add(OpKind::input, InputAttrs{shape, dtype}, {}, name);
}

ValueId Graph::parameter(const std::string& name, const Shape& shape, bool trainable, DType dtype) {
  return add(OpKind::parameter, ParameterAttrs{shape, dtype, trainable}, {}, name);
}

ValueId Graph::add(OpKind op, Attrs attrs, std::vector<ValueId> inputs, const std::string& name) {
  Node node{.op = op, .attrs = std::move(attrs), .inputs = std::move(inputs), .name = name};
  const bool unique = has_unique_name(op);
  PYCNN_CHECK_VALUE(!unique || !name.empty(), name_of(op), ": name must not be empty");
  PYCNN_CHECK_VALUE(!unique || !named_.contains(name), title_of(node),
                    ": the graph already has an input or parameter of this name");
  try {
    const Inferred inferred = infer(*this, node);
    Addition addition(*this);
    const ValueId first = append(std::move(node), inferred);
    if (unique) named_.emplace(name, first);
    note_state(nodes_[NodeId(nodes_.size() - 1)], first);
    addition.complete();
    return first;
  } catch (const Error& error) {
    if (unique || name.empty() || op == OpKind::slot) throw;
    throw Error(error.kind(), concat(error.what(), " (layer '", name, "')"));
  }
}

ValueId Graph::append(Node node, const Inferred& inferred) {
  node.macs = inferred.macs;
  node.taps = inferred.taps;
  for (std::size_t i = 0; i < inferred.shapes.size(); ++i) {
    node.outputs.push_back(
        values_.push_back({.shape = inferred.shapes[i],
                           .dtype = inferred.dtypes.empty() ? DType::f32 : inferred.dtypes[i],
                           .name = node.name,
                           .producer = nodes_.next()}));
  }
  const ValueId first = node.outputs.empty() ? kNoValue : node.outputs.front();
  nodes_.push_back(std::move(node));
  return first;
}

void Graph::note_state(const Node& node, ValueId first) {
  if (node.op == OpKind::slot) slots_.emplace(std::pair(node.inputs[0].index(), node.name), first);
  if (is_update(node.op)) updates_.emplace(node.inputs[0].index(), node.op);
}

const Node& Graph::node(NodeId id) const {
  PYCNN_CHECK_VALUE(nodes_.contains(id), "graph: no node ", id, ", it has ", nodes_.size());
  return nodes_[id];
}

const Value& Graph::value(ValueId id) const {
  PYCNN_CHECK_VALUE(contains(id), "graph: no value ", id, ", it has ", values_.size());
  return values_[id];
}

ValueId Graph::parameter_named(const std::string& name) const {
  const auto found = named_.find(name);
  const bool is_parameter =
      found != named_.end() && producer(found->second).op == OpKind::parameter;
  return is_parameter ? found->second : kNoValue;
}

ValueId Graph::slot_named(ValueId parameter, const std::string& name) const {
  const auto found = slots_.find({parameter.index(), name});
  return found != slots_.end() ? found->second : kNoValue;
}

bool Graph::is_updated_by(OpKind op, ValueId state) const {
  return updates_.contains({state.index(), op});
}

void Graph::mark_output(ValueId id) {
  value(id);  // throws for an unknown id
  outputs_.push_back(id);
}

}  // namespace pycnn
