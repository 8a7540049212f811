// SPDX-License-Identifier: Apache-2.0
// resize: images (None, H, W, C) of another height and width; see Coordinates and Rounding. The
// defaults, also with "nearest", are those of keras.ops.image.resize without antialiasing.
#include <algorithm>

#include "graph/check.h"
#include "graph/rules.h"

namespace pycnn {
namespace {

Shape output_shape(const Node& node, const Shape& x) {
  check_images(node, "x", x);
  const Size2d size = node.attrs_as<ResizeAttrs>().size;
  PYCNN_CHECK_SHAPE(std::max({x[1], x[2], size.h, size.w}) <= kMaxTable, name_of(node.op),
                    ": height and width must be <= ", kMaxTable, ", got ", x.text(), " and (",
                    size.h, ", ", size.w, ")");
  return {kBatch, size.h, size.w, x[3]};
}

Inferred infer_resize(const Graph& graph, const Node& node) {
  return {.shapes = {output_shape(node, graph.shape(node.inputs[0]))}};
}

Inferred infer_resize_backward(const Graph& graph, const Node& node) {
  const Shape& x = graph.shape(node.inputs[1]);
  check_shape(node, "dy", output_shape(node, x), graph.shape(node.inputs[0]));
  return {.shapes = {x}};
}

void resize_gradient(GradientTape& tape, const Node& node, ValueId dy) {
  const ValueId x = node.inputs[0];
  if (!tape.needs(x)) return;
  tape.accumulate(x, tape.graph().add(OpKind::resize_backward, node.attrs, {dy, x}, node.name));
}

}  // namespace

std::span<const OpDefinition> resize_ops() {
  static const OpDefinition rows[] = {
      {.kind = OpKind::resize,
       .name = "resize",
       .inputs = {{"x"}},
       .attrs = ResizeAttrs{},
       .infer = infer_resize,
       .gradient = resize_gradient},
      {.kind = OpKind::resize_backward,
       .name = "resize_backward",
       .inputs = {{"dy"}, {"x", Presence::shape_only}},
       .attrs = ResizeAttrs{},
       .infer = infer_resize_backward},
  };
  return rows;
}

}  // namespace pycnn
