// SPDX-License-Identifier: Apache-2.0
// Graph to fused nodes: work that a product can do while its data is in cache.
#pragma once

#include "plan/fused.h"

namespace pycnn {

// The graph's nodes, without those that nothing needs, and with
// - where nothing is trained: batch_norm_inference in the weights of the conv2d or dense before it;
// - add, then relu or relu6, in the conv2d, conv2d_transpose or dense that makes their input, and
//   the gradient mask of such an activation in the backward_data that makes its dy;
// - what is done to the gradient of a max pool's input (activation_backward, bias_backward) done to
//   the gradient of its output, where there are fewer elements: the others are zero;
// - max pools with disjoint windows in the conv2d before them, and their gradients undone row by
//   row inside conv2d_backward_data and _weights, so that the large tensors are never written;
// - maps, adds and activations in the map or fold that reads them, see fuse_maps.cc;
// - maps whose results are assigned to a parameter and its slots in one map that writes these.
// Updates come last.
FusedGraph fuse(const Graph& graph);

// The last two of these, on what the others left.
void fuse_maps(const Graph& graph, FusedGraph& fused);
void fuse_updates(const Graph& graph, FusedGraph& fused);

}  // namespace pycnn
