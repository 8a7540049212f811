// SPDX-License-Identifier: Apache-2.0
// Ops that keep the number of elements: reshape, add, activation, dropout.
#include "graph/check.h"
#include "graph/rules.h"

namespace pycnn {
namespace {

// reshape: to a shape, to that of `like`, whose value is not read, or else flatten.

Inferred infer_reshape(const Graph& graph, const Node& node) {
  const Shape& x = graph.shape(node.inputs[0]);
  const DType dtype = graph.value(node.inputs[0]).dtype;
  const Shape& shape = node.attrs_as<ReshapeAttrs>().shape;
  const ValueId like = node.inputs[1];
  PYCNN_CHECK_VALUE(shape.rank() == 0 || !like.has_value(),
                    "reshape: expected shape or like, got both");
  const dim_t features = x.with_batch(1).count();
  if (shape.rank() == 0 && !like.has_value()) {
    PYCNN_CHECK_SHAPE(x.has_batch(), "reshape: x must be (None, ...), got ", x.text());
    return {.shapes = {Shape{kBatch, features}}, .dtypes = {dtype}};
  }
  const Shape& target = like.has_value() ? graph.shape(like) : shape;
  PYCNN_CHECK_SHAPE(target.has_batch() == x.has_batch() && target.with_batch(1).count() == features,
                    "reshape: ", like.has_value() ? "like" : "shape",
                    " must have as many elements as ", x.text(), ", got ", target.text());
  return {.shapes = {target}, .dtypes = {dtype}};
}

void reshape_gradient(GradientTape& tape, const Node& node, ValueId dy) {
  const ValueId x = node.inputs[0];
  if (!tape.needs(x)) return;
  tape.accumulate(x, tape.graph().add(OpKind::reshape, ReshapeAttrs{}, {dy, x}, node.name));
}

// stop_gradient: x, as if it were a constant

Inferred infer_stop_gradient(const Graph& graph, const Node& node) {
  const Value& x = graph.value(node.inputs[0]);
  return {.shapes = {x.shape}, .dtypes = {x.dtype}};
}

void no_gradient(GradientTape&, const Node&, ValueId) {}

// add: y = a + b

Inferred infer_add(const Graph& graph, const Node& node) {
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

Inferred infer_activation(const Graph& graph, const Node& node) {
  return {.shapes = {graph.shape(node.inputs[0])}};
}

Inferred infer_activation_backward(const Graph& graph, const Node& node) {
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

Inferred infer_dropout(const Graph& graph, const Node& node) {
  return {.shapes = {graph.shape(node.inputs[0])}};
}

void dropout_gradient(GradientTape& tape, const Node& node, ValueId dy) {
  const ValueId x = node.inputs[0];
  if (!tape.needs(x)) return;
  tape.accumulate(x, tape.graph().add(OpKind::dropout_backward, node.attrs, {dy}, node.name));
}

// Left open: alpha, as Keras has it.
void resolve_activation(const Graph&, Node& node, const Open& open) {
  auto& attrs = std::get<ActivationAttrs>(node.attrs);
  if (!open.lacks("alpha")) return;
  attrs.alpha = attrs.kind == ActivationKind::leaky_relu ? 0.2f
                : attrs.kind == ActivationKind::elu      ? 1.0f
                                                         : 0.0f;
}

}  // namespace

std::span<const OpDefinition> elementwise_ops() {
  static const OpDefinition rows[] = {
      {.kind = OpKind::reshape,
       .name = "reshape",
       .inputs = {{"x", Presence::required, std::nullopt},
                  {"like", Presence::optional_shape_only, std::nullopt}},
       .attrs = ReshapeAttrs{},
       .is_view = true,
       .infer = infer_reshape,
       .gradient = reshape_gradient},
      {.kind = OpKind::stop_gradient,
       .name = "stop_gradient",
       .inputs = {{"x", Presence::required, std::nullopt}},
       .is_view = true,
       .infer = infer_stop_gradient,
       .gradient = no_gradient},
      {.kind = OpKind::add,
       .name = "add",
       .inputs = {{"a"}, {"b"}},
       .in_place = 0,
       .infer = infer_add,
       .gradient = add_gradient},
      {.kind = OpKind::activation,
       .name = "activation",
       .inputs = {{"x"}},
       .attrs = ActivationAttrs{},
       .in_place = 0,
       .infer = infer_activation,
       .gradient = activation_gradient,
       .resolve = resolve_activation},
      {.kind = OpKind::activation_backward,
       .name = "activation_backward",
       .inputs = {{"y"}, {"dy"}},
       .attrs = ActivationAttrs{},
       .in_place = 1,
       .infer = infer_activation_backward},
      {.kind = OpKind::dropout,
       .name = "dropout",
       .inputs = {{"x"}},
       .attrs = DropoutAttrs{},
       .in_place = 0,
       .infer = infer_dropout,
       .gradient = dropout_gradient},
      {.kind = OpKind::dropout_backward,
       .name = "dropout_backward",
       .inputs = {{"dy"}},
       .attrs = DropoutAttrs{},
       .in_place = 0,
       .infer = infer_dropout},
  };
  return rows;
}

}  // namespace pycnn
