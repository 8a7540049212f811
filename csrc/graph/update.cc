// SPDX-License-Identifier: Apache-2.0
// Ops that write a parameter and have no output: optimizers and moving averages.
#include "graph/check.h"
#include "graph/rules.h"

namespace pycnn {
namespace {

Inferred infer_update(const Graph& graph, const Node& node, const char* operand) {
  check_inputs(graph, node, {{"param"}, {operand}});
  const ValueId param = node.inputs[0];
  const OpKind producer = graph.producer(param).op;
  PYCNN_CHECK_VALUE(producer == OpKind::parameter, name_of(node.op),
                    ": param must be a parameter, got the output of ", name_of(producer));
  check_shape(node, operand, graph.shape(param), graph.shape(node.inputs[1]));
  return {};
}

void check_decay_rate(const Node& node, const char* argument, float got) {
  PYCNN_CHECK_VALUE(got >= 0 && got < 1, name_of(node.op), ": ", argument,
                    " must be in [0, 1), got ", got);
}

}  // namespace

Inferred infer_sgd(const Graph& graph, const Node& node) {
  const auto& attrs = node.attrs_as<SgdAttrs>();
  check_fraction(node, "momentum", attrs.momentum);
  check_non_negative(node, "weight_decay", attrs.weight_decay);
  return infer_update(graph, node, "grad");
}

Inferred infer_adam(const Graph& graph, const Node& node) {
  const auto& attrs = node.attrs_as<AdamAttrs>();
  check_decay_rate(node, "beta_1", attrs.beta_1);  // 1 would divide by zero in the bias correction
  check_decay_rate(node, "beta_2", attrs.beta_2);
  check_non_negative(node, "epsilon", attrs.epsilon);
  check_non_negative(node, "weight_decay", attrs.weight_decay);
  return infer_update(graph, node, "grad");
}

Inferred infer_moving_average(const Graph& graph, const Node& node) {
  check_fraction(node, "momentum", node.attrs_as<MovingAverageAttrs>().momentum);
  return infer_update(graph, node, "sample");
}

}  // namespace pycnn
