// SPDX-License-Identifier: Apache-2.0
// slice: y[i, j, ...] = x[start[0] + i*steps[0], start[1] + j*steps[1], ...]; steps of any sign.
#include <cstdlib>

#include "graph/check.h"
#include "graph/rules.h"

namespace pycnn {
namespace {

void check_axis(const Node& node, const Shape& x, int axis, const AxisRange& range) {
  const char* op = name_of(node.op);
  const dim_t extent = x[axis], last = range.count - 1;
  if (axis == 0 && x.has_batch()) {
    PYCNN_CHECK_VALUE(range.first == 0 && range.count == kBatch && range.step == 1, op,
                      ": the batch axis must be whole: start 0, count None, step 1; got ",
                      range.first, ", ", range.count, ", ", range.step);
    return;
  }
  PYCNN_CHECK_VALUE(range.step != 0 && range.step >= -kMaxExtent && range.step <= kMaxExtent, op,
                    ": steps must not be 0 nor beyond ", kMaxExtent, ", got ", range.step,
                    " for axis ", axis);
  PYCNN_CHECK_VALUE(range.count >= 1, op, ": count must be >= 1, got ", range.count, " for axis ",
                    axis);
  const dim_t room = range.step > 0 ? extent - 1 - range.first : range.first;
  PYCNN_CHECK_VALUE(range.first < extent && last <= room / std::abs(range.step), op,
                    ": start, count and step must lie in the ", extent, " elements of axis ", axis,
                    ", got ", range.first, ", ", range.count, " and ", range.step);
}

Shape slice_shape(const Node& node, const Shape& x) {
  const auto& [start, count, steps] = node.attrs_as<StridedSliceAttrs>();
  PYCNN_CHECK_SHAPE(x.rank() >= 1, name_of(node.op), ": x must have an axis, got ", x.text());
  check_per_axis(node, "start", start.size(), x);
  check_per_axis(node, "count", count.dims().size(), x);
  if (steps.size() != 0) check_per_axis(node, "steps", steps.size(), x);
  for (int axis = 0; axis < x.rank(); ++axis) check_axis(node, x, axis, slice_range(node, axis));
  return count;
}

Inferred infer_slice(const Graph& graph, const Node& node) {
  const DType dtype = check_movable(graph, node, "x", node.inputs[0]);
  return {.shapes = {slice_shape(node, graph.shape(node.inputs[0]))}, .dtypes = {dtype}};
}

Inferred infer_slice_backward(const Graph& graph, const Node& node) {
  const Shape& x = graph.shape(node.inputs[1]);
  check_shape(node, "dy", slice_shape(node, x), graph.shape(node.inputs[0]));
  return {.shapes = {x}};
}

void slice_gradient(GradientTape& tape, const Node& node, ValueId dy) {
  const ValueId x = node.inputs[0];
  if (!tape.needs(x)) return;
  tape.accumulate(x, tape.graph().add(OpKind::slice_backward, node.attrs, {dy, x}, node.name));
}

}  // namespace

AxisRange slice_range(const Node& node, int axis) {
  const auto& [start, count, steps] = node.attrs_as<StridedSliceAttrs>();
  const auto at = static_cast<std::size_t>(axis);
  return {start[at], count[axis], steps.size() == 0 ? 1 : steps[at]};
}

std::span<const OpDefinition> slice_ops() {
  static const OpDefinition rows[] = {
      {.kind = OpKind::slice,
       .name = "slice",
       .inputs = {{"x", Presence::required, std::nullopt}},
       .attrs = StridedSliceAttrs{},
       .infer = infer_slice,
       .gradient = slice_gradient},
      {.kind = OpKind::slice_backward,
       .name = "slice_backward",
       .inputs = {{"dy"}, {"x", Presence::shape_only}},
       .attrs = StridedSliceAttrs{},
       .infer = infer_slice_backward},
  };
  return rows;
}

}  // namespace pycnn
