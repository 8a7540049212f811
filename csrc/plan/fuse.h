// SPDX-License-Identifier: Apache-2.0
// Graph to graph: work that a convolution or dense layer can do while its result is in registers.
#pragma once

#include "graph/graph.h"

namespace pycnn {

// add and then relu / relu6 into the epilogue of the conv2d or dense that makes their input; the
// relu's gradient mask into the backward_data that makes its dy; drops nodes nothing needs.
// Values keep their numbers; values that no longer exist have no producer left in the list.
std::vector<Node> fuse(const Graph& graph);

}  // namespace pycnn
