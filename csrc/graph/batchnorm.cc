// SPDX-License-Identifier: Apache-2.0
// Batch normalisation over the last axis: y = gamma * (x - mean) / sqrt(var + epsilon) + beta, with
// the batch's statistics (training) or given ones (inference, frozen layers).
#include "graph/check.h"
#include "graph/rules.h"

namespace pycnn {
namespace {

// x is (None, ..., C); the named inputs, where present, are (C).
void check_channels(const Graph& graph, const Node& node,
                    std::initializer_list<const char*> names) {
  const Shape& x = graph.shape(node.inputs[0]);
  check_rows(node, "x", x);
  check_non_negative(node, "epsilon", node.attrs_as<BatchNormAttrs>().epsilon);
  std::size_t index = 1;
  for (const char* name : names) {
    const ValueId input = node.inputs[index++];
    if (input.has_value()) check_shape(node, name, {x[-1]}, graph.shape(input));
  }
}

}  // namespace

Inferred infer_batch_norm_training(const Graph& graph, const Node& node) {
  check_inputs(graph, node, {{"x"}, {"gamma"}, {"beta"}});
  check_channels(graph, node, {"gamma", "beta"});
  const Shape& x = graph.shape(node.inputs[0]);
  return {.shapes = {x, {x[-1]}, {x[-1]}}};
}

// beta and mean may be absent, both or neither: then they are zero.
Inferred infer_batch_norm_inference(const Graph& graph, const Node& node) {
  check_inputs(
      graph, node,
      {{"x"}, {"gamma"}, {"beta", Presence::optional}, {"mean", Presence::optional}, {"var"}});
  check_channels(graph, node, {"gamma", "beta", "mean", "var"});
  PYCNN_CHECK_VALUE(node.inputs[2].has_value() == node.inputs[3].has_value(),
                    "batch_norm_inference: beta and mean must be given or absent together");
  return {.shapes = {graph.shape(node.inputs[0])}};
}

Inferred infer_batch_norm_backward(const Graph& graph, const Node& node) {
  check_inputs(graph, node, {{"x"}, {"gamma"}, {"mean"}, {"var"}, {"dy"}});
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

}  // namespace pycnn
