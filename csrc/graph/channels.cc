// SPDX-License-Identifier: Apache-2.0
// concatenate, and ops that move channels, the last axis: slice_channels.
#include "graph/check.h"
#include "graph/rules.h"

namespace pycnn {
namespace {

Shape with_extent(const Shape& shape, int axis, dim_t extent) {
  std::vector<dim_t> dims(shape.dims().begin(), shape.dims().end());
  dims[static_cast<std::size_t>(axis)] = extent;
  return Shape(dims);
}

Shape slice_shape(const Node& node, const Shape& x) {
  const auto& [first, count] = node.attrs_as<SliceAttrs>();
  check_rows(node, "x", x);
  PYCNN_CHECK_VALUE(first <= x[-1] - count, name_of(node.op), ": first and count must lie in the ",
                    x[-1], " channels of x, got ", first, " and ", count);
  return with_extent(x, x.rank() - 1, count);
}

// concatenate: along one axis, one input behind the other

Inferred infer_concatenate(const Graph& graph, const Node& node) {
  const Shape& like = graph.shape(node.inputs[0]);
  const DType dtype = check_movable(graph, node, "inputs[0]", node.inputs[0]);
  PYCNN_CHECK_SHAPE(like.rank() >= 1, "concatenate: inputs[0] must have an axis, got ()");
  const int axis = checked_axis(node, node.attrs_as<ConcatenateAttrs>().axis, like);
  PYCNN_CHECK_VALUE(axis >= 1 || !like.has_batch(),
                    "concatenate: axis must not be the batch axis, got ",
                    node.attrs_as<ConcatenateAttrs>().axis);
  dim_t extent = 0;
  for (std::size_t i = 0; i < node.inputs.size(); ++i) {
    const std::string name = concat("inputs[", i, "]");
    const Value& value = graph.value(node.inputs[i]);
    const Shape& x = value.shape;
    PYCNN_CHECK(value.dtype == dtype, ErrorKind::dtype, "concatenate: ", name, " must be ",
                name_of(dtype), ", got ", name_of(value.dtype));
    const dim_t own = x.rank() == like.rank() ? x[axis] : like[axis];
    check_shape(node, name.c_str(), with_extent(like, axis, own), x);
    PYCNN_CHECK_SHAPE(own <= kMaxExtent, "concatenate: ", name, " has ", own,
                      axis == x.rank() - 1 ? " channels" : " elements along the axis");
    extent += own;
  }
  return {.shapes = {with_extent(like, axis, extent)}, .dtypes = {dtype}};
}

void concatenate_gradient(GradientTape& tape, const Node& node, ValueId dy) {
  Graph& graph = tape.graph();
  const Shape y = graph.shape(dy);
  const int axis = checked_axis(node, node.attrs_as<ConcatenateAttrs>().axis, y);
  dim_t first = 0;
  for (const ValueId x : node.inputs) {
    const Shape shape = graph.shape(x);
    if (tape.needs(x) && axis == y.rank() - 1 && y.has_batch()) {
      const SliceAttrs channels{first, shape[axis]};
      tape.accumulate(x, graph.add(OpKind::slice_channels, channels, {dy}, node.name));
    } else if (tape.needs(x)) {
      std::array<dim_t, kMaxRank> start{};
      start[static_cast<std::size_t>(axis)] = first;
      const Integers from({start.data(), y.dims().size()});
      tape.accumulate(
          x, graph.add(OpKind::slice, StridedSliceAttrs{from, shape, {}}, {dy}, node.name));
    }
    first += shape[axis];
  }
}

// slice_channels: y[..., c] = x[..., first + c], c < count

Inferred infer_slice_channels(const Graph& graph, const Node& node) {
  return {.shapes = {slice_shape(node, graph.shape(node.inputs[0]))}};
}

Inferred infer_slice_channels_backward(const Graph& graph, const Node& node) {
  const Shape& x = graph.shape(node.inputs[1]);
  check_shape(node, "dy", slice_shape(node, x), graph.shape(node.inputs[0]));
  return {.shapes = {x}};
}

void slice_channels_gradient(GradientTape& tape, const Node& node, ValueId dy) {
  const ValueId x = node.inputs[0];
  if (!tape.needs(x)) return;
  tape.accumulate(
      x, tape.graph().add(OpKind::slice_channels_backward, node.attrs, {dy, x}, node.name));
}

}  // namespace

int checked_axis(const Node& node, dim_t axis, const Shape& x) {
  const dim_t rank = x.rank();
  PYCNN_CHECK_VALUE(axis >= -rank && axis < rank, name_of(node.op), ": axis must be in ", -rank,
                    "..", rank - 1, " for x ", x.text(), ", got ", axis);
  return static_cast<int>(axis < 0 ? axis + rank : axis);
}

std::span<const OpDefinition> channels_ops() {
  static const OpDefinition rows[] = {
      {.kind = OpKind::concatenate,
       .name = "concatenate",
       .inputs = {{"inputs", Presence::repeated, std::nullopt}},
       .attrs = ConcatenateAttrs{},
       .infer = infer_concatenate,
       .gradient = concatenate_gradient},
      {.kind = OpKind::slice_channels,
       .name = "slice_channels",
       .inputs = {{"x"}},
       .attrs = SliceAttrs{},
       .infer = infer_slice_channels,
       .gradient = slice_channels_gradient},
      {.kind = OpKind::slice_channels_backward,
       .name = "slice_channels_backward",
       .inputs = {{"dy"}, {"x", Presence::shape_only}},
       .attrs = SliceAttrs{},
       .infer = infer_slice_channels_backward},
  };
  return rows;
}

}  // namespace pycnn
