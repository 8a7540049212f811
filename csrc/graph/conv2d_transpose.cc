// SPDX-License-Identifier: Apache-2.0
// conv2d_transpose: x (None, P, Q, C), w (R, S, K, C) -> y (None, H, W, K), the gradient by its
// input of the convolution that takes y back to x: y[n, p*u + r*e - top, ...] += x[n,p,q] * w[r,s].
#include <algorithm>
#include <array>

#include "graph/check.h"
#include "graph/rules.h"

namespace pycnn {
namespace {

// (in - 1) * stride + extent - pad + extra, refused where it is no size of an image.
dim_t output_size(const Node& node, const char* axis, dim_t in, dim_t stride, dim_t extent,
                  dim_t pad, dim_t extra) {
  const dim_t size = (in - 1) * stride + extent - pad + extra;
  PYCNN_CHECK_SHAPE(size >= 1 && size <= kMaxExtent, name_of(node.op), ": output ", axis, " (", in,
                    " - 1) * ", stride, " + ", extent, " - ", pad, " + ", extra, " must be in 1..",
                    kMaxExtent);
  return size;
}

void check_sizes(const Node& node, const Conv2dTransposeAttrs& attrs, const Shape& x,
                 const Shape& w) {
  const auto check = [&](const char* what, dim_t h, dim_t w) {
    PYCNN_CHECK_VALUE(h >= 1 && w >= 1 && h <= kMaxExtent && w <= kMaxExtent, name_of(node.op),
                      ": ", what, " must be in 1..", kMaxExtent, ", got (", h, ", ", w, ")");
  };
  check("input size", x[1], x[2]);
  check("window", w[0], w[1]);
  const Size2d extra = attrs.output_padding;  // less than a stride, else x would have more pixels
  PYCNN_CHECK_VALUE(extra.h < attrs.stride.h && extra.w < attrs.stride.w, name_of(node.op),
                    ": output_padding must be >= 0 and less than the stride (", attrs.stride.h,
                    ", ", attrs.stride.w, "), got (", extra.h, ", ", extra.w, ")");
}

Inferred infer_conv2d_transpose(const Graph& graph, const Node& node) {
  const Shape& x = graph.shape(node.inputs[0]);
  check_images(node, "x", x);
  const Conv2dShape s = conv2d_transpose_shape(node, x, graph.shape(node.inputs[1]));
  const ValueId bias = node.inputs[2];
  if (bias.has_value()) check_shape(node, "b", {s.C}, graph.shape(bias));
  return {.shapes = {{kBatch, s.H, s.W, s.C}},
          .macs = checked_macs(node, std::array{s.P(), s.Q(), s.K, s.R, s.S, s.C})};
}

// Of the convolution that takes y back to x.
Conv2dAttrs forward_attrs(const Node& node) {
  const auto& attrs = node.attrs_as<Conv2dTransposeAttrs>();
  return {.stride = attrs.stride, .pad = attrs.pad, .dilation = attrs.dilation};
}

// dy is the image of the convolution, x its output: dw and dx are its passes with the roles
// swapped.
void conv2d_transpose_gradient(GradientTape& tape, const Node& node, ValueId dy) {
  Graph& graph = tape.graph();
  const Conv2dAttrs attrs = forward_attrs(node);
  const ValueId x = node.inputs[0], w = node.inputs[1], bias = node.inputs[2];
  if (tape.needs(w)) {
    tape.accumulate(w, graph.add(OpKind::conv2d_backward_weights, attrs, {dy, x, w}, node.name));
  }
  bias_gradient(tape, node, bias, dy);
  if (tape.needs(x)) {
    tape.accumulate(x, graph.add(OpKind::conv2d, attrs, {dy, w}, node.name));
  }
}

// Left open: padding "valid" or "same", and the output_padding that goes with it.
void resolve_conv2d_transpose(const Graph& graph, Node& node, const Open& open) {
  auto& attrs = std::get<Conv2dTransposeAttrs>(node.attrs);
  const Shape& w = graph.shape(node.inputs[1]);
  PYCNN_CHECK_SHAPE(w.rank() == 4, name_of(node.op), ": w must have shape (R, S, filters, C), got ",
                    w.text());
  std::optional<Size2d> extra;
  if (!open.lacks("output_padding")) extra = attrs.output_padding;
  const Padding padding{open.padding.value_or(Padding::Mode::explicit_pad), attrs.pad};
  const TransposedPadding resolved =
      resolve_transposed_padding(padding, {w[0], w[1]}, attrs.stride, attrs.dilation, extra);
  attrs.pad = resolved.pad;
  attrs.output_padding = resolved.output_padding;
}

}  // namespace

Conv2dShape conv2d_transpose_shape(const Node& node, const Shape& x, const Shape& w) {
  const auto& attrs = node.attrs_as<Conv2dTransposeAttrs>();
  const char* op = name_of(node.op);
  PYCNN_CHECK_SHAPE(x.rank() == 4, op, ": x must be (None, P, Q, C), got ", x.text());
  PYCNN_CHECK_SHAPE(w.rank() == 4 && !w.has_batch(), op, ": w must be (R, S, filters, C), got ",
                    w.text());
  PYCNN_CHECK_SHAPE(x[3] == w[3], op, ": x has ", x[3], " channels, w expects ", w[3]);
  check_sizes(node, attrs, x, w);
  const Pad2d& pad = attrs.pad;
  const Shape y{
      x[0],
      output_size(node, "height", x[1], attrs.stride.h, kernel_extent(w[0], attrs.dilation.h),
                  pad.top + pad.bottom, attrs.output_padding.h),
      output_size(node, "width", x[2], attrs.stride.w, kernel_extent(w[1], attrs.dilation.w),
                  pad.left + pad.right, attrs.output_padding.w),
      w[2]};
  const Node forward{.op = node.op, .attrs = forward_attrs(node)};
  return conv2d_shape(forward, y, w);
}

std::span<const OpDefinition> conv2d_transpose_ops() {
  static const OpDefinition rows[] = {
      {.kind = OpKind::conv2d_transpose,
       .name = "conv2d_transpose",
       .inputs = {{"x"}, {"w"}, {"b", Presence::optional}},
       .attrs = Conv2dTransposeAttrs{},
       .kernel = 1,
       .infer = infer_conv2d_transpose,
       .gradient = conv2d_transpose_gradient,
       .resolve = resolve_conv2d_transpose},
  };
  return rows;
}

}  // namespace pycnn
