// SPDX-License-Identifier: Apache-2.0
#include "graph/check.h"

#include <algorithm>
#include <cmath>

namespace pycnn {
namespace {

std::string names_of(std::initializer_list<Argument> arguments) {
  std::string names;
  for (const Argument& argument : arguments) {
    names += (names.empty() ? "" : ", ") + std::string(argument.name);
  }
  return names;
}

void check_pair(const Node& node, const char* argument, Size2d got) {
  PYCNN_CHECK_VALUE(got.h >= 1 && got.w >= 1, name_of(node.op), ": ", argument,
                    " must be >= 1, got (", got.h, ", ", got.w, ")");
  PYCNN_CHECK_VALUE(got.h <= kMaxExtent && got.w <= kMaxExtent, name_of(node.op), ": ", argument,
                    " must be <= ", kMaxExtent, ", got (", got.h, ", ", got.w, ")");
}

// Compares before dividing: C++ rounds towards zero, so (5 - 6) / 2 + 1 would pass for one window.
void check_output(const Node& node, const char* axis, dim_t in, dim_t pad, dim_t extent,
                  dim_t stride) {
  PYCNN_CHECK_SHAPE(in + pad >= extent, name_of(node.op), ": output ", axis, " (", in, " + ", pad,
                    " - ", extent, ") / ", stride, " + 1 < 1");
}

}  // namespace

void check_inputs(const Graph& graph, const Node& node, std::initializer_list<Argument> arguments) {
  const char* op = name_of(node.op);
  PYCNN_CHECK_VALUE(node.inputs.size() == arguments.size(), op, ": expected ", arguments.size(),
                    " inputs (", names_of(arguments), "), got ", node.inputs.size());
  auto id = node.inputs.begin();
  for (const Argument& argument : arguments) {
    const ValueId input = *id++;
    if (!input.has_value()) {
      PYCNN_CHECK_VALUE(argument.presence == Presence::optional, op, ": ", argument.name,
                        " is missing");
      continue;
    }
    PYCNN_CHECK_VALUE(graph.contains(input), op, ": ", argument.name, " is value ", input,
                      ", this graph has ", graph.values().size());
    const DType got = graph.value(input).dtype;
    PYCNN_CHECK(got == argument.dtype, ErrorKind::dtype, op, ": ", argument.name, " must be ",
                name_of(argument.dtype), ", got ", name_of(got));
  }
}

void check_shape(const Node& node, const char* argument, const Shape& expected, const Shape& got) {
  PYCNN_CHECK_SHAPE(got == expected, name_of(node.op), ": ", argument, " must have shape ",
                    expected.text(), ", got ", got.text());
}

void check_images(const Node& node, const char* argument, const Shape& got) {
  PYCNN_CHECK_SHAPE(got.rank() == 4 && got.has_batch(), name_of(node.op), ": ", argument,
                    " must be (None, H, W, C), got ", got.text());
}

void check_rows(const Node& node, const char* argument, const Shape& got) {
  PYCNN_CHECK_SHAPE(got.rank() >= 2 && got.has_batch(), name_of(node.op), ": ", argument,
                    " must be (None, ..., C), got ", got.text());
}

void check_windows(const Node& node, const Conv2dShape& shape) {
  const Pad2d& pad = shape.pad;
  check_pair(node, "input size", {shape.H, shape.W});
  check_pair(node, "window", {shape.R, shape.S});
  check_pair(node, "stride", shape.stride);
  check_pair(node, "dilation", shape.dilation);
  const auto [least, most] = std::minmax({pad.top, pad.bottom, pad.left, pad.right});
  PYCNN_CHECK_VALUE(least >= 0 && most <= kMaxExtent, name_of(node.op), ": pad must be in 0..",
                    kMaxExtent, ", got top ", pad.top, ", bottom ", pad.bottom, ", left ", pad.left,
                    ", right ", pad.right);
  check_output(node, "height", shape.H, pad.top + pad.bottom,
               kernel_extent(shape.R, shape.dilation.h), shape.stride.h);
  check_output(node, "width", shape.W, pad.left + pad.right,
               kernel_extent(shape.S, shape.dilation.w), shape.stride.w);
}

void check_fraction(const Node& node, const char* argument, double got) {
  PYCNN_CHECK_VALUE(got >= 0 && got <= 1, name_of(node.op), ": ", argument,
                    " must be in [0, 1], got ", got);
}

void check_non_negative(const Node& node, const char* argument, double got) {
  PYCNN_CHECK_VALUE(std::isfinite(got) && got >= 0, name_of(node.op), ": ", argument,
                    " must be finite and >= 0, got ", got);
}

dim_t checked_macs(const Node& node, std::span<const dim_t> factors) {
  const std::optional<dim_t> macs = checked_product(factors);
  PYCNN_CHECK_SHAPE(macs, name_of(node.op), ": multiply-accumulates per sample overflow 64 bits");
  return *macs;
}

}  // namespace pycnn
