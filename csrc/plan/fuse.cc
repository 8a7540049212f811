// SPDX-License-Identifier: Apache-2.0
#include "plan/fuse.h"

#include <algorithm>
#include <cstddef>

namespace pycnn {
namespace {

bool is_product(OpKind op) {
  return op == OpKind::conv2d || op == OpKind::conv2d_transpose || op == OpKind::dense;
}
bool is_backward_data(OpKind op) {
  return op == OpKind::conv2d_backward_data || op == OpKind::dense_backward_data;
}
bool fits_epilogue(const Node& activation) {
  const ActivationKind kind = activation.attrs_as<ActivationAttrs>().kind;
  return kind == ActivationKind::relu || kind == ActivationKind::relu6;
}

class Fuser {
 public:
  explicit Fuser(const Graph& graph)
      : graph_(graph),
        uses_(graph.values().size()),
        mentions_(graph.values().size()),
        producer_(graph.values().size()),
        dead_(graph.nodes().size()) {
    for (const Value& value : graph.values()) shapes_.push_back(value.shape);
    for (const Node& node : graph.nodes()) {
      const NodeId id = nodes_.push_back({node});
      for_each_input(nodes_[id], [&](ValueId v, bool read) {
        ++mentions_[v];
        if (read) ++uses_[v];
      });
      for (const ValueId v : node.outputs) producer_[v] = id;
    }
    for (const ValueId v : graph.outputs()) {
      ++uses_[v];
      kept_.push_back(v);
    }
  }

  FusedGraph run() {
    drop_unneeded();
    const bool trains =
        std::any_of(nodes_.begin(), nodes_.end(), [](const Node& n) { return is_update(n.op); });
    if (!trains) for_each_node(OpKind::batch_norm_inference, [&](NodeId i) { fold_norm(i); });
    for_each_node(OpKind::activation_backward, [&](NodeId i) { move_before_unpool(i); });
    for_each_node(OpKind::bias_backward, [&](NodeId i) { move_bias_before_unpool(i); });
    for_each_node(OpKind::add, [&](NodeId i) { fuse_add(i); });
    for_each_node(OpKind::activation, [&](NodeId i) { fuse_activation(i); });
    for_each_node(OpKind::activation_backward, [&](NodeId i) { fuse_gate(i); });
    for_each_node(OpKind::max_pool2d, [&](NodeId i) { fuse_pool(i); });
    for_each_node(OpKind::max_pool2d_backward, [&](NodeId i) { fuse_unpool(i); });
    FusedGraph result{.nodes = {}, .shapes = std::move(shapes_)};
    for (std::size_t i = 0; i < nodes_.size(); ++i) {
      if (!dead_[NodeId(i)]) result.nodes.push_back(nodes_[NodeId(i)]);
    }
    return result;
  }

 private:
  template <class Visit>
  void for_each_node(OpKind op, Visit visit) {
    for (std::size_t i = 0; i < nodes_.size(); ++i) {
      const NodeId id(i);
      if (!dead_[id] && nodes_[id].op == op) visit(id);
    }
  }

  const FusedNode& producer(ValueId v) const { return nodes_[producer_[v]]; }

  // The node whose only reader is the one asking, or none.
  NodeId sole_producer(ValueId v) const { return uses_[v] == 1 ? producer_[v] : NodeId(); }

  // `node` now makes what nodes_[absorbed] made.
  void absorb(NodeId node, NodeId absorbed) {
    const ValueId y = nodes_[absorbed].outputs[0];
    nodes_[node].outputs[0] = y;
    producer_[y] = node;
    dead_[absorbed] = true;
  }

  bool is_constant(ValueId v) const {
    return !v.has_value() || producer(v).op == OpKind::parameter;
  }

