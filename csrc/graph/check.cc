// SPDX-License-Identifier: Apache-2.0
#include "graph/check.h"

#include <algorithm>
#include <cmath>
#include <type_traits>

namespace pycnn {
namespace {

std::string names_of(const OpDefinition& op) {
  std::string names;
  for (const Argument& argument : op.inputs) {
    names += (names.empty() ? "" : ", ") + std::string(argument.name);
  }
  return names;
}

void check_input(const Graph& graph, const Node& node, const Argument& argument,
                 const std::string& name, ValueId input) {
  const char* op = name_of(node.op);
  if (!input.has_value()) {
    PYCNN_CHECK_VALUE(argument.is_optional(), op, ": ", name, " is missing");
    return;
  }
  PYCNN_CHECK_VALUE(graph.contains(input), op, ": ", name, " is value ", input, ", this graph has ",
                    graph.values().size());
  const DType got = graph.value(input).dtype;
  PYCNN_CHECK(!argument.dtype || got == *argument.dtype, ErrorKind::dtype, op, ": ", name,
              " must be ", name_of(*argument.dtype), ", got ", name_of(got));
}

// Checks each field against its bounds.
class FieldCheck {
 public:
  explicit FieldCheck(const Node& node) : op_(name_of(node.op)) {}

  void operator()(const char* name, const Size2d& size, const Bounds& bounds) const {
    check(name, std::min(size.h, size.w), std::max(size.h, size.w), bounds,
          concat("(", size.h, ", ", size.w, ")"));
  }
  void operator()(const char* name, const Pad2d& pad, const Bounds& bounds) const {
    const auto [least, most] = std::minmax({pad.top, pad.bottom, pad.left, pad.right});
    check(name, least, most, bounds,
          concat("top ", pad.top, ", bottom ", pad.bottom, ", left ", pad.left, ", right ",
                 pad.right));
  }
  void operator()(const char* name, const Integers& list, const Bounds& bounds) const {
    if (list.size() == 0) return;
    const auto [least, most] = std::ranges::minmax(list.numbers());
    std::string text;
    for (const dim_t number : list.numbers()) text += (text.empty() ? "" : ", ") + concat(number);
    check(name, least, most, bounds, "(" + text + ")");
  }
  template <class Number>
    requires std::is_arithmetic_v<Number>
  void operator()(const char* name, Number number, const Bounds& bounds) const {
    check(name, number, number, bounds, concat(number));
  }
  template <class Other>  // enums and shapes have no bounds
    requires(!std::is_arithmetic_v<Other>)
  void operator()(const char*, const Other&, const Bounds&) const {}

 private:
  template <class Number>
  void check(const char* name, Number least, Number most, const Bounds& bounds,
             const std::string& got) const {
    const double low = static_cast<double>(least), high = static_cast<double>(most);
    const bool fits = std::isfinite(low) && std::isfinite(high) && low >= bounds.least &&
                      (bounds.most_excluded ? high < bounds.most : high <= bounds.most);
    PYCNN_CHECK_VALUE(fits, op_, ": ", name, " must be ",
                      text_of(bounds, high, std::is_integral_v<Number>), ", got ", got);
  }

  static std::string text_of(const Bounds& bounds, double got, bool whole) {
    if (bounds.least == kAnyFinite.least) return "finite";
    if (bounds.most <= 1) {
      return concat("in [", bounds.least, ", ", bounds.most, bounds.most_excluded ? ")" : "]");
    }
    if (std::isfinite(got) && got > bounds.most) return concat("<= ", kMaxExtent);
    const bool endless = bounds.most == kAnyFinite.most && !whole;
    return concat(endless ? "finite and >= " : ">= ", bounds.least);
  }

