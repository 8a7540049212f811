// SPDX-License-Identifier: Apache-2.0
// Expressions over elements: map, and reduce, which folds one over some axes.
#include <algorithm>
#include <numeric>

#include "graph/check.h"
#include "graph/expressions.h"
#include "graph/rules.h"

namespace pycnn {
namespace {

// Inputs that exist, of types that can be read, and their common shape.
Shape check_expression_of(const Graph& graph, const Node& node, const Expression& expression,
                          Shape shape) {
  const char* op = name_of(node.op);
  PYCNN_CHECK_VALUE(node.inputs.size() <= kMaxExpressionInputs, op, ": at most ",
                    kMaxExpressionInputs, " inputs, got ", node.inputs.size());
  check_expression(expression);
  PYCNN_CHECK_VALUE(expression.results.size() == 1, op, ": expression must have one result, got ",
                    expression.results.size());
  for (std::size_t i = 0; i < node.inputs.size(); ++i) {
    const Value& x = graph.value(node.inputs[i]);
    PYCNN_CHECK(x.dtype != DType::bf16, ErrorKind::dtype, op, ": inputs[", i,
                "] must be float32, int32 or uint8, got ", name_of(x.dtype));
    const auto together = broadcast_shape(shape, x.shape);
    PYCNN_CHECK_SHAPE(together, op, ": inputs[", i, "] has shape ", x.shape.text(),
                      ", which does not broadcast with ", shape.text());
    shape = *together;
  }
  for_each_operand(expression, [&](const Operand& operand) {
    if (operand.is(OperandKind::input)) {
      PYCNN_CHECK_VALUE(operand.index < node.inputs.size(), op, ": expression reads x",
                        operand.index, ", inputs has ", node.inputs.size());
    } else if (operand.is(OperandKind::iota)) {
      const auto first = static_cast<std::uint32_t>(shape.has_batch());  // samples know no place
      PYCNN_CHECK_VALUE(operand.index >= first && static_cast<int>(operand.index) < shape.rank(),
                        op, ": expression reads iota", operand.index, ", the axes of ",
                        shape.text(), " that may be counted start with ", first);
    }
  });
  return shape;
}

Inferred infer_map(const Graph& graph, const Node& node) {
  const auto& attrs = node.attrs_as<MapAttrs>();
  const Shape shape = check_expression_of(graph, node, attrs.expression, attrs.shape);
  PYCNN_CHECK(attrs.dtype != DType::bf16, ErrorKind::dtype,
              "map: dtype must be float32, int32 or uint8, got bfloat16");
  PYCNN_CHECK_SHAPE(attrs.shape.rank() == 0 || shape == attrs.shape, "map: shape ",
                    attrs.shape.text(), " is not what inputs broadcast to, ", shape.text());
  return {.shapes = {shape}, .dtypes = {attrs.dtype}};
}

Shape reduced_shape(const Shape& shape, const Integers& axes, bool keepdims) {
  std::vector<dim_t> dims;
  for (int axis = 0; axis < shape.rank(); ++axis) {
    const bool reduced = std::ranges::find(axes, axis) != axes.end();
    if (!reduced) dims.push_back(shape[axis]);
    if (reduced && keepdims) dims.push_back(1);
  }
  return Shape(dims);
}

bool is_arg(ReduceKind kind) { return kind == ReduceKind::arg_max || kind == ReduceKind::arg_min; }

Inferred infer_reduce(const Graph& graph, const Node& node) {
  const auto& attrs = node.attrs_as<ReduceAttrs>();
  PYCNN_CHECK_VALUE(!node.inputs.empty(), "reduce: expected 1 or more inputs, got 0");
  const Shape shape = check_expression_of(graph, node, attrs.expression, Shape{});
  dim_t last = -1;
  for (const dim_t axis : attrs.axes) {
    PYCNN_CHECK_VALUE(axis > last && axis < shape.rank(), "reduce: axes must be ascending axes of ",
                      shape.text(), ", got ", axis);
    last = axis;
  }
  PYCNN_CHECK_VALUE(!is_arg(attrs.kind) || attrs.axes.size() == 1, "reduce: ", name_of(attrs.kind),
                    " takes one axis, got ", attrs.axes.size());
  const DType dtype = is_arg(attrs.kind) ? DType::i32 : DType::f32;
  return {.shapes = {reduced_shape(shape, attrs.axes, attrs.keepdims)}, .dtypes = {dtype}};
}

// Left open: all axes; negative ones count from the end.
void resolve_reduce(const Graph& graph, Node& node, const Open& open) {
  auto& attrs = std::get<ReduceAttrs>(node.attrs);
  Shape shape;
  for (const ValueId v : node.inputs) {
    const auto together = broadcast_shape(shape, graph.shape(v));
    if (!together) return;  // to be refused by name
    shape = *together;
  }
  std::vector<dim_t> axes(attrs.axes.begin(), attrs.axes.end());
  if (open.lacks("axes")) {
    axes.resize(static_cast<std::size_t>(shape.rank()));
    std::iota(axes.begin(), axes.end(), 0);
  }
  for (dim_t& axis : axes) axis += axis < 0 ? shape.rank() : 0;
  std::ranges::sort(axes);
  attrs.axes = Integers(axes);
}

// --- gradients ---

Shape common_shape(const Graph& graph, const Node& node) {
  Shape shape = node.op == OpKind::map ? node.attrs_as<MapAttrs>().shape : Shape{};
  for (const ValueId v : node.inputs) shape = *broadcast_shape(shape, graph.shape(v));
  return shape;
}

ValueId add_reshape(Graph& graph, ValueId v, const Shape& shape, const std::string& name) {
  if (graph.shape(v) == shape) return v;
  return graph.add(OpKind::reshape, ReshapeAttrs{shape}, {v}, name);
}

// The value of an expression over `shape`, which its inputs broadcast to.
ValueId add_map(Graph& graph, const BoundExpression& part, const Shape& shape,
                const std::string& name) {
  const bool is_input =
      part.expression.code.empty() && part.expression.results[0].is(OperandKind::input);
  if (is_input && graph.shape(part.inputs[0]) == shape) return part.inputs[0];
  return graph.add(OpKind::map, MapAttrs{part.expression, shape}, part.inputs, name);
}

BoundExpression bound_or_refused(const Node& node, const Expression& expression,
                                 const std::vector<ValueId>& inputs) {
  std::optional<BoundExpression> part = bound(expression, inputs);
  PYCNN_CHECK_VALUE(part, name_of(node.op), ": its gradient needs more than ", kMaxInstructions,
                    " instructions or ", kMaxExpressionInputs, " inputs; use several");
  return *part;
}

// Adds dy * d expression / d input for each input that is needed. y is the expression's value,
// where it is one; dy broadcasts to `shape`.
void add_gradients(GradientTape& tape, const Node& node, const Expression& expression,
                   const Shape& shape, ValueId y, ValueId dy) {
  std::vector<bool> wanted;
  for (const ValueId x : node.inputs) wanted.push_back(tape.needs(x));
  std::vector<ValueId> inputs = node.inputs;
  inputs.push_back(dy);
  if (y.has_value()) inputs.push_back(y);
  const auto gradients = derivatives(expression, wanted, y.has_value());
  for (std::size_t i = 0; i < node.inputs.size(); ++i) {
    if (!gradients[i]) continue;
    Graph& graph = tape.graph();
    const BoundExpression part = bound_or_refused(node, *gradients[i], inputs);
    const ValueId x = node.inputs[i], full = add_map(graph, part, shape, node.name);
    tape.accumulate(x, add_summed(graph, full, graph.shape(x), node.name));
  }
}

void map_gradient(GradientTape& tape, const Node& node, ValueId dy) {
  if (node.attrs_as<MapAttrs>().dtype != DType::f32) return;  // steps have no slope
  add_gradients(tape, node, node.attrs_as<MapAttrs>().expression, common_shape(tape.graph(), node),
                node.outputs[0], dy);
}

// How many elements are folded into one.
Operand count_of(ExpressionBuilder& builder, const Shape& shape, const Integers& axes) {
  double count = 1;
  bool samples = false;
  for (const dim_t axis : axes) {
    const dim_t extent = shape[static_cast<int>(axis)];
    samples = samples || extent == kBatch;
    if (extent != kBatch) count *= static_cast<double>(extent);
  }
  const Operand number = Operand::constant(static_cast<float>(count));
  return samples ? builder.add_simplified({Function::multiply, {number, {OperandKind::batch}}})
                 : number;
}

// dy / how many were averaged.
ValueId mean_share(Graph& graph, const Node& node, const Shape& shape, ValueId dy) {
  ExpressionBuilder builder;
  const Operand count = count_of(builder, shape, node.attrs_as<ReduceAttrs>().axes);
  const Operand share = builder.add(Function::divide, Operand::input(0), count);
  return add_map(graph, {builder.finish({share}), {dy}}, graph.shape(dy), node.name);
}

// Those that are the maximum or minimum y share dy evenly; the others get 0.
ValueId extreme_share(Graph& graph, const Node& node, const Shape& shape, ValueId y, ValueId dy) {
  const auto& attrs = node.attrs_as<ReduceAttrs>();
  ExpressionBuilder builder;
  std::vector<Operand> inputs;
  for (std::size_t i = 0; i < node.inputs.size(); ++i) inputs.push_back(Operand::input(i));
  std::vector<ValueId> values = node.inputs;
  const auto as_operand = [&](ValueId v) {
    values.push_back(v);
    return Operand::input(values.size() - 1);
  };
  const Operand x = builder.include(attrs.expression, inputs)[0];
  const Operand is_it = builder.add(Function::equal, x, as_operand(y));
  const BoundExpression hits = bound_or_refused(node, builder.finish({is_it}), values);
  const ReduceAttrs number{ReduceKind::sum, attrs.axes, true, hits.expression};
  const Operand count = as_operand(graph.add(OpKind::reduce, number, hits.inputs, node.name));
  const Operand share = builder.add(Function::divide, as_operand(dy), count);
  const Operand chosen = builder.add(Function::where, is_it, share, Operand::constant(0));
  return add_map(graph, bound_or_refused(node, builder.finish({chosen}), values), shape, node.name);
}

void reduce_gradient(GradientTape& tape, const Node& node, ValueId dy) {
  const auto& attrs = node.attrs_as<ReduceAttrs>();
  if (is_arg(attrs.kind)) return;  // steps
  Graph& graph = tape.graph();
  const Shape shape = common_shape(graph, node);
  const Shape kept = reduced_shape(shape, attrs.axes, true);
  dy = add_reshape(graph, dy, kept, node.name);
  if (attrs.kind == ReduceKind::mean) {
    dy = mean_share(graph, node, shape, dy);
  } else if (attrs.kind != ReduceKind::sum) {
    const ValueId y = add_reshape(graph, node.outputs[0], kept, node.name);
    dy = extreme_share(graph, node, shape, y, dy);
  }
  add_gradients(tape, node, attrs.expression, shape, kNoValue, dy);
}

}  // namespace

// (A copy of the target: shapes move as nodes are added.)
ValueId add_summed(Graph& graph, ValueId full, Shape target, const std::string& name) {
  const Shape& shape = graph.shape(full);
  if (shape == target) return full;
  std::vector<dim_t> axes;
  const int more = shape.rank() - target.rank();
  for (int axis = 0; axis < shape.rank(); ++axis) {
    if (axis < more || (target[axis - more] == 1 && shape[axis] != 1)) axes.push_back(axis);
  }
  ReduceAttrs attrs;
  attrs.axes = Integers(axes);
  return add_reshape(graph, graph.add(OpKind::reduce, attrs, {full}, name), target, name);
}

std::span<const OpDefinition> map_ops() {
  static const OpDefinition rows[] = {
      {.kind = OpKind::map,
       .name = "map",
       .inputs = {{"inputs", Presence::any_number, std::nullopt}},
       .attrs = MapAttrs{},
       .in_place = kAnyInput,
       .infer = infer_map,
       .gradient = map_gradient},
      {.kind = OpKind::reduce,
       .name = "reduce",
       .inputs = {{"inputs", Presence::any_number, std::nullopt}},
       .attrs = ReduceAttrs{},
       .infer = infer_reduce,
       .gradient = reduce_gradient,
       .resolve = resolve_reduce},
  };
  return rows;
}

}  // namespace pycnn