  void fold_norm(NodeId i) {
    const FusedNode& norm = nodes_[i];
    const NodeId at = sole_producer(norm.inputs[0]);
    if (!at.has_value()) return;
    FusedNode& product = nodes_[at];
    const bool constant = std::all_of(norm.inputs.begin() + 1, norm.inputs.end(),
                                      [&](ValueId v) { return is_constant(v); }) &&
                          is_product(product.op) && product.op != OpKind::conv2d_transpose &&
                          is_constant(product.inputs[1]) && is_constant(product.inputs[2]);
    if (!constant || product.norm) return;
    product.norm = {norm.inputs[1], norm.inputs[2], norm.inputs[3], norm.inputs[4],
                    norm.attrs_as<BatchNormAttrs>().epsilon};
    absorb(at, i);
  }

  void fuse_add(NodeId i) {
    for (int side = 1; side >= 0; --side) {
      const ValueId mine = nodes_[i].inputs[static_cast<std::size_t>(side)];
      const ValueId other = nodes_[i].inputs[static_cast<std::size_t>(1 - side)];
      const NodeId at = sole_producer(mine);
      if (!at.has_value() || mine == other) continue;
      FusedNode& product = nodes_[at];
      const bool free = is_product(product.op) && !product.residual.has_value() &&
                        product.act == ActivationKind::linear;
      if (!free || producer_[other].index() >= at.index())
        continue;  // the other must exist by then
      product.residual = other;
      absorb(at, i);
      return;
    }
  }

  void fuse_activation(NodeId i) {
    const NodeId at = sole_producer(nodes_[i].inputs[0]);
    if (!at.has_value() || !fits_epilogue(nodes_[i])) return;
    FusedNode& product = nodes_[at];
    if (!is_product(product.op) || product.act != ActivationKind::linear) return;
    product.act = nodes_[i].attrs_as<ActivationAttrs>().kind;
    absorb(at, i);
  }

  void fuse_gate(NodeId i) {
    const ValueId y = nodes_[i].inputs[0];
    const NodeId at = sole_producer(nodes_[i].inputs[1]);
    if (!at.has_value() || !fits_epilogue(nodes_[i])) return;
    FusedNode& product = nodes_[at];
    if (!is_backward_data(product.op) || product.gate.has_value()) return;
    product.gate = y;
    product.act = nodes_[i].attrs_as<ActivationAttrs>().kind;
    absorb(at, i);
  }

  // activation_backward of a max pool's gradient: only the pooled elements are not zero, and there
  // the activation's output is the pool's.
  void move_before_unpool(NodeId i) {
    const NodeId at = sole_producer(nodes_[i].inputs[1]);
    if (!at.has_value()) return;
    FusedNode& unpool = nodes_[at];
    if (unpool.op != OpKind::max_pool2d_backward || unpool.inputs[2] != nodes_[i].inputs[0]) return;
    if (mentions_[unpool.outputs[0]] > 1) return;  // another node asks for its shape, which changes
    const ValueId between = unpool.outputs[0], result = nodes_[i].outputs[0];
    const ValueId pooled = producer(unpool.inputs[0]).outputs[0];
    std::swap(unpool, nodes_[i]);
    FusedNode& activation = nodes_[at];
    FusedNode& last = nodes_[i];
    --uses_[activation.inputs[0]];
    ++uses_[pooled];
    activation.inputs = {pooled, last.inputs[1]};
    activation.outputs = {between};
    last.inputs[1] = between;
    last.outputs = {result};
    shapes_[between] = shapes_[pooled];
  }

  void move_bias_before_unpool(NodeId i) {
    ValueId& dy = nodes_[i].inputs[0];
    const FusedNode& unpool = producer(dy);
    if (unpool.op != OpKind::max_pool2d_backward) return;
    --uses_[dy];
    dy = unpool.inputs[1];
    ++uses_[dy];
  }

  static bool disjoint(const Pool2dAttrs& pool) {
    return pool.window.h == pool.stride.h && pool.window.w == pool.stride.w && !pool.pad.any();
  }

