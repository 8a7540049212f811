// SPDX-License-Identifier: Apache-2.0
// A node as a plan computes it: the graph's node, and what else is done while its data is in cache.
#pragma once

#include <initializer_list>
#include <optional>
#include <vector>

#include "graph/op.h"

namespace pycnn {

struct FusedNorm {
  ValueId gamma, beta, mean, var;
  float epsilon = 0;
};

struct FusedNode : Node {
  // Of conv2d, conv2d_transpose and dense: y = act(product + bias + residual). Of their
  // backward_data: dx is masked where `gate`, the output of act, says that act's gradient is zero.
  ActivationKind act = ActivationKind::linear;
  ValueId residual = {}, gate = {};
  std::optional<FusedNorm> norm = {};  // after a product, in its weights
  // Disjoint windows of a max pool after conv2d, which then has the outputs {y, arg}. The backward
  // passes of conv2d read the gradient of that pool's output as dy, and undo the pool by arg.
  Size2d pool{0, 0};  // {0, 0}: none
  ValueId arg = {};
  // Of a map that updates: the parameters and slots that its results become. It has no outputs.
  std::vector<ValueId> targets = {};
};

inline bool changes_state(const FusedNode& node) {
  return is_update(node.op) || !node.targets.empty();
}
// visit(parameter or slot) for all that the node writes.
template <class Visit>
void for_each_written(const Graph& graph, const FusedNode& node, Visit&& visit) {
  for (const ValueId target : node.targets) visit(target);
  if (!is_update(node.op)) return;
  visit(node.inputs[0]);
  for (const std::string_view name : own_slots(node.op)) {
    const ValueId slot = graph.slot_named(node.inputs[0], std::string(name));
    if (!name.empty() && slot.has_value()) visit(slot);
  }
}
// The parameter or slot whose memory a value is a view of; none where it has its own.
inline ValueId state_behind(const Graph& graph, ValueId v) {
  while (graph.producer(v).op == OpKind::reshape) v = graph.producer(v).inputs[0];
  const OpKind op = graph.producer(v).op;
  return op == OpKind::parameter || op == OpKind::slot ? v : kNoValue;
}

// visit(value, is it read?) for all that the node depends on.
template <class Visit>
void for_each_input(const FusedNode& node, Visit&& visit) {
  const auto present = [&](ValueId v, bool read) {
    if (v.has_value()) visit(v, read);
  };
  for (std::size_t i = 0; i < node.inputs.size(); ++i) present(node.inputs[i], reads(node, i));
  for (const ValueId v : {node.residual, node.gate, node.arg}) present(v, true);
  if (!node.norm) return;
  for (const ValueId v : {node.norm->gamma, node.norm->beta, node.norm->mean, node.norm->var}) {
    present(v, true);
  }
}
template <class Visit>
void for_each_read(const FusedNode& node, Visit&& visit) {
  for_each_input(node, [&](ValueId v, bool read) {
    if (read) visit(v);
  });
}

struct FusedGraph {
  std::vector<FusedNode> nodes;     // in an order in which they can run
  IdVector<ValueId, Shape> shapes;  // of the graph's values; a few now mean something else
};

}  // namespace pycnn
