// SPDX-License-Identifier: Apache-2.0
#include "plan/fuse.h"

#include <algorithm>
#include <cstddef>

namespace pycnn {
namespace {

bool is_product(OpKind op) { return op == OpKind::conv2d || op == OpKind::dense; }
bool is_backward_data(OpKind op) {
  return op == OpKind::conv2d_backward_data || op == OpKind::dense_backward_data;
}
bool is_update(OpKind op) {
  return op == OpKind::sgd || op == OpKind::adam || op == OpKind::moving_average;
}

ActivationKind& epilogue_act(Node& node) {
  if (auto* conv = std::get_if<Conv2dAttrs>(&node.attrs)) return conv->act;
  if (!std::holds_alternative<DenseAttrs>(node.attrs)) node.attrs = DenseAttrs{};
  return std::get<DenseAttrs>(node.attrs).act;
}

bool fits_epilogue(const Node& activation) {
  const ActivationKind kind = activation.attrs_as<ActivationAttrs>().kind;
  return kind == ActivationKind::relu || kind == ActivationKind::relu6;
}

class Fuser {
 public:
  explicit Fuser(const Graph& graph)
      : nodes_(graph.nodes()),
        uses_(graph.values().size()),
        producer_(graph.values().size(), -1),
        dead_(graph.nodes().size()) {
    for (std::size_t i = 0; i < nodes_.size(); ++i) {
      for (const ValueId v : nodes_[i].inputs) {
        if (v != kNoValue) ++uses_[index(v)];
      }
      for (const ValueId v : nodes_[i].outputs) producer_[index(v)] = static_cast<int>(i);
    }
    for (const ValueId v : graph.outputs()) {
      ++uses_[index(v)];
      kept_.push_back(v);
    }
  }

  std::vector<Node> run() {
    drop_unneeded();
    for (std::size_t i = 0; i < nodes_.size(); ++i) {
      if (dead_[i]) continue;
      if (nodes_[i].op == OpKind::add) fuse_add(i);
      if (nodes_[i].op == OpKind::activation) fuse_activation(i);
      if (nodes_[i].op == OpKind::activation_backward) fuse_gate(i);
    }
    std::vector<Node> result;
    for (std::size_t i = 0; i < nodes_.size(); ++i) {
      if (!dead_[i]) result.push_back(nodes_[i]);
    }
    return result;
  }

 private:
  static std::size_t index(ValueId v) { return static_cast<std::size_t>(v); }

  // The node whose only reader is the one asking, or -1.
  int sole_producer(ValueId v) const { return uses_[index(v)] == 1 ? producer_[index(v)] : -1; }

  // `node` now makes what nodes_[absorbed] made.
  void absorb(int node, std::size_t absorbed) {
    const ValueId y = nodes_[absorbed].outputs[0];
    nodes_[static_cast<std::size_t>(node)].outputs[0] = y;
    producer_[index(y)] = node;
    dead_[absorbed] = true;
  }

  void fuse_add(std::size_t i) {
    for (int side = 1; side >= 0; --side) {
      const ValueId mine = nodes_[i].inputs[static_cast<std::size_t>(side)];
      const ValueId other = nodes_[i].inputs[static_cast<std::size_t>(1 - side)];
      const int at = sole_producer(mine);
      if (at < 0 || mine == other) continue;
      Node& product = nodes_[static_cast<std::size_t>(at)];
      const bool free = is_product(product.op) && product.inputs[3] == kNoValue &&
                        epilogue_act(product) == ActivationKind::linear;
      if (!free || producer_[index(other)] >= at) continue;  // the other must exist by then
      product.inputs[3] = other;
      absorb(at, i);
      return;
    }
  }

  void fuse_activation(std::size_t i) {
    const int at = sole_producer(nodes_[i].inputs[0]);
    if (at < 0 || !fits_epilogue(nodes_[i])) return;
    Node& product = nodes_[static_cast<std::size_t>(at)];
    if (!is_product(product.op) || epilogue_act(product) != ActivationKind::linear) return;
    epilogue_act(product) = nodes_[i].attrs_as<ActivationAttrs>().kind;
    absorb(at, i);
  }

  void fuse_gate(std::size_t i) {
    const ValueId y = nodes_[i].inputs[0];
    const int at = sole_producer(nodes_[i].inputs[1]);
    if (at < 0 || !fits_epilogue(nodes_[i])) return;
    Node& product = nodes_[static_cast<std::size_t>(at)];
    if (!is_backward_data(product.op) || product.inputs[3] != kNoValue) return;
    product.inputs[3] = y;
    epilogue_act(product) = nodes_[i].attrs_as<ActivationAttrs>().kind;
    absorb(at, i);
  }

  void drop_unneeded() {
    std::vector<bool> needed(uses_.size());
    for (const ValueId v : kept_) needed[index(v)] = true;
    for (std::size_t i = nodes_.size(); i-- > 0;) {
      const Node& node = nodes_[i];
      const bool wanted = is_update(node.op) || node.op == OpKind::input ||
                          std::any_of(node.outputs.begin(), node.outputs.end(),
                                      [&](ValueId v) { return needed[index(v)]; });
      for (const ValueId v : node.inputs) {
        if (v == kNoValue) continue;
        if (wanted) needed[index(v)] = true;
        if (!wanted) --uses_[index(v)];
      }
      if (!wanted) dead_[i] = true;
    }
  }

  std::vector<Node> nodes_;
  std::vector<int> uses_, producer_;
  std::vector<bool> dead_;
  std::vector<ValueId> kept_;
};

}  // namespace

std::vector<Node> fuse(const Graph& graph) { return Fuser(graph).run(); }

}  // namespace pycnn