  // Its own kernels know no pools.
  bool is_depthwise_conv(const Node& node) const {
    const bool last = node.op == OpKind::conv2d_backward_weights;
    const Shape& w = graph_.shape(node.inputs[last ? 2 : 1]);
    const dim_t G = node.attrs_as<Conv2dAttrs>().groups;
    return is_depthwise(w[2] * G, w[3], G);
  }

  void fuse_pool(NodeId i) {
    const FusedNode& pool = nodes_[i];
    const NodeId at = sole_producer(pool.inputs[0]);
    if (!at.has_value() || !disjoint(pool.attrs_as<Pool2dAttrs>())) return;
    FusedNode& conv = nodes_[at];
    if (conv.op != OpKind::conv2d || conv.residual.has_value()) return;
    if (is_depthwise_conv(conv)) return;
    if (conv.pool.h != 0) return;  // it has a pool already
    conv.pool = pool.attrs_as<Pool2dAttrs>().window;
    conv.outputs = pool.outputs;
    for (const ValueId v : pool.outputs) producer_[v] = at;
    dead_[i] = true;
  }

  // All readers of the pool's gradient must be able to undo the pooling themselves.
  void fuse_unpool(NodeId i) {
    const FusedNode& unpool = nodes_[i];
    const ValueId dx = unpool.outputs[0];
    if (!disjoint(unpool.attrs_as<Pool2dAttrs>())) return;
    std::vector<FusedNode*> readers;
    for (std::size_t j = i.index() + 1; j < nodes_.size(); ++j) {
      const NodeId id(j);
      if (dead_[id]) continue;
      for_each_read(nodes_[id], [&](ValueId v) {
        if (v == dx) readers.push_back(&nodes_[id]);
      });
    }
    const auto dy_of = [](const Node& node) -> ValueId {
      if (node.op == OpKind::conv2d_backward_data) return node.inputs[0];
      return node.op == OpKind::conv2d_backward_weights ? node.inputs[1] : kNoValue;
    };
    const auto able = [&](const FusedNode* node) {  // and reads dx as its dy only
      return dy_of(*node) == dx && std::ranges::count(readers, node) == 1 &&
             !is_depthwise_conv(*node);
    };
    if (static_cast<int>(readers.size()) != uses_[dx] ||
        !std::all_of(readers.begin(), readers.end(), able)) {
      return;
    }
    for (FusedNode* node : readers) {
      node->inputs[node->op == OpKind::conv2d_backward_data ? 0 : 1] = unpool.inputs[1];
      node->arg = unpool.inputs[0];
      node->pool = unpool.attrs_as<Pool2dAttrs>().window;
    }
    dead_[i] = true;
  }

  void drop_unneeded() {
    IdVector<ValueId, bool> needed(uses_.size());
    for (const ValueId v : kept_) needed[v] = true;
    for (std::size_t i = nodes_.size(); i-- > 0;) {
      const FusedNode& node = nodes_[NodeId(i)];
      const bool wanted = is_update(node.op) || node.op == OpKind::input ||
                          std::any_of(node.outputs.begin(), node.outputs.end(),
                                      [&](ValueId v) { return needed[v]; });
      for_each_read(node, [&](ValueId v) {
        if (wanted) needed[v] = true;
        if (!wanted) --uses_[v];
      });
      if (!wanted) dead_[NodeId(i)] = true;
    }
  }

  const Graph& graph_;
  IdVector<NodeId, FusedNode> nodes_;
  IdVector<ValueId, Shape> shapes_;
  IdVector<ValueId, int> uses_;      // reads, and being an output
  IdVector<ValueId, int> mentions_;  // as an input, read or only asked for its shape
  IdVector<ValueId, NodeId> producer_;
  IdVector<NodeId, bool> dead_;
  std::vector<ValueId> kept_;
};

}  // namespace

FusedGraph fuse(const Graph& graph) {
  FusedGraph fused = Fuser(graph).run();
  fuse_maps(graph, fused);
  fuse_updates(graph, fused);
  return fused;
}

}  // namespace pycnn
