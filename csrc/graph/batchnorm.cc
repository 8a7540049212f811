// SPDX-License-Identifier: Apache-2.0
// Batch normalisation over the last axis: y = gamma * (x - mean) / sqrt(var + epsilon) + beta, with
// the batch's statistics (training) or given ones (inference, frozen layers). An absent gamma is 1,
// an absent beta or mean 0.
#include "graph/check.h"
#include "graph/rules.h"

namespace pycnn {
namespace {

// x is (None, ..., C); the named inputs, where present, are (C).
void check_channels(const Graph& graph, const Node& node,
                    std::initializer_list<const char*> names) {
  const Shape& x = graph.shape(node.inputs[0]);
  check_rows(node, "x", x);
  std::size_t index = 1;
  for (const char* name : names) {
    const ValueId input = node.inputs[index++];
    if (input.has_value()) check_shape(node, name, {x[-1]}, graph.shape(input));
  }
}

Inferred infer_batch_norm_training(const Graph& graph, const Node& node) {
  check_channels(graph, node, {"gamma", "beta"});
  const Shape& x = graph.shape(node.inputs[0]);
  return {.shapes = {x, {x[-1]}, {x[-1]}}};
}

Inferred infer_batch_norm_inference(const Graph& graph, const Node& node) {
  check_channels(graph, node, {"gamma", "beta", "mean", "var"});
  return {.shapes = {graph.shape(node.inputs[0])}};
}

Inferred infer_batch_norm_backward(const Graph& graph, const Node& node) {
  check_channels(graph, node, {"gamma", "mean", "var"});
  const Shape& x = graph.shape(node.inputs[0]);
  check_shape(node, "dy", x, graph.shape(node.inputs[4]));
  return {.shapes = {x, {x[-1]}, {x[-1]}}};
}

void batch_norm_training_gradient(GradientTape& tape, const Node& node, ValueId dy) {
  const ValueId x = node.inputs[0], gamma = node.inputs[1], beta = node.inputs[2];
  const ValueId mean = node.outputs[1], var = node.outputs[2];
  if (!tape.needs(x) && !tape.needs(gamma) && !tape.needs(beta)) return;
  const ValueId dx = tape.graph().add(OpKind::batch_norm_backward, node.attrs,
                                      {x, gamma, mean, var, dy}, node.name);
  const std::vector<ValueId> gradients = tape.graph().producer(dx).outputs;
  for (std::size_t i = 0; i < gradients.size(); ++i) {
    if (tape.needs(node.inputs[i])) tape.accumulate(node.inputs[i], gradients[i]);
  }
}

// mean and var are constants here, so dx = gamma * dy / sqrt(var + epsilon): the op itself without
// beta and mean. dgamma and dbeta have the formulas of training; the dx next to them is not used.
void batch_norm_inference_gradient(GradientTape& tape, const Node& node, ValueId dy) {
  Graph& graph = tape.graph();
  const ValueId x = node.inputs[0], gamma = node.inputs[1], beta = node.inputs[2];
  const ValueId mean = node.inputs[3], var = node.inputs[4];
  PYCNN_CHECK_VALUE(!tape.needs(mean) && !tape.needs(var),
                    "batch_norm_inference: mean and var have no gradient");
  if (tape.needs(gamma) || tape.needs(beta)) {
    const ValueId unused =
        graph.add(OpKind::batch_norm_backward, node.attrs, {x, gamma, mean, var, dy}, node.name);
    const std::vector<ValueId> gradients = graph.producer(unused).outputs;
    if (tape.needs(gamma)) tape.accumulate(gamma, gradients[1]);
    if (tape.needs(beta)) tape.accumulate(beta, gradients[2]);
  }
  if (tape.needs(x)) {
    tape.accumulate(x, graph.add(OpKind::batch_norm_inference, node.attrs,
                                 {dy, gamma, kNoValue, kNoValue, var}, node.name));
  }
}

}  // namespace

std::span<const OpDefinition> batchnorm_ops() {
  static const OpDefinition rows[] = {
      {.kind = OpKind::batch_norm_training,
       .name = "batch_norm_training",
       .inputs = {{"x"}, {"gamma", Presence::optional}, {"beta", Presence::optional}},
       .attrs = BatchNormAttrs{},
       .results = 3,
       .infer = infer_batch_norm_training,
       .gradient = batch_norm_training_gradient},
      {.kind = OpKind::batch_norm_inference,
       .name = "batch_norm_inference",
       .inputs = {{"x"},
                  {"gamma", Presence::optional},
                  {"beta", Presence::optional},
                  {"mean", Presence::optional},
                  {"var"}},
       .attrs = BatchNormAttrs{},
       .infer = infer_batch_norm_inference,
       .gradient = batch_norm_inference_gradient},
      {.kind = OpKind::batch_norm_backward,
       .name = "batch_norm_backward",
       .inputs = {{"x"}, {"gamma", Presence::optional}, {"mean"}, {"var"}, {"dy"}},
       .attrs = BatchNormAttrs{},
       .results = 3,
       .in_place = 4,
       .infer = infer_batch_norm_backward},
  };
  return rows;
}

}  // namespace pycnn
