// SPDX-License-Identifier: Apache-2.0
// Reverse-mode differentiation: walks the nodes backwards and lets each op's rule append its share.
#include <algorithm>

#include "graph/op.h"

namespace pycnn {
namespace {

// One mark per value: does it depend on any value of wrt?
IdVector<ValueId, bool> dependents(const Graph& graph, const std::vector<ValueId>& wrt) {
  IdVector<ValueId, bool> marks(graph.values().size());
  for (const ValueId id : wrt) {
    PYCNN_CHECK_VALUE(graph.contains(id), "gradient: wrt holds value ", id, ", this graph has ",
                      graph.values().size());
    marks[id] = true;
  }
  for (const Node& node : graph.nodes()) {
    const bool depends = std::ranges::any_of(
        node.inputs, [&](ValueId input) { return input.has_value() && marks[input]; });
    if (!depends) continue;
    for (const ValueId output : node.outputs) {
      marks[output] = graph.value(output).dtype == DType::f32;  // an index has no gradient
    }
  }
  return marks;
}

// Rules know outputs[0] only; a gradient that arrived elsewhere must not be dropped in silence.
bool is_reached(const GradientTape& tape, const Node& node) {
  const auto has_gradient = [&](ValueId output) { return tape.of(output).has_value(); };
  for (std::size_t i = 1; i < node.outputs.size(); ++i) {
    PYCNN_CHECK_VALUE(!has_gradient(node.outputs[i]), name_of(node.op), ": output ", i,
                      " is not differentiable");
  }
  return !node.outputs.empty() && has_gradient(node.outputs[0]);
}

void apply_rule(GradientTape& tape, NodeId id, ValueId dy) {
  const Node node = tape.graph().node(id);  // a copy: the rule appends nodes
  const bool wanted =
      std::ranges::any_of(node.inputs, [&](ValueId input) { return tape.needs(input); });
  if (!wanted) return;
  const GradientFn rule = definition(node.op).gradient;
  PYCNN_CHECK_VALUE(rule != nullptr, name_of(node.op), ": not differentiable");
  rule(tape, node, dy);
}

// d loss / d loss: losses know that it is 1.
ValueId seed(Graph& graph, ValueId loss) {
  if (graph.producer(loss).op == OpKind::loss) return kNoValue;
  return graph.add(OpKind::map, MapAttrs{{{}, {Operand::constant(1)}}}, {});
}

}  // namespace

bool GradientTape::needs(ValueId value) const { return needed_.contains(value) && needed_[value]; }

ValueId GradientTape::of(ValueId value) const {
  return needs(value) ? gradients_[value] : kNoValue;
}

void GradientTape::accumulate(ValueId value, ValueId gradient) {
  PYCNN_CHECK(needs(value) && graph_.shape(value) == graph_.shape(gradient), ErrorKind::state,
              "gradient: wrong rule, ", graph_.shape(gradient).text(), " for value ", value);
  ValueId& sum = gradients_[value];
  sum = sum.has_value() ? graph_.add(OpKind::add, {}, {sum, gradient}, graph_.producer(value).name)
                        : gradient;
}

std::vector<ValueId> append_gradients(Graph& graph, ValueId loss, const std::vector<ValueId>& wrt) {
  PYCNN_CHECK_SHAPE(graph.shape(loss).rank() == 0,
                    "gradient: expected a loss, a value of shape (), got ",
                    graph.shape(loss).text());
  PYCNN_CHECK_VALUE(std::ranges::find(wrt, loss) == wrt.end(), "gradient: wrt holds the loss");
  Graph::Addition addition(graph);
  GradientTape tape(graph, dependents(graph, wrt));
  const NodeId last = graph.value(loss).producer;
  apply_rule(tape, last, seed(graph, loss));
  for (std::size_t i = last.index(); i-- > 0;) {
    const NodeId id(i);
    if (is_reached(tape, graph.node(id))) apply_rule(tape, id, tape.of(graph.node(id).outputs[0]));
  }
  std::vector<ValueId> gradients;
  for (const ValueId id : wrt) gradients.push_back(tape.of(id));
  addition.complete();
  return gradients;
}

}  // namespace pycnn
