// SPDX-License-Identifier: Apache-2.0
// Graph to graph: work that a convolution or dense layer can do while its data is in cache.
#pragma once

#include "graph/graph.h"

namespace pycnn {

bool is_update(OpKind op);  // writes parameters: sgd, adam, moving_average

// False for an input that a node only asks for its shape.
bool reads(const Node& node, std::size_t input);

// The graph's nodes, without those that nothing needs, and with
// - where nothing is trained, batch_norm_inference in the weights of the conv2d or dense before it,
//   which then reads {x, w, b, residual, gamma, beta, mean, var};
// - add and then relu / relu6 in the epilogue of the conv2d, conv2d_transpose or dense that makes
// their input, and the
//   relu's gradient mask in the backward_data that makes its dy;
// - what is done to the gradient of a max pool's input (activation_backward, bias_backward) done to
//   the gradient of its output, where there are fewer elements: the others are zero;
// - max pools with disjoint windows in the conv2d before them, and their gradients undone row by
// row
//   inside conv2d_backward_data and _weights, so that the large tensors are never written.
// conv2d then has outputs {y, arg}, and the backward nodes read arg as an input after their others.
// Values keep their numbers; the shapes of those that now mean something else are changed in graph.
std::vector<Node> fuse(Graph& graph);

}  // namespace pycnn
