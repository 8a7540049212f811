// SPDX-License-Identifier: Apache-2.0
// What the op families' files give to others.
#pragma once

#include "graph/op.h"

namespace pycnn {

// Checked; N is 1 where x leads with kBatch. plan/ passes x with the batch size filled in.
Conv2dShape conv2d_shape(const Node& node, const Shape& x, const Shape& w);
// Of the convolution whose gradient by its input this is: x is its output, y its input.
Conv2dShape conv2d_transpose_shape(const Node& node, const Shape& x, const Shape& w);
Pool2dShape pool2d_shape(const Node& node, const Shape& x);

// What a slice takes of one axis; count is kBatch for the batch axis.
struct AxisRange {
  dim_t first, count, step;
};
AxisRange slice_range(const Node& node, int axis);

// The number of an axis that may be given from the end. Throws where x has no such axis.
int checked_axis(const Node& node, dim_t axis, const Shape& x);

// Elements along an axis that is mirrored or resized: plans hold a table of them.
constexpr dim_t kMaxTable = dim_t{1} << 24;

// Appends the sum of a value over the axes along which `target`, which broadcasts to it, was
// repeated.
ValueId add_summed(Graph& graph, ValueId full, Shape target, const std::string& name);

// Appends the gradient of a bias that was added to the node's output.
void bias_gradient(GradientTape& tape, const Node& node, ValueId bias, ValueId dy);

}  // namespace pycnn
