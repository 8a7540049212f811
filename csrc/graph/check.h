// SPDX-License-Identifier: Apache-2.0
// Checks that the ops' infer functions share. Every message leads with the op's name.
#pragma once

#include <span>

#include "graph/op.h"

namespace pycnn {

// The node has the inputs of its op, of the right types, values of the graph; absent ones are
// filled up with kNoValue.
void check_inputs(const Graph& graph, Node& node);
// Each attribute is within its bounds.
void check_attributes(const Node& node);

void check_shape(const Node& node, const char* argument, const Shape& expected, const Shape& got);
void check_images(const Node& node, const char* argument, const Shape& got);  // (None, H, W, C)
void check_rows(const Node& node, const char* argument, const Shape& got);    // (None, ..., C)

// Of values that are only moved: float32 or int32. Returns it.
DType check_movable(const Graph& graph, const Node& node, const char* argument, ValueId value);
// One number for each axis of a shape, `each` times.
void check_per_axis(const Node& node, const char* argument, std::size_t got, const Shape& shape,
                    std::size_t each = 1);

// At least one window fits: P() and Q() of the shape are valid and >= 1 afterwards. Pooling fills
// in the fields it has and leaves the rest at 1. The attributes have been checked.
void check_windows(const Node& node, const Conv2dShape& shape);

// What is open of the attributes strides, padding and dilation, for windows of R x S pixels over
// the images that are the node's input `image`. window: (R, S, ...).
void resolve_windows(const Graph& graph, Node& node, std::size_t image, const Shape& window,
                     const Open& open);

// The product of the factors; throws where it would overflow.
dim_t checked_macs(const Node& node, std::span<const dim_t> factors);

}  // namespace pycnn
