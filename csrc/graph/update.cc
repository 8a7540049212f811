// SPDX-License-Identifier: Apache-2.0
// Ops that write a parameter and have no output: optimizers and moving averages.
#include "graph/check.h"
#include "graph/rules.h"

namespace pycnn {
namespace {

Inferred infer_update(const Graph& graph, const Node& node) {
  const ValueId parameter = node.inputs[0];
  const OpKind producer = graph.producer(parameter).op;
  PYCNN_CHECK_VALUE(producer == OpKind::parameter, name_of(node.op),
                    ": parameter must be a parameter, got the output of ", name_of(producer));
  check_shape(node, definition(node.op).inputs[1].name, graph.shape(parameter),
              graph.shape(node.inputs[1]));
  return {};
}

}  // namespace

std::span<const OpDefinition> update_ops() {
  static const OpDefinition rows[] = {
      {.kind = OpKind::sgd,
       .name = "sgd",
       .inputs = {{"parameter"}, {"gradient"}},
       .attrs = SgdAttrs{},
       .role = Role::update,
       .results = 0,
       .infer = infer_update},
      {.kind = OpKind::adam,
       .name = "adam",
       .inputs = {{"parameter"}, {"gradient"}},
       .attrs = AdamAttrs{},
       .role = Role::update,
       .results = 0,
       .infer = infer_update},
      {.kind = OpKind::moving_average,
       .name = "moving_average",
       .inputs = {{"parameter"}, {"sample"}},
       .attrs = MovingAverageAttrs{},
       .role = Role::update,
       .results = 0,
       .infer = infer_update},
  };
  return rows;
}

}  // namespace pycnn
