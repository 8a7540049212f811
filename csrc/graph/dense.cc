// SPDX-License-Identifier: Apache-2.0
// dense: x (None, ..., C), w (C, K) -> y (None, ..., K); and the bias gradient, for conv2d too.
#include <array>

#include "graph/check.h"
#include "graph/rules.h"

namespace pycnn {
namespace {

Shape output_shape(const Node& node, const Shape& x, const Shape& w) {
  check_rows(node, "x", x);
  PYCNN_CHECK_SHAPE(w.rank() == 2 && !w.has_batch(), name_of(node.op), ": w must be (C, K), got ",
                    w.text());
  PYCNN_CHECK_SHAPE(x[-1] == w[0], name_of(node.op), ": x has ", x[-1], " features, w expects ",
                    w[0]);
  std::vector<dim_t> dims(x.dims().begin(), x.dims().end());
  dims.back() = w[1];
  return Shape(dims);
}

dim_t macs_of(const Node& node, const Shape& x, const Shape& w) {
  return checked_macs(node, std::array{x.with_batch(1).count(), w[1]});
}

Inferred infer_dense(const Graph& graph, const Node& node) {
  const Shape &x = graph.shape(node.inputs[0]), &w = graph.shape(node.inputs[1]);
  const ValueId bias = node.inputs[2];
  const Shape y = output_shape(node, x, w);
  if (bias.has_value()) check_shape(node, "b", {w[1]}, graph.shape(bias));
  return {.shapes = {y}, .macs = macs_of(node, x, w)};
}

Inferred infer_backward_data(const Graph& graph, const Node& node) {
  const Shape &w = graph.shape(node.inputs[1]), &x = graph.shape(node.inputs[2]);
  check_shape(node, "dy", output_shape(node, x, w), graph.shape(node.inputs[0]));
  return {.shapes = {x}, .macs = macs_of(node, x, w)};
}

Inferred infer_backward_weights(const Graph& graph, const Node& node) {
  const Shape &x = graph.shape(node.inputs[0]), &w = graph.shape(node.inputs[2]);
  check_shape(node, "dy", output_shape(node, x, w), graph.shape(node.inputs[1]));
  return {.shapes = {w}, .macs = macs_of(node, x, w)};
}

// Weights first, as in conv2d.cc.
void dense_gradient(GradientTape& tape, const Node& node, ValueId dy) {
  Graph& graph = tape.graph();
  const ValueId x = node.inputs[0], w = node.inputs[1], bias = node.inputs[2];
  if (tape.needs(w)) {
    tape.accumulate(w, graph.add(OpKind::dense_backward_weights, {}, {x, dy, w}, node.name));
  }
  bias_gradient(tape, node, bias, dy);
  if (tape.needs(x)) {
    tape.accumulate(x, graph.add(OpKind::dense_backward_data, {}, {dy, w, x}, node.name));
  }
}

Inferred infer_bias_backward(const Graph& graph, const Node& node) {
  const Shape& dy = graph.shape(node.inputs[0]);
  check_rows(node, "dy", dy);
  return {.shapes = {Shape{dy[-1]}}};
}

}  // namespace

void bias_gradient(GradientTape& tape, const Node& node, ValueId bias, ValueId dy) {
  if (!tape.needs(bias)) return;
  tape.accumulate(bias, tape.graph().add(OpKind::bias_backward, {}, {dy}, node.name));
}

std::span<const OpDefinition> dense_ops() {
  static const OpDefinition rows[] = {
      {.kind = OpKind::dense,
       .name = "dense",
       .inputs = {{"x"}, {"w"}, {"b", Presence::optional}},
       .kernel = 1,
       .infer = infer_dense,
       .gradient = dense_gradient},
      {.kind = OpKind::dense_backward_data,
       .name = "dense_backward_data",
       .inputs = {{"dy"}, {"w"}, {"x", Presence::shape_only}},
       .kernel = 1,
       .infer = infer_backward_data},
      {.kind = OpKind::dense_backward_weights,
       .name = "dense_backward_weights",
       .inputs = {{"x"}, {"dy"}, {"w", Presence::shape_only}},
       .kernel = 2,
       .infer = infer_backward_weights},
      {.kind = OpKind::bias_backward,
       .name = "bias_backward",
       .inputs = {{"dy"}},
       .infer = infer_bias_backward},
  };
  return rows;
}

}  // namespace pycnn
