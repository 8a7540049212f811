// SPDX-License-Identifier: Apache-2.0
// Pooling: x (None, H, W, C) -> y (None, P, Q, C), or (None, C) for the global average.
#include <algorithm>

#include "graph/check.h"
#include "graph/rules.h"

namespace pycnn {
namespace {

constexpr dim_t kMaxWindow = 255;  // of a maximum: arg stores its place in the window in a byte

// The last window's first pixel must lie before the image's end, the first one's last pixel after
// its beginning: a maximum or mean of no pixels has no value.
void check_overlap(const Node& node, const char* axis, dim_t in, dim_t window, dim_t last_start,
                   dim_t pad) {
  PYCNN_CHECK_SHAPE(pad < window && last_start - pad < in, name_of(node.op),
                    ": a window lies wholly in the padding (", axis, ": input ", in, ", window ",
                    window, ", windows from ", -pad, " to ", last_start - pad, ")");
}

// x is a value of the graph and must lead with the batch axis.
Pool2dShape checked_shape(const Node& node, const Shape& x) {
  check_images(node, "x", x);
  return pool2d_shape(node, x);
}
Shape output_shape(const Pool2dShape& s) { return {kBatch, s.P(), s.Q(), s.C}; }

double taps_of(const Pool2dShape& s) {
  return static_cast<double>(s.P() * s.Q()) * static_cast<double>(s.C) *
         static_cast<double>(std::min(s.R, s.H) * std::min(s.S, s.W));
}

// max_pool2d: y and arg, the position of the maximum inside its window.

Inferred infer_max_pool2d(const Graph& graph, const Node& node) {
  const Pool2dShape s = checked_shape(node, graph.shape(node.inputs[0]));
  const Shape y = output_shape(s);
  return {.shapes = {y, y}, .dtypes = {DType::f32, DType::u8}, .taps = taps_of(s)};
}

Inferred infer_max_pool2d_backward(const Graph& graph, const Node& node) {
  const Shape& x = graph.shape(node.inputs[2]);
  const Pool2dShape s = checked_shape(node, x);
  const Shape y = output_shape(s);
  check_shape(node, "arg", y, graph.shape(node.inputs[0]));
  check_shape(node, "dy", y, graph.shape(node.inputs[1]));
  return {.shapes = {x}, .taps = taps_of(s)};
}

void max_pool2d_gradient(GradientTape& tape, const Node& node, ValueId dy) {
  const ValueId x = node.inputs[0], arg = node.outputs[1];
  if (!tape.needs(x)) return;
  tape.accumulate(
      x, tape.graph().add(OpKind::max_pool2d_backward, node.attrs, {arg, dy, x}, node.name));
}

// avg_pool2d: the mean over the window's pixels inside the image.

Inferred infer_avg_pool2d(const Graph& graph, const Node& node) {
  const Pool2dShape s = checked_shape(node, graph.shape(node.inputs[0]));
  return {.shapes = {output_shape(s)}, .taps = taps_of(s)};
}

Inferred infer_avg_pool2d_backward(const Graph& graph, const Node& node) {
  const Shape& x = graph.shape(node.inputs[1]);
  const Pool2dShape s = checked_shape(node, x);
  check_shape(node, "dy", output_shape(s), graph.shape(node.inputs[0]));
  return {.shapes = {x}, .taps = taps_of(s)};
}

void avg_pool2d_gradient(GradientTape& tape, const Node& node, ValueId dy) {
  const ValueId x = node.inputs[0];
  if (!tape.needs(x)) return;
  tape.accumulate(x, tape.graph().add(OpKind::avg_pool2d_backward, node.attrs, {dy, x}, node.name));
}

// global_avg_pool2d: the mean over all pixels.

Inferred infer_global_avg_pool2d(const Graph& graph, const Node& node) {
  const Shape& x = graph.shape(node.inputs[0]);
  check_images(node, "x", x);
  return {.shapes = {Shape{kBatch, x[3]}}};
}

Inferred infer_global_avg_pool2d_backward(const Graph& graph, const Node& node) {
  const Shape& x = graph.shape(node.inputs[1]);
  check_images(node, "x", x);
  check_shape(node, "dy", {kBatch, x[3]}, graph.shape(node.inputs[0]));
  return {.shapes = {x}};
}

void global_avg_pool2d_gradient(GradientTape& tape, const Node& node, ValueId dy) {
  const ValueId x = node.inputs[0];
  if (!tape.needs(x)) return;
  tape.accumulate(x, tape.graph().add(OpKind::global_avg_pool2d_backward, {}, {dy, x}, node.name));
}

void resolve_pool2d(const Graph& graph, Node& node, const Open& open) {
  const Size2d window = std::get<Pool2dAttrs>(node.attrs).window;
  resolve_windows(graph, node, 0, {window.h, window.w, 1, 1}, open);
}

}  // namespace

Pool2dShape pool2d_shape(const Node& node, const Shape& x) {
  const auto& attrs = node.attrs_as<Pool2dAttrs>();
  PYCNN_CHECK_SHAPE(x.rank() == 4, name_of(node.op), ": x must be (None, H, W, C), got ", x.text());
  const Pool2dShape s{.N = x.has_batch() ? 1 : x[0],
                      .H = x[1],
                      .W = x[2],
                      .C = x[3],
                      .R = attrs.window.h,
                      .S = attrs.window.w,
                      .stride = attrs.stride,
                      .pad = attrs.pad};
  check_windows(
      node,
      {.H = s.H, .W = s.W, .R = s.R, .S = s.S, .stride = s.stride, .dilation = {}, .pad = s.pad});
  const bool maximum = node.op == OpKind::max_pool2d || node.op == OpKind::max_pool2d_backward;
  PYCNN_CHECK_SHAPE(!maximum || s.R * s.S <= kMaxWindow, name_of(node.op),
                    ": window must have at most ", kMaxWindow, " pixels, got ", s.R, " x ", s.S);
  check_overlap(node, "rows", s.H, s.R, (s.P() - 1) * s.stride.h, s.pad.top);
  check_overlap(node, "columns", s.W, s.S, (s.Q() - 1) * s.stride.w, s.pad.left);
  return s;
}

std::span<const OpDefinition> pool2d_ops() {
  static const OpDefinition rows[] = {
      {.kind = OpKind::max_pool2d,
       .name = "max_pool2d",
       .inputs = {{"x"}},
       .attrs = Pool2dAttrs{},
       .infer = infer_max_pool2d,
       .gradient = max_pool2d_gradient,
       .resolve = resolve_pool2d},
      {.kind = OpKind::max_pool2d_backward,
       .name = "max_pool2d_backward",
       .inputs = {{"arg", Presence::required, DType::u8}, {"dy"}, {"x", Presence::shape_only}},
       .attrs = Pool2dAttrs{},
       .infer = infer_max_pool2d_backward},
      {.kind = OpKind::avg_pool2d,
       .name = "avg_pool2d",
       .inputs = {{"x"}},
       .attrs = Pool2dAttrs{},
       .infer = infer_avg_pool2d,
       .gradient = avg_pool2d_gradient,
       .resolve = resolve_pool2d},
      {.kind = OpKind::avg_pool2d_backward,
       .name = "avg_pool2d_backward",
       .inputs = {{"dy"}, {"x", Presence::shape_only}},
       .attrs = Pool2dAttrs{},
       .infer = infer_avg_pool2d_backward},
      {.kind = OpKind::global_avg_pool2d,
       .name = "global_avg_pool2d",
       .inputs = {{"x"}},
       .infer = infer_global_avg_pool2d,
       .gradient = global_avg_pool2d_gradient},
      {.kind = OpKind::global_avg_pool2d_backward,
       .name = "global_avg_pool2d_backward",
       .inputs = {{"dy"}, {"x", Presence::shape_only}},
       .infer = infer_global_avg_pool2d_backward},
  };
  return rows;
}

}  // namespace pycnn
