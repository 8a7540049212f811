// SPDX-License-Identifier: Apache-2.0
// Nodes as callers ask for them: attributes by name, defaults where they are left out, padding as
// "valid" or "same". What the Python binding, files and programs in other languages build with.
#pragma once

#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "graph/op.h"

namespace pycnn {

// Extents of which the first may be kBatch.
struct Extents {
  std::vector<dim_t> numbers;
};
// Sizes and pads are lists: (h, w) and (top, bottom, left, right); shapes are extents, or a list
// where they have no batch axis; expressions are lists of lines (base/expression.h); kinds and
// types are names.
using AttrValue = std::variant<bool, dim_t, double, std::string, std::vector<dim_t>, Extents,
                               std::vector<double>, std::vector<std::string>>;
using AttrValues = std::vector<std::pair<std::string, AttrValue>>;

// Graph::add with attributes by name. Throws Error(value) for one that the op does not have, that
// is of another type or out of bounds, or that has no default and is missing.
ValueId build(Graph& graph, OpKind op, std::vector<ValueId> inputs, const AttrValues& attributes,
              const std::string& name = "");

// All attributes of a node, in order, as build() takes them.
AttrValues attributes_of(const Attrs& attrs);

}  // namespace pycnn
