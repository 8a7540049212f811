// SPDX-License-Identifier: Apache-2.0
#include "graph/program.h"

namespace pycnn {

Program to_program(const Graph& graph) {
  Program program;
  for (const Node& node : graph.nodes()) {
    ProgramNode plain{.op = name_of(node.op), .name = node.name};
    for (const ValueId v : node.inputs) {
      plain.inputs.push_back(v.has_value() ? std::optional(v.index()) : std::nullopt);
    }
    plain.attributes = attributes_of(node.attrs);
    program.nodes.push_back(std::move(plain));
  }
  for (const ValueId v : graph.outputs()) program.outputs.push_back(v.index());
  return program;
}

Graph to_graph(const Program& program) {
  Graph graph;
  for (const ProgramNode& node : program.nodes) {
    std::vector<ValueId> inputs;
    for (const auto& v : node.inputs) inputs.push_back(v ? ValueId(*v) : kNoValue);
    build(graph, op_named(node.op).kind, std::move(inputs), node.attributes, node.name);
  }
  for (const std::size_t v : program.outputs) graph.mark_output(ValueId(v));
  return graph;
}

}  // namespace pycnn
