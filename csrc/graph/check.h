// SPDX-License-Identifier: Apache-2.0
// Checks that the ops' infer functions share. Every message leads with the op's name.
#pragma once

#include <initializer_list>
#include <span>

#include "graph/graph.h"

namespace pycnn {

enum class Presence : std::uint8_t { required, optional };

struct Argument {
  const char* name;
  Presence presence = Presence::required;
  DType dtype = DType::f32;
};

// The node has exactly these inputs, and those present are values of the graph of that type.
void check_inputs(const Graph& graph, const Node& node, std::initializer_list<Argument> arguments);

void check_shape(const Node& node, const char* argument, const Shape& expected, const Shape& got);
void check_images(const Node& node, const char* argument, const Shape& got);  // (None, H, W, C)
void check_rows(const Node& node, const char* argument, const Shape& got);    // (None, ..., C)

// At least one window fits: P() and Q() of the shape are valid and >= 1 afterwards. Pooling fills
// in the fields it has and leaves the rest at 1.
void check_windows(const Node& node, const Conv2dShape& shape);

void check_fraction(const Node& node, const char* argument, double got);      // 0 <= got <= 1
void check_non_negative(const Node& node, const char* argument, double got);  // finite and >= 0

// The product of the factors; throws where it would overflow.
dim_t checked_macs(const Node& node, std::span<const dim_t> factors);

}  // namespace pycnn
