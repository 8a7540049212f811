// SPDX-License-Identifier: Apache-2.0
// softmax over the last axis: y = exp(x) / sum(exp(x)).
#include "graph/check.h"
#include "graph/rules.h"

namespace pycnn {
namespace {

Inferred infer_softmax(const Graph& graph, const Node& node) {
  const Shape& x = graph.shape(node.inputs[0]);
  check_rows(node, "x", x);
  return {.shapes = {x}};
}

Inferred infer_softmax_backward(const Graph& graph, const Node& node) {
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

}  // namespace

std::span<const OpDefinition> softmax_ops() {
  static const OpDefinition rows[] = {
      {.kind = OpKind::softmax,
       .name = "softmax",
       .inputs = {{"x"}},
       .in_place = 0,
       .infer = infer_softmax,
       .gradient = softmax_gradient},
      {.kind = OpKind::softmax_backward,
       .name = "softmax_backward",
       .inputs = {{"y"}, {"dy"}},
       .in_place = 1,
       .infer = infer_softmax_backward},
  };
  return rows;
}

}  // namespace pycnn