  const char* op_;
};

// Compares before dividing: C++ rounds towards zero, so (5 - 6) / 2 + 1 would pass for one window.
void check_output(const Node& node, const char* axis, dim_t in, dim_t pad, dim_t extent,
                  dim_t stride) {
  PYCNN_CHECK_SHAPE(in + pad >= extent, name_of(node.op), ": output ", axis, " (", in, " + ", pad,
                    " - ", extent, ") / ", stride, " + 1 < 1");
}

}  // namespace

void check_inputs(const Graph& graph, Node& node) {
  const OpDefinition& op = definition(node.op);
  const std::size_t given = node.inputs.size(), most = op.inputs.size();
  if (most == 1 && is_list(op.inputs[0].presence)) {
    const bool any = op.inputs[0].presence == Presence::any_number;
    PYCNN_CHECK_VALUE(any || given >= 2, op.name, ": expected 2 or more inputs, got ", given);
    for (std::size_t i = 0; i < given; ++i) {
      check_input(graph, node, op.inputs[0], concat(op.inputs[0].name, "[", i, "]"),
                  node.inputs[i]);
    }
    return;
  }
  PYCNN_CHECK_VALUE(given <= most, op.name, ": expected ", most, " inputs (", names_of(op),
                    "), got ", given);
  node.inputs.resize(most);
  for (std::size_t i = 0; i < most; ++i) {
    check_input(graph, node, op.inputs[i], op.inputs[i].name, node.inputs[i]);
  }
}

void check_attributes(const Node& node) { fields(node.attrs, FieldCheck(node)); }

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

DType check_movable(const Graph& graph, const Node& node, const char* argument, ValueId value) {
  const DType got = graph.value(value).dtype;
  PYCNN_CHECK(got == DType::f32 || got == DType::i32, ErrorKind::dtype, name_of(node.op), ": ",
              argument, " must be float32 or int32, got ", name_of(got));
  return got;
}

void check_per_axis(const Node& node, const char* argument, std::size_t got, const Shape& shape,
                    std::size_t each) {
  const std::size_t expected = each * static_cast<std::size_t>(shape.rank());
  PYCNN_CHECK_VALUE(got == expected, name_of(node.op), ": ", argument, " must be ", expected,
                    " numbers for x ", shape.text(), ", got ", got);
}

void check_windows(const Node& node, const Conv2dShape& shape) {
  const FieldCheck check(node);
  check("input size", Size2d{shape.H, shape.W}, kSizes);
  check("window", Size2d{shape.R, shape.S}, kSizes);
  const Pad2d& pad = shape.pad;
  check_output(node, "height", shape.H, pad.top + pad.bottom,
               kernel_extent(shape.R, shape.dilation.h), shape.stride.h);
  check_output(node, "width", shape.W, pad.left + pad.right,
               kernel_extent(shape.S, shape.dilation.w), shape.stride.w);
}

void resolve_windows(const Graph& graph, Node& node, std::size_t image, const Shape& window,
                     const Open& open) {
  if (!open.padding) return;
  const Shape& x = graph.shape(node.inputs[image]);
  const char* op = name_of(node.op);
  PYCNN_CHECK_SHAPE(x.rank() == 4, op, ": x must have shape (N, H, W, C), got ", x.text());
  PYCNN_CHECK_SHAPE(window.rank() == 4, op, ": w must have shape (R, S, C/groups, K), got ",
                    window.text());
  check_attributes(node);
  Size2d stride, dilation;
  Pad2d* pad = nullptr;
  if (auto* conv = std::get_if<Conv2dAttrs>(&node.attrs)) {
    stride = conv->stride, dilation = conv->dilation, pad = &conv->pad;
  } else {
    auto& pool = std::get<Pool2dAttrs>(node.attrs);
    stride = pool.stride, pad = &pool.pad;
  }
  *pad =
      resolve_padding({*open.padding, {}}, {x[1], x[2]}, {window[0], window[1]}, stride, dilation);
}

dim_t checked_macs(const Node& node, std::span<const dim_t> factors) {
  const std::optional<dim_t> macs = checked_product(factors);
  PYCNN_CHECK_SHAPE(macs, name_of(node.op), ": multiply-accumulates per sample overflow 64 bits");
  return *macs;
}

}  // namespace pycnn
