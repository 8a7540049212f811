// SPDX-License-Identifier: Apache-2.0
// pad: a border of a constant or of mirrored elements, as np.pad makes it.
#include <algorithm>
#include <array>
#include <cmath>

#include "graph/check.h"
#include "graph/rules.h"

namespace pycnn {
namespace {

void check_axis(const Node& node, const Shape& x, int axis) {
  const auto& [pads, mode, value] = node.attrs_as<PadAttrs>();
  const char* op = name_of(node.op);
  const auto at = 2 * static_cast<std::size_t>(axis);
  const dim_t before = pads[at], after = pads[at + 1], extent = x[axis];
  if (axis == 0 && x.has_batch()) {
    PYCNN_CHECK_VALUE(before == 0 && after == 0, op, ": pads must be 0 for the batch axis, got ",
                      before, " and ", after);
  } else {
    PYCNN_CHECK_VALUE(mode != PadMode::reflect || std::max(before, after) < extent, op,
                      ": pads must be less than the ", extent, " elements of axis ", axis,
                      " to reflect, got ", before, " and ", after);
    const bool mirrors = mode != PadMode::constant && before + after > 0;
    PYCNN_CHECK_SHAPE(!mirrors || before + extent + after <= kMaxTable, op,
                      ": a mirrored axis must ", "have <= ", kMaxTable, " elements, got ",
                      before + extent + after);
  }
}

Shape pad_shape(const Node& node, const Shape& x) {
  const Integers& pads = node.attrs_as<PadAttrs>().pads;
  PYCNN_CHECK_SHAPE(x.rank() >= 1, name_of(node.op), ": x must have an axis, got ", x.text());
  check_per_axis(node, "pads", pads.size(), x, 2);
  std::vector<dim_t> dims;
  for (int axis = 0; axis < x.rank(); ++axis) {
    check_axis(node, x, axis);
    const auto at = 2 * static_cast<std::size_t>(axis);
    dims.push_back(x[axis] + pads[at] + pads[at + 1]);
  }
  return Shape(dims);
}

Inferred infer_pad(const Graph& graph, const Node& node) {
  const DType dtype = check_movable(graph, node, "x", node.inputs[0]);
  const float value = node.attrs_as<PadAttrs>().value;
  PYCNN_CHECK_VALUE(
      dtype == DType::f32 || (std::trunc(value) == value && std::abs(value) < 0x1p31f),
      "pad: value must be an integer of 32 bits, as x is, got ", value);
  return {.shapes = {pad_shape(node, graph.shape(node.inputs[0]))}, .dtypes = {dtype}};
}

Inferred infer_pad_backward(const Graph& graph, const Node& node) {
  const Shape& x = graph.shape(node.inputs[1]);
  PYCNN_CHECK_VALUE(node.attrs_as<PadAttrs>().mode != PadMode::constant,
                    "pad_backward: mode must be reflect or symmetric, got constant");
  check_shape(node, "dy", pad_shape(node, x), graph.shape(node.inputs[0]));
  return {.shapes = {x}};
}

void pad_gradient(GradientTape& tape, const Node& node, ValueId dy) {
  const ValueId x = node.inputs[0];
  if (!tape.needs(x)) return;
  Graph& graph = tape.graph();
  const PadAttrs& attrs = node.attrs_as<PadAttrs>();
  if (attrs.mode != PadMode::constant) {
    tape.accumulate(x, graph.add(OpKind::pad_backward, attrs, {dy, x}, node.name));
    return;
  }
  const Shape shape = graph.shape(x);
  std::array<dim_t, kMaxRank> start{};
  for (std::size_t axis = 0; axis < shape.dims().size(); ++axis) start[axis] = attrs.pads[2 * axis];
  const StridedSliceAttrs inside{Integers({start.data(), shape.dims().size()}), shape, {}};
  tape.accumulate(x, graph.add(OpKind::slice, inside, {dy}, node.name));
}

}  // namespace

std::span<const OpDefinition> pad_ops() {
  static const OpDefinition rows[] = {
      {.kind = OpKind::pad,
       .name = "pad",
       .inputs = {{"x", Presence::required, std::nullopt}},
       .attrs = PadAttrs{},
       .infer = infer_pad,
       .gradient = pad_gradient},
      {.kind = OpKind::pad_backward,
       .name = "pad_backward",
       .inputs = {{"dy"}, {"x", Presence::shape_only}},
       .attrs = PadAttrs{},
       .infer = infer_pad_backward},
  };
  return rows;
}

}  // namespace pycnn
