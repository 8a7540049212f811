// SPDX-License-Identifier: Apache-2.0
// Maps whose results are assigned to a parameter and its slots into one map, which writes them in
// place: what Adam keeps passes through the caches once. Others are computed first and copied.
#include <algorithm>
#include <map>

#include "graph/expressions.h"
#include "plan/fuse.h"

namespace pycnn {
namespace {

// Places and random numbers are not those of where a packed element lies.
bool knows_places(const Expression& expression) {
  bool found = false;
  for_each_operand(expression, [&](const Operand& operand) {
    found = found || operand.is(OperandKind::iota) || operand.is(OperandKind::uniform);
  });
  return found;
}

class UpdateFuser {
 public:
  UpdateFuser(const Graph& graph, FusedGraph& fused)
      : graph_(graph),
        nodes_(fused.nodes),
        shapes_(fused.shapes),
        readers_(graph.values().size()),
        producer_(graph.values().size(), kNone),
        writer_(graph.values().size(), kNone),
        is_output_(graph.values().size()) {
    for (std::size_t i = 0; i < nodes_.size(); ++i) {
      for_each_read(nodes_[i], [&](ValueId v) { readers_[v].push_back(i); });
      for (const ValueId v : nodes_[i].outputs) producer_[v] = i;
      for_each_written(graph, nodes_[i], [&](ValueId v) { writer_[v] = i; });
    }
    for (const ValueId v : graph.outputs()) is_output_[v] = true;
  }

  void run() {
    std::map<std::size_t, std::vector<std::size_t>> assigns;  // by their parameter
    for (std::size_t i = 0; i < nodes_.size(); ++i) {
      if (nodes_[i].op != OpKind::assign) continue;
      assigns[owner_of(nodes_[i].inputs[0]).index()].push_back(i);
    }
    for (auto& [owner, group] : assigns) {
      if (group.size() > kMaxResults) group.resize(kMaxResults);
      if (!fuse_group(group, true)) fuse_group(group, false);
    }
    std::erase_if(nodes_, [](const FusedNode& node) { return node.op == OpKind::count_; });
    std::ranges::stable_sort(nodes_, {}, &UpdateFuser::turn_of);
  }

 private:
  static constexpr std::size_t kNone = static_cast<std::size_t>(-1);

  ValueId owner_of(ValueId state) const {
    const Node& node = graph_.producer(state);
    return node.op == OpKind::slot ? node.inputs[0] : state;
  }

  // All that is computed, what optimizers of one op each do, maps that write what only they read,
  // and copies.
  static int turn_of(const FusedNode& node) {
    if (node.op == OpKind::assign) return 3;
    if (!node.targets.empty()) return 2;
    return is_update(node.op) ? 1 : 0;
  }

  // May the node's result stay in a block, and be what is assigned to `like`?
  bool can_join(std::size_t i, const Shape& like) const {
    if (i == kNone || nodes_[i].op != OpKind::map || nodes_[i].outputs.size() != 1) return false;
    const ValueId y = nodes_[i].outputs[0];
    const Expression& expression = nodes_[i].attrs_as<MapAttrs>().expression;
    return graph_.value(y).dtype == DType::f32 && !is_output_[y] && shapes_[y] == like &&
           !knows_places(expression) && !expression.results[0].is(OperandKind::input);
  }

  static bool holds(const std::vector<std::size_t>& list, std::size_t i) {
    return std::ranges::find(list, i) != list.end();
  }

  // The assigned maps and, where asked, those that they read, as far as all readers are among
  // these.
  std::vector<std::size_t> maps_of(std::vector<std::size_t>& assigns, const Shape& like,
                                   bool with_inner) const {
    std::vector<std::size_t> maps;
    const auto reach = [&](ValueId v) {
      if (can_join(producer_[v], like) && !holds(maps, producer_[v])) maps.push_back(producer_[v]);
    };
    for (const std::size_t i : assigns) reach(nodes_[i].inputs[1]);
    for (std::size_t k = 0; with_inner && k < maps.size(); ++k) {
      std::ranges::for_each(nodes_[maps[k]].inputs, reach);
    }
    for (std::size_t before = 0; before != maps.size() + assigns.size();) {
      before = maps.size() + assigns.size();
      std::erase_if(assigns,
                    [&](std::size_t i) { return !holds(maps, producer_[nodes_[i].inputs[1]]); });
      std::erase_if(maps, [&](std::size_t i) { return !stays(i, maps, assigns, like); });
    }
    std::ranges::sort(maps);
    return maps;
  }

