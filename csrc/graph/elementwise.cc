// SPDX-License-Identifier: Apache-2.0
// Ops that keep the number of elements: reshape, add, activation, dropout.
#include "graph/check.h"
#include "graph/rules.h"

namespace pycnn {

// reshape: flatten where `like` is absent, else to the shape of `like`, whose value is not read.

Inferred infer_reshape(const Graph& graph, const Node& node) {
  const bool to_like = node.inputs.size() == 2;
  if (to_like) {
    check_inputs(graph, node, {{"x"}, {"like"}});
  } else {
    check_inputs(graph, node, {{"x"}});
  }
  const Shape& x = graph.shape(node.inputs[0]);
  PYCNN_CHECK_SHAPE(x.has_batch(), "reshape: x must be (None, ...), got ", x.text());
  const dim_t features = x.with_batch(1).count();
  if (!to_like) return {.shapes = {Shape{kBatch, features}}};
  const Shape& like = graph.shape(node.inputs[1]);
  PYCNN_CHECK_SHAPE(like.has_batch() && like.with_batch(1).count() == features,
                    "reshape: like must have as many elements as ", x.text(), ", got ",
                    like.text());
  return {.shapes = {like}};
}

void reshape_gradient(GradientTape& tape, const Node& node, ValueId dy) {
  const ValueId x = node.inputs[0];
  if (!tape.needs(x)) return;
  tape.accumulate(x, tape.graph().add(OpKind::reshape, {}, {dy, x}, node.name));
}

// add: y = a + b

Inferred infer_add(const Graph& graph, const Node& node) {
  check_inputs(graph, node, {{"a"}, {"b"}});
  const Shape& a = graph.shape(node.inputs[0]);
  check_shape(node, "b", a, graph.shape(node.inputs[1]));
  return {.shapes = {a}};
}

void add_gradient(GradientTape& tape, const Node& node, ValueId dy) {
  for (const ValueId input : node.inputs) {
    if (tape.needs(input)) tape.accumulate(input, dy);
  }
}

// activation: y = f(x), dx = dy * f'(x) with f' expressed by y.

namespace {

void check_activation(const Node& node) {
  // A negative slope would make y positive for negative x, and y would no longer tell f'.
  check_non_negative(node, "alpha", node.attrs_as<ActivationAttrs>().alpha);
}

}  // namespace

Inferred infer_activation(const Graph& graph, const Node& node) {
  check_inputs(graph, node, {{"x"}});
  check_activation(node);
  return {.shapes = {graph.shape(node.inputs[0])}};
}

Inferred infer_activation_backward(const Graph& graph, const Node& node) {
  check_inputs(graph, node, {{"y"}, {"dy"}});
  check_activation(node);
  const Shape& y = graph.shape(node.inputs[0]);
  check_shape(node, "dy", y, graph.shape(node.inputs[1]));
  return {.shapes = {y}};
}

void activation_gradient(GradientTape& tape, const Node& node, ValueId dy) {
  const ValueId x = node.inputs[0], y = node.outputs[0];
  const ActivationKind kind = node.attrs_as<ActivationAttrs>().kind;
  if (!tape.needs(x)) return;
  PYCNN_CHECK_VALUE(kind != ActivationKind::step, "activation: step has no gradient");
  if (kind == ActivationKind::linear) {
    tape.accumulate(x, dy);
    return;
  }
  tape.accumulate(x, tape.graph().add(OpKind::activation_backward, node.attrs, {y, dy}, node.name));
}

// dropout: its own gradient, with the same random numbers.

namespace {

Inferred infer_dropped(const Node& node, const Shape& shape) {
  const float rate = node.attrs_as<DropoutAttrs>().rate;
  PYCNN_CHECK_VALUE(rate >= 0 && rate < 1, name_of(node.op), ": rate must be in [0, 1), got ",
                    rate);
  return {.shapes = {shape}};
}

}  // namespace

Inferred infer_dropout(const Graph& graph, const Node& node) {
  check_inputs(graph, node, {{"x"}});
  return infer_dropped(node, graph.shape(node.inputs[0]));
}

Inferred infer_dropout_backward(const Graph& graph, const Node& node) {
  check_inputs(graph, node, {{"dy"}});
  return infer_dropped(node, graph.shape(node.inputs[0]));
}

void dropout_gradient(GradientTape& tape, const Node& node, ValueId dy) {
  const ValueId x = node.inputs[0];
  if (!tape.needs(x)) return;
  tape.accumulate(x, tape.graph().add(OpKind::dropout_backward, node.attrs, {dy}, node.name));
}

}  // namespace pycnn
