// SPDX-License-Identifier: Apache-2.0
#include "graph/graph.h"

#include <utility>

#include "graph/op.h"

namespace pycnn {
namespace {

void check_extents(const std::string& who, const Shape& shape) {
  for (int axis = shape.has_batch() ? 1 : 0; axis < shape.rank(); ++axis) {
    PYCNN_CHECK_SHAPE(shape[axis] >= 1, who, ": every extent must be >= 1, got ", shape.text());
  }
  PYCNN_CHECK_SHAPE(checked_product(shape.with_batch(1).dims()), who, ": shape ", shape.text(),
                    " has too many elements");
}

Inferred infer(const Graph& graph, const Node& node) {
  const OpDefinition& op = definition(node.op);
  PYCNN_CHECK_VALUE(op.infer != nullptr, op.name, ": use Graph::", op.name, ", not Graph::add");
  PYCNN_CHECK_VALUE(node.attrs.index() == op.attrs_index, op.name,
                    ": got the attributes of another op");
  Inferred inferred = op.infer(graph, node);
  for (const Shape& shape : inferred.shapes) check_extents(concat(op.name, ": output"), shape);
  return inferred;
}

}  // namespace

ValueId Graph::input(const std::string& name, const Shape& shape, DType dtype) {
  PYCNN_CHECK_SHAPE(shape.has_batch(), "input '", name,
                    "': shape must lead with the batch axis (None), got ", shape.text());
  return append_named({.op = OpKind::input, .name = name}, shape, dtype);
}

ValueId Graph::parameter(const std::string& name, const Shape& shape, bool trainable) {
  PYCNN_CHECK_SHAPE(!shape.has_batch(), "parameter '", name, "': shape has a batch axis, got ",
                    shape.text());
  return append_named({.op = OpKind::parameter, .name = name, .trainable = trainable}, shape,
                      DType::f32);
}

ValueId Graph::append_named(Node node, const Shape& shape, DType dtype) {
  const std::string name = node.name;
  const std::string who = concat(name_of(node.op), " '", name, "'");
  PYCNN_CHECK_VALUE(!name.empty(), name_of(node.op), ": name must not be empty");
  PYCNN_CHECK_VALUE(!named_.contains(name), who, ": the graph already has an input or parameter ",
                    "of this name");
  check_extents(who, shape);
  Addition addition(*this);
  const ValueId value = append(std::move(node), {.shapes = {shape}, .dtypes = {dtype}});
  named_.emplace(name, value);
  addition.complete();
  return value;
}

ValueId Graph::add(OpKind op, Attrs attrs, const std::vector<ValueId>& inputs,
                   const std::string& name) {
  Node node{.op = op, .attrs = std::move(attrs), .inputs = inputs, .name = name};
  try {
    const Inferred inferred = infer(*this, node);
    return append(std::move(node), inferred);
  } catch (const Error& error) {
    if (name.empty()) throw;
    throw Error(error.kind(), concat(error.what(), " (layer '", name, "')"));
  }
}

ValueId Graph::append(Node node, const Inferred& inferred) {
  Addition addition(*this);
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
  addition.complete();
  return first;
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
  const bool is_parameter = found != named_.end() && !shape(found->second).has_batch();
  return is_parameter ? found->second : kNoValue;
}

void Graph::mark_output(ValueId id) {
  value(id);  // throws for an unknown id
  outputs_.push_back(id);
}

}  // namespace pycnn
