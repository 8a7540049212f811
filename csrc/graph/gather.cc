// SPDX-License-Identifier: Apache-2.0
// gather: what lies at `indices` along one axis of x, as np.take. An index outside of the axis
// gives NaN (of int32: -2^31), and takes no part in the gradient.
#include "graph/check.h"
#include "graph/rules.h"

namespace pycnn {
namespace {

Shape gather_shape(const Node& node, const Shape& x, const Shape& indices) {
  const char* op = name_of(node.op);
  PYCNN_CHECK_SHAPE(x.rank() >= 1, op, ": x must have an axis, got ", x.text());
  const int axis = checked_axis(node, node.attrs_as<GatherAttrs>().axis, x);
  PYCNN_CHECK_VALUE(axis >= 1 || !x.has_batch(), op, ": axis must not be the batch axis, got ",
                    node.attrs_as<GatherAttrs>().axis);
  PYCNN_CHECK_SHAPE(!indices.has_batch() || !x.has_batch(), op,
                    ": indices must have no batch axis where x has one, got ", indices.text());
  PYCNN_CHECK_SHAPE(!indices.has_batch() || axis == 0, op,
                    ": axis must be 0 where indices have a batch axis, got ", axis);
  std::vector<dim_t> dims(x.dims().begin(), x.dims().begin() + axis);
  dims.insert(dims.end(), indices.dims().begin(), indices.dims().end());
  dims.insert(dims.end(), x.dims().begin() + axis + 1, x.dims().end());
  PYCNN_CHECK_SHAPE(dims.size() <= std::size_t{kMaxRank}, op,
                    ": rank of the output must be <= ", kMaxRank, ", got ", dims.size());
  PYCNN_CHECK_SHAPE(x[axis] <= kMaxExtent && indices.with_batch(1).count() <= kMaxExtent, op,
                    ": axis and indices must be of <= ", kMaxExtent, " elements");
  return Shape(dims);
}

Inferred infer_gather(const Graph& graph, const Node& node) {
  const DType dtype = check_movable(graph, node, "x", node.inputs[0]);
  return {.shapes = {gather_shape(node, graph.shape(node.inputs[0]), graph.shape(node.inputs[1]))},
          .dtypes = {dtype}};
}

Inferred infer_gather_backward(const Graph& graph, const Node& node) {
  const Shape& x = graph.shape(node.inputs[2]);
  check_shape(node, "dy", gather_shape(node, x, graph.shape(node.inputs[1])),
              graph.shape(node.inputs[0]));
  return {.shapes = {x}};
}

void gather_gradient(GradientTape& tape, const Node& node, ValueId dy) {
  const ValueId x = node.inputs[0], indices = node.inputs[1];
  if (!tape.needs(x)) return;
  tape.accumulate(
      x, tape.graph().add(OpKind::gather_backward, node.attrs, {dy, indices, x}, node.name));
}

}  // namespace

std::span<const OpDefinition> gather_ops() {
  static const OpDefinition rows[] = {
      {.kind = OpKind::gather,
       .name = "gather",
       .inputs = {{"x", Presence::required, std::nullopt},
                  {"indices", Presence::required, DType::i32}},
       .attrs = GatherAttrs{},
       .infer = infer_gather,
       .gradient = gather_gradient},
      {.kind = OpKind::gather_backward,
       .name = "gather_backward",
       .inputs = {{"dy"}, {"indices", Presence::required, DType::i32}, {"x", Presence::shape_only}},
       .attrs = GatherAttrs{},
       .infer = infer_gather_backward},
  };
  return rows;
}

}  // namespace pycnn
