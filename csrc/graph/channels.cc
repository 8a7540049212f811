// SPDX-License-Identifier: Apache-2.0
// Ops that move channels, the last axis: concatenate, slice_channels.
#include "graph/check.h"
#include "graph/rules.h"

namespace pycnn {
namespace {

Shape with_channels(const Shape& shape, dim_t channels) {
  std::vector<dim_t> dims(shape.dims().begin(), shape.dims().end());
  dims.back() = channels;
  return Shape(dims);
}

Shape slice_shape(const Node& node, const Shape& x) {
  const auto& [first, count] = node.attrs_as<SliceAttrs>();
  check_rows(node, "x", x);
  PYCNN_CHECK_VALUE(first <= x[-1] - count, name_of(node.op), ": first and count must lie in the ",
                    x[-1], " channels of x, got ", first, " and ", count);
  return with_channels(x, count);
}

// concatenate: y[..., first_i + c] = x_i[..., c]

Inferred infer_concatenate(const Graph& graph, const Node& node) {
  dim_t channels = 0;
  for (std::size_t i = 0; i < node.inputs.size(); ++i) {
    const std::string name = concat("inputs[", i, "]");
    const ValueId v = node.inputs[i];
    const Shape& x = graph.shape(v);
    check_rows(node, name.c_str(), x);
    check_shape(node, name.c_str(), with_channels(graph.shape(node.inputs[0]), x[-1]), x);
    PYCNN_CHECK_SHAPE(x[-1] <= kMaxExtent, "concatenate: ", name, " has ", x[-1], " channels");
    channels += x[-1];
  }
  return {.shapes = {with_channels(graph.shape(node.inputs[0]), channels)}};
}

void concatenate_gradient(GradientTape& tape, const Node& node, ValueId dy) {
  dim_t first = 0;
  for (const ValueId x : node.inputs) {
    const dim_t count = tape.graph().shape(x)[-1];
    if (tape.needs(x)) {
      tape.accumulate(
          x, tape.graph().add(OpKind::slice_channels, SliceAttrs{first, count}, {dy}, node.name));
    }
    first += count;
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

std::span<const OpDefinition> channels_ops() {
  static const OpDefinition rows[] = {
      {.kind = OpKind::concatenate,
       .name = "concatenate",
       .inputs = {{"inputs", Presence::repeated}},
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
