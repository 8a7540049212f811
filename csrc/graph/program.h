// SPDX-License-Identifier: Apache-2.0
// The graph as plain data: what files, other languages and drawings read and write. Values are
// numbered in the order in which nodes make them, so they need no numbers of their own.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "graph/build.h"

namespace pycnn {

struct ProgramNode {
  std::string op, name;
  std::vector<std::optional<std::size_t>> inputs = {};  // nothing: an optional one that is absent
  AttrValues attributes = {};                           // as build() takes them
};

struct Program {
  std::vector<ProgramNode> nodes;
  std::vector<std::size_t> outputs;
};

Program to_program(const Graph& graph);
// The graph that this program is of. Throws Error as build() does: a program may come from
// anywhere.
Graph to_graph(const Program& program);

}  // namespace pycnn