  bool stays(std::size_t i, const std::vector<std::size_t>& maps,
             const std::vector<std::size_t>& assigns, const Shape& like) const {
    const bool is_ours = std::ranges::all_of(
        readers_[nodes_[i].outputs[0]],
        [&](std::size_t reader) { return holds(maps, reader) || holds(assigns, reader); });
    return is_ours && std::ranges::all_of(nodes_[i].inputs, [&](ValueId v) {
             return (producer_[v] != kNone && holds(maps, producer_[v])) ||
                    can_read(v, assigns, like);
           });
  }

  // A number or an array as large as the target; of what this step writes only what this map does.
  bool can_read(ValueId v, const std::vector<std::size_t>& assigns, const Shape& like) const {
    const Shape& shape = shapes_[v];
    if (shape.has_batch()) return false;
    if (shape != like && (shape.count() != 1 || shape.rank() > like.rank())) return false;
    if (shape == like && shape.count() != 1 && graph_.value(v).dtype != DType::f32) return false;
    const ValueId state = state_behind(graph_, v);
    if (!state.has_value() || writer_[state] == kNone) return true;
    return state == v && holds(assigns, writer_[state]);
  }

  std::optional<BoundExpression> together(const std::vector<std::size_t>& maps,
                                          const std::vector<std::size_t>& assigns) const {
    ExpressionBuilder builder;
    std::vector<ValueId> values;
    std::map<std::size_t, Operand> made;  // by the value
    for (const std::size_t i : maps) {
      std::vector<Operand> inputs;
      for (const ValueId v : nodes_[i].inputs) {
        const auto found = made.find(v.index());
        inputs.push_back(found != made.end() ? found->second : Operand::input(values.size()));
        if (found == made.end()) values.push_back(v);
      }
      made[nodes_[i].outputs[0].index()] =
          builder.include(nodes_[i].attrs_as<MapAttrs>().expression, inputs)[0];
    }
    std::vector<Operand> results;
    for (const std::size_t i : assigns) results.push_back(made.at(nodes_[i].inputs[1].index()));
    return bound(builder.finish(results), values);
  }

  // False where it would be too much for one expression.
  bool fuse_group(std::vector<std::size_t> assigns, bool with_inner) {
    const Shape like = shapes_[nodes_[assigns[0]].inputs[0]];
    const std::vector<std::size_t> maps = maps_of(assigns, like, with_inner);
    if (assigns.empty()) return true;
    FusedNode update{};
    for (const std::size_t i : assigns) update.targets.push_back(nodes_[i].inputs[0]);
    const auto part = together(maps, assigns);
    if (!part) return false;
    update.op = OpKind::map;
    update.attrs = MapAttrs{part->expression, like};
    update.inputs = part->inputs;
    update.name = graph_.producer(owner_of(update.targets.front())).name;
    for (const std::vector<std::size_t>* list : {&maps, &std::as_const(assigns)}) {
      for (const std::size_t i : *list) clear(nodes_[i]);
    }
    nodes_[assigns.back()] = std::move(update);
    return true;
  }

  static void clear(FusedNode& node) {
    node.op = OpKind::count_;
    node.inputs.clear();
    node.outputs.clear();
  }

  const Graph& graph_;
  std::vector<FusedNode>& nodes_;
  const IdVector<ValueId, Shape>& shapes_;
  IdVector<ValueId, std::vector<std::size_t>> readers_;
  IdVector<ValueId, std::size_t> producer_, writer_;
  IdVector<ValueId, bool> is_output_;
};

}  // namespace

void fuse_updates(const Graph& graph, FusedGraph& fused) { UpdateFuser(graph, fused).run(); }

}  // namespace pycnn
