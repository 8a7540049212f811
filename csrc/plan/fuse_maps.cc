// SPDX-License-Identifier: Apache-2.0
// Maps into the maps and folds that read them: a value with one reader over the same elements is
// never written. Then maps that read one another, or the same values, into one pass. No instruction
// is changed, so neither is a bit.
#include <algorithm>
#include <iomanip>

#include "graph/expressions.h"
#include "plan/fuse.h"

namespace pycnn {
namespace {

std::optional<std::vector<std::string>> lines_of(const ActivationAttrs& attrs, bool backward) {
  const std::string alpha = concat(std::setprecision(9), attrs.alpha);
  switch (attrs.kind) {  // as kernels/eltwise/activations.h computes them; elu does otherwise
    case ActivationKind::sigmoid:
      if (backward) return {{"subtract 1 x0", "multiply x0 t0", "multiply x1 t1", "t2"}};
      return {{"sigmoid x0", "t0"}};
    case ActivationKind::tanh:
      if (backward) return {{"multiply x0 x0", "subtract 1 t0", "multiply x1 t1", "t2"}};
      return {{"tanh x0", "t0"}};
    case ActivationKind::relu:
      if (backward) return {{"less 0 x0", "where t0 x1 0", "t1"}};
      return {{"maximum 0 x0", "t0"}};
    case ActivationKind::relu6:
      if (backward) {
        return {{"less 0 x0", "less x0 6", "logical_and t0 t1", "where t2 x1 0", "t3"}};
      }
      return {{"maximum 0 x0", "minimum 6 t0", "t1"}};
    case ActivationKind::leaky_relu:
      if (backward) return {{"less 0 x0", "multiply " + alpha + " x1", "where t0 x1 t1", "t2"}};
      return {{"less 0 x0", "multiply " + alpha + " x0", "where t0 x0 t1", "t2"}};
    default:
      return std::nullopt;
  }
}

// What a node computes for each element, where it is an expression; of a fold, what it folds.
std::optional<Expression> expression_of(const FusedNode& node) {
  switch (node.op) {
    case OpKind::map:
      return node.attrs_as<MapAttrs>().expression;
    case OpKind::reduce:
      return node.attrs_as<ReduceAttrs>().expression;
    case OpKind::stop_gradient:
      return Expression{{}, {Operand::input(0)}};
    case OpKind::add:
      return Expression{{{Function::add, {Operand::input(0), Operand::input(1)}}},
                        {Operand::result(0)}};
    case OpKind::activation:
    case OpKind::activation_backward: {
      const bool backward = node.op == OpKind::activation_backward;
      const auto lines = lines_of(node.attrs_as<ActivationAttrs>(), backward);
      return lines ? std::optional(parse_expression(*lines)) : std::nullopt;
    }
    default:
      return std::nullopt;
  }
}

class MapFuser {
 public:
  MapFuser(const Graph& graph, FusedGraph& fused)
      : graph_(graph),
        nodes_(fused.nodes),
        shapes_(fused.shapes),
        uses_(graph.values().size()),
        producer_(graph.values().size(), kNone) {
    for (std::size_t i = 0; i < nodes_.size(); ++i) {
      const FusedNode& node = nodes_[i];
      count_reads(node, 1);
      for (const ValueId v : node.outputs) producer_[v] = i;
    }
    for (const ValueId v : graph.outputs()) ++uses_[v];
  }

  void run() {
    for (std::size_t j = 0; j < nodes_.size(); ++j) {
      while (absorb_any(j)) {
      }
    }
    std::erase_if(nodes_, [](const FusedNode& node) { return node.op == OpKind::count_; });
  }

 private:
  static constexpr std::size_t kNone = static_cast<std::size_t>(-1);

  void count_reads(const FusedNode& node, int by) {
    for_each_read(node, [&](ValueId v) { uses_[v] += by; });
  }

  // Of the elements that a node computes, or folds.
  Shape domain_of(const FusedNode& node) const {
    if (node.op != OpKind::reduce) return shapes_[node.outputs[0]];
    return broadcast_of(node.inputs);
  }
  Shape broadcast_of(const std::vector<ValueId>& values) const {
    Shape shape;
    for (const ValueId v : values) shape = *broadcast_shape(shape, shapes_[v]);
    return shape;
  }

  bool absorb_any(std::size_t j) {
    for (std::size_t k = 0; k < nodes_[j].inputs.size(); ++k) {
      const ValueId v = nodes_[j].inputs[k];
      if (v.has_value() && producer_[v] != kNone && absorb(j, k, producer_[v])) return true;
    }
    return false;
  }

  // Node i, whose result is input k of node j and nothing else.
  bool absorb(std::size_t j, std::size_t k, std::size_t i) {
    FusedNode &reader = nodes_[j], &made = nodes_[i];
    const ValueId v = reader.inputs[k];
    // Two ops that have kernels of their own stay as they are.
    const bool is_map =
        made.op == OpKind::map || reader.op == OpKind::map || reader.op == OpKind::reduce;
    if (!is_map || made.op == OpKind::reduce || uses_[v] != 1) return false;
    const auto inner = expression_of(made), outer = expression_of(reader);
    if (!inner || !outer || made.outputs.size() != 1) return false;
    const Shape domain = domain_of(reader);
    if (shapes_[v] != domain) return false;
    ExpressionBuilder builder;
    std::vector<ValueId> values = reader.inputs;
    std::vector<Operand> outer_inputs, inner_inputs;
    for (std::size_t n = 0; n < values.size(); ++n) outer_inputs.push_back(Operand::input(n));
    for (const ValueId input : made.inputs) {
      inner_inputs.push_back(Operand::input(values.size()));
      values.push_back(input);
    }
    outer_inputs[k] = stored(builder, builder.include(*inner, inner_inputs)[0], v);
    const auto part = bound(builder.finish(builder.include(*outer, outer_inputs)), values);
    if (!part) return false;
    if (reader.op == OpKind::reduce && broadcast_of(part->inputs) != domain) return false;
    count_reads(reader, -1);
    count_reads(made, -1);
    replace(reader, *part, domain);
    count_reads(reader, 1);
    made.op = OpKind::count_;
    made.inputs.clear();
    made.outputs.clear();
    return true;
  }

  // As the value would come back from memory.
  Operand stored(ExpressionBuilder& builder, const Operand& result, ValueId v) const {
    switch (graph_.value(v).dtype) {
      case DType::i32:
        return builder.add(Function::to_int32, result);
      case DType::u8:
        return builder.add(Function::to_uint8, result);
      default:
        return result;
    }
  }

  void replace(FusedNode& node, const BoundExpression& part, const Shape& domain) const {
    if (node.op == OpKind::reduce) {
      std::get<ReduceAttrs>(node.attrs).expression = part.expression;
    } else {
      node.op = OpKind::map;
      node.attrs = MapAttrs{part.expression, domain, graph_.value(node.outputs[0]).dtype};
    }
    node.inputs = part.inputs;
  }

  const Graph& graph_;
  std::vector<FusedNode>& nodes_;
  const IdVector<ValueId, Shape>& shapes_;
  IdVector<ValueId, int> uses_;
  IdVector<ValueId, std::size_t> producer_;
};

}  // namespace

void fuse_maps(const Graph& graph, FusedGraph& fused) { MapFuser(graph, fused).run(); }

}  // namespace pycnn
