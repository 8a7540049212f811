// SPDX-License-Identifier: Apache-2.0
// softmax over the last axis: y = exp(x) / sum(exp(x)).
#include "graph/check.h"
#include "graph/rules.h"

namespace pycnn {

Inferred infer_softmax(const Graph& graph, const Node& node) {
  check_inputs(graph, node, {{"x"}});
  const Shape& x = graph.shape(node.inputs[0]);
  check_rows(node, "x", x);
  return {.shapes = {x}};
}

Inferred infer_softmax_backward(const Graph& graph, const Node& node) {
  check_inputs(graph, node, {{"y"}, {"dy"}});
  const Shape& y = graph.shape(node.inputs[0]);
  check_rows(node, "y", y);
  check_shape(node, "dy", y, graph.shape(node.inputs[1]));
  return {.shapes = {y}};
}

void softmax_gradient(GradientTape& tape, const Node& node, ValueId dy) {
  const ValueId x = node.inputs[0], y = node.outputs[0];
  if (!tape.needs(x)) return;
  tape.accumulate(x, tape.graph().add(OpKind::softmax_backward, {}, {y, dy}, node.name));
}

}  // namespace pycnn
