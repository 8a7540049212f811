// SPDX-License-Identifier: Apache-2.0
// upsample2d: x (None, H, W, C) -> y (None, H*h, W*w, C), every pixel as an h x w block.
#include "graph/check.h"
#include "graph/rules.h"

namespace pycnn {
namespace {

Shape output_shape(const Node& node, const Shape& x) {
  check_images(node, "x", x);
  const Size2d factor = node.attrs_as<Upsample2dAttrs>().factor;
  PYCNN_CHECK_SHAPE(x[1] <= kMaxExtent / factor.h && x[2] <= kMaxExtent / factor.w,
                    name_of(node.op), ": height and width of the output must be <= ", kMaxExtent);
  return {kBatch, x[1] * factor.h, x[2] * factor.w, x[3]};
}

Inferred infer_upsample2d(const Graph& graph, const Node& node) {
  return {.shapes = {output_shape(node, graph.shape(node.inputs[0]))}};
}

Inferred infer_upsample2d_backward(const Graph& graph, const Node& node) {
  const Shape& x = graph.shape(node.inputs[1]);
  check_shape(node, "dy", output_shape(node, x), graph.shape(node.inputs[0]));
  return {.shapes = {x}};
}

void upsample2d_gradient(GradientTape& tape, const Node& node, ValueId dy) {
  const ValueId x = node.inputs[0];
  if (!tape.needs(x)) return;
  tape.accumulate(x, tape.graph().add(OpKind::upsample2d_backward, node.attrs, {dy, x}, node.name));
}

}  // namespace

std::span<const OpDefinition> upsample2d_ops() {
  static const OpDefinition rows[] = {
      {.kind = OpKind::upsample2d,
       .name = "upsample2d",
       .inputs = {{"x"}},
       .attrs = Upsample2dAttrs{},
       .infer = infer_upsample2d,
       .gradient = upsample2d_gradient},
      {.kind = OpKind::upsample2d_backward,
       .name = "upsample2d_backward",
       .inputs = {{"dy"}, {"x", Presence::shape_only}},
       .attrs = Upsample2dAttrs{},
       .infer = infer_upsample2d_backward},
  };
  return rows;
}

}  // namespace pycnn
