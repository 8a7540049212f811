// SPDX-License-Identifier: Apache-2.0
// conv2d: x (None, H, W, C), w (R, S, C/G, K) -> y (None, P, Q, K); formula in base/shape.h.
#include <array>

#include "graph/check.h"
#include "graph/rules.h"

namespace pycnn {
namespace {

void check_channels(const Node& node, const Conv2dShape& s, dim_t w_channels) {
  const char* op = name_of(node.op);
  PYCNN_CHECK_SHAPE(s.C % s.G == 0, op, ": groups must divide the input's channels, got ", s.C,
                    " channels, ", s.G, " groups");
  PYCNN_CHECK_SHAPE(s.K % s.G == 0, op, ": groups must divide the filters, got ", s.K, " filters, ",
                    s.G, " groups");
  PYCNN_CHECK_SHAPE(s.C / s.G == w_channels, op, ": x has ", s.C, " channels in ", s.G,
                    " groups, w expects ", w_channels, " per group");
}

// conv2d_shape of values of the graph, whose x must lead with the batch axis.
Conv2dShape checked_shape(const Node& node, const Shape& x, const Shape& w) {
  check_images(node, "x", x);
  return conv2d_shape(node, x, w);
}

Shape output_shape(const Conv2dShape& s) { return {kBatch, s.P(), s.Q(), s.K}; }

dim_t macs_of(const Node& node, const Conv2dShape& s) {
  return checked_macs(node, std::array{s.P(), s.Q(), s.K, s.R, s.S, s.C / s.G});
}

Inferred infer_conv2d(const Graph& graph, const Node& node) {
  const ValueId bias = node.inputs[2];
  const Conv2dShape s =
      checked_shape(node, graph.shape(node.inputs[0]), graph.shape(node.inputs[1]));
  if (bias.has_value()) check_shape(node, "b", {s.K}, graph.shape(bias));
  return {.shapes = {output_shape(s)}, .macs = macs_of(node, s)};
}

Inferred infer_backward_data(const Graph& graph, const Node& node) {
  const Shape& x = graph.shape(node.inputs[2]);
  const Conv2dShape s = checked_shape(node, x, graph.shape(node.inputs[1]));
  check_shape(node, "dy", output_shape(s), graph.shape(node.inputs[0]));
  return {.shapes = {x}, .macs = macs_of(node, s)};
}

Inferred infer_backward_weights(const Graph& graph, const Node& node) {
  const Shape& w = graph.shape(node.inputs[2]);
  const Conv2dShape s = checked_shape(node, graph.shape(node.inputs[0]), w);
  check_shape(node, "dy", output_shape(s), graph.shape(node.inputs[1]));
  return {.shapes = {w}, .macs = macs_of(node, s)};
}

// Weights first: after them nothing of this layer reads x, and dx may take its memory.
void conv2d_gradient(GradientTape& tape, const Node& node, ValueId dy) {
  Graph& graph = tape.graph();
  const ValueId x = node.inputs[0], w = node.inputs[1], bias = node.inputs[2];
  if (tape.needs(w)) {
    tape.accumulate(w,
                    graph.add(OpKind::conv2d_backward_weights, node.attrs, {x, dy, w}, node.name));
  }
  bias_gradient(tape, node, bias, dy);
  if (tape.needs(x)) {
    tape.accumulate(x, graph.add(OpKind::conv2d_backward_data, node.attrs, {dy, w, x}, node.name));
  }
}

// w, R and S known, "same" and "valid" become pixels.
void resolve_conv2d(const Graph& graph, Node& node, const Open& open) {
  const bool weights = node.op == OpKind::conv2d_backward_weights;
  const std::size_t image = node.op == OpKind::conv2d_backward_data ? 2 : 0;
  resolve_windows(graph, node, image, graph.shape(node.inputs[weights ? 2 : 1]), open);
}

}  // namespace

Conv2dShape conv2d_shape(const Node& node, const Shape& x, const Shape& w) {
  const auto& attrs = node.attrs_as<Conv2dAttrs>();
  PYCNN_CHECK_SHAPE(x.rank() == 4, name_of(node.op), ": x must be (None, H, W, C), got ", x.text());
  PYCNN_CHECK_SHAPE(w.rank() == 4 && !w.has_batch(), name_of(node.op),
                    ": w must be (R, S, C/groups, K), got ", w.text());
  const Conv2dShape s{.N = x.has_batch() ? 1 : x[0],
                      .H = x[1],
                      .W = x[2],
                      .C = x[3],
                      .K = w[3],
                      .R = w[0],
                      .S = w[1],
                      .G = attrs.groups,
                      .stride = attrs.stride,
                      .dilation = attrs.dilation,
                      .pad = attrs.pad};
  check_channels(node, s, w[2]);
  check_windows(node, s);
  return s;
}

std::span<const OpDefinition> conv2d_ops() {
  static const OpDefinition rows[] = {
      {.kind = OpKind::conv2d,
       .name = "conv2d",
       .inputs = {{"x"}, {"w"}, {"b", Presence::optional}},
       .attrs = Conv2dAttrs{},
       .kernel = 1,
       .infer = infer_conv2d,
       .gradient = conv2d_gradient,
       .resolve = resolve_conv2d},
      {.kind = OpKind::conv2d_backward_data,
       .name = "conv2d_backward_data",
       .inputs = {{"dy"}, {"w"}, {"x", Presence::shape_only}},
       .attrs = Conv2dAttrs{},
       .kernel = 1,
       .infer = infer_backward_data,
       .resolve = resolve_conv2d},
      {.kind = OpKind::conv2d_backward_weights,
       .name = "conv2d_backward_weights",
       .inputs = {{"x"}, {"dy"}, {"w", Presence::shape_only}},
       .attrs = Conv2dAttrs{},
       .kernel = 2,
       .infer = infer_backward_weights,
       .resolve = resolve_conv2d},
  };
  return rows;
}

}  // namespace pycnn
