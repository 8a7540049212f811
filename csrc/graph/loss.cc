// SPDX-License-Identifier: Apache-2.0
// Losses and metrics: y_true, y_pred (None, ..., classes) -> scalar, the mean over all rows.
#include "graph/check.h"
#include "graph/rules.h"

namespace pycnn {
namespace {

enum class Labels { dense, sparse };  // one number per class, or one class index per row

void check_labels(const Graph& graph, const Node& node, Labels labels) {
  const bool sparse = labels == Labels::sparse;
  const DType wanted = sparse ? DType::i32 : DType::f32, got = graph.value(node.inputs[0]).dtype;
  PYCNN_CHECK(got == wanted, ErrorKind::dtype, name_of(node.op), ": y_true must be ",
              name_of(wanted), ", got ", name_of(got));
  const Shape& y_pred = graph.shape(node.inputs[1]);
  check_rows(node, "y_pred", y_pred);
  const Shape rows(y_pred.dims().first(static_cast<std::size_t>(y_pred.rank() - 1)));
  check_shape(node, "y_true", sparse ? rows : y_pred, graph.shape(node.inputs[0]));
}

void check_loss(const Graph& graph, const Node& node) {
  const auto& attrs = node.attrs_as<LossAttrs>();
  PYCNN_CHECK_VALUE(!attrs.from_logits || attrs.kind != LossKind::mean_squared_error,
                    name_of(node.op), ": mean_squared_error does not know from_logits");
  const bool sparse = attrs.kind == LossKind::sparse_categorical_crossentropy;
  check_labels(graph, node, sparse ? Labels::sparse : Labels::dense);
}

// What a softmax made y of, or a sigmoid for binary losses; reshapes between may not cut rows.
// None where y comes from elsewhere.
ValueId logits_of(const Graph& graph, LossKind kind, ValueId y) {
  const bool binary = kind == LossKind::binary_crossentropy;
  ValueId made = y;
  while (graph.producer(made).op == OpKind::reshape) made = graph.producer(made).inputs[0];
  const Node& node = graph.producer(made);
  const auto* activation = std::get_if<ActivationAttrs>(&node.attrs);
  const bool sigmoid = node.op == OpKind::activation && activation->kind == ActivationKind::sigmoid;
  const bool softmax = node.op == OpKind::softmax && graph.shape(made)[-1] == graph.shape(y)[-1];
  return (binary ? sigmoid : softmax) ? node.inputs[0] : ValueId();
}

Inferred infer_loss(const Graph& graph, const Node& node) {
  check_loss(graph, node);
  return {.shapes = {Shape{}}};
}

Inferred infer_loss_backward(const Graph& graph, const Node& node) {
  check_loss(graph, node);
  return {.shapes = {graph.shape(node.inputs[1])}};
}

// No dy: the loss itself is what is differentiated.
void loss_gradient(GradientTape& tape, const Node& node, ValueId dy) {
  const ValueId y_true = node.inputs[0], y_pred = node.inputs[1];
  if (!tape.needs(y_pred)) return;
  Graph& graph = tape.graph();
  ValueId dx = graph.add(OpKind::loss_backward, node.attrs, {y_true, y_pred}, node.name);
  if (dy.has_value()) {
    const Instruction times{Function::multiply, {Operand::input(0), Operand::input(1)}};
    dx = graph.add(OpKind::map, MapAttrs{{{times}, {Operand::result(0)}}}, {dx, dy}, node.name);
  }
  tape.accumulate(y_pred, dx);
}

Inferred infer_metric(const Graph& graph, const Node& node) {
  const bool sparse = node.attrs_as<MetricAttrs>().kind == MetricKind::sparse_categorical_accuracy;
  check_labels(graph, node, sparse ? Labels::sparse : Labels::dense);
  return {.shapes = {Shape{}}};
}

}  // namespace

ValueId append_loss(Graph& graph, LossAttrs attrs, ValueId y_true, ValueId y_pred,
                    const std::string& name) {
  const bool probabilities = !attrs.from_logits && attrs.kind != LossKind::mean_squared_error;
  const ValueId logits = probabilities && graph.values().contains(y_pred)
                             ? logits_of(graph, attrs.kind, y_pred)
                             : ValueId();
  if (logits.has_value()) {
    attrs.from_logits = true;
    const bool same = graph.shape(logits) == graph.shape(y_pred);
    y_pred = same ? logits : graph.add(OpKind::reshape, ReshapeAttrs{}, {logits, y_pred}, name);
  }
  return graph.add(OpKind::loss, attrs, {y_true, y_pred}, name);
}

std::span<const OpDefinition> loss_ops() {
  static const OpDefinition rows[] = {
      {.kind = OpKind::loss,
       .name = "loss",
       .inputs = {{"y_true", Presence::required, std::nullopt}, {"y_pred"}},
       .attrs = LossAttrs{},
       .infer = infer_loss,
       .gradient = loss_gradient},
      {.kind = OpKind::loss_backward,
       .name = "loss_backward",
       .inputs = {{"y_true", Presence::required, std::nullopt}, {"y_pred"}},
       .attrs = LossAttrs{},
       .in_place = 1,
       .infer = infer_loss_backward},
      {.kind = OpKind::metric,
       .name = "metric",
       .inputs = {{"y_true", Presence::required, std::nullopt}, {"y_pred"}},
       .attrs = MetricAttrs{},
       .infer = infer_metric},
  };
  return rows;
}

}  // namespace pycnn
