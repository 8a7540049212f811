// SPDX-License-Identifier: Apache-2.0
#include "base/shape.h"

#include <algorithm>

#include "base/error.h"

namespace pycnn {
namespace {

Pad2d same_padding(Size2d in, Size2d kernel, Size2d stride, Size2d dilation) {
  const auto total = [](dim_t in, dim_t extent, dim_t stride) {
    return std::max<dim_t>((ceil_div(in, stride) - 1) * stride + extent - in, 0);
  };
  const dim_t h = total(in.h, kernel_extent(kernel.h, dilation.h), stride.h);
  const dim_t w = total(in.w, kernel_extent(kernel.w, dilation.w), stride.w);
  return {h / 2, h - h / 2, w / 2, w - w / 2};
}

// One axis of resolve_transposed_padding.
struct TransposedAxis {
  dim_t begin, end, extra;
};

TransposedAxis transposed_axis(Padding::Mode mode, dim_t extent, dim_t stride,
                               std::optional<dim_t> extra) {
  if (mode == Padding::Mode::valid) {
    return {0, 0, extra.value_or(std::max<dim_t>(stride - extent, 0))};
  }
  // The size is (in - 1) * stride + last; what windows reach beyond it is cut off on both sides.
  const dim_t last = extra ? extent % 2 + *extra : stride;
  const dim_t cut = std::max<dim_t>(extent - last, 0);
  return {cut / 2, cut - cut / 2, std::max<dim_t>(last - extent, 0)};
}

void check_range(const char* what, Size2d size) {
  PYCNN_CHECK_VALUE(size.h >= 1 && size.w >= 1 && size.h <= kMaxExtent && size.w <= kMaxExtent,
                    "padding: ", what, " must be in 1..", kMaxExtent, ", got (", size.h, ", ",
                    size.w, ")");
}

Pad2d checked_pad(const Pad2d& pad) {
  PYCNN_CHECK_VALUE(std::min({pad.top, pad.bottom, pad.left, pad.right}) >= 0,
                    "padding: must be >= 0, got top ", pad.top, ", bottom ", pad.bottom, ", left ",
                    pad.left, ", right ", pad.right);
  return pad;
}

}  // namespace

Shape::Shape(std::span<const dim_t> dims) : rank_(static_cast<int>(dims.size())) {
  PYCNN_CHECK_SHAPE(dims.size() <= std::size_t{kMaxRank}, "shape: rank must be <= ", kMaxRank,
                    ", got ", dims.size());
  std::copy(dims.begin(), dims.end(), dims_.begin());
}
Shape::Shape(std::initializer_list<dim_t> dims) : Shape(std::span(dims.begin(), dims.size())) {}
Shape::Shape(const std::vector<dim_t>& dims) : Shape(std::span<const dim_t>(dims)) {}

dim_t Shape::count() const {
  PYCNN_CHECK_SHAPE(!has_batch(), "shape: ", text(), " has no count, its batch size is not known");
  const std::optional<dim_t> product = checked_product(dims());
  PYCNN_CHECK_SHAPE(product, "shape: ", text(), " has a negative extent or too many elements");
  return *product;
}

Shape Shape::with_batch(dim_t N) const {
  Shape shape = *this;
  if (has_batch()) shape.dims_[0] = N;
  return shape;
}

std::string Shape::text() const {
  std::string text = "(";
  for (int axis = 0; axis < rank_; ++axis) {
    if (axis > 0) text += ", ";
    text += axis == 0 && has_batch() ? "None" : std::to_string((*this)[axis]);
  }
  return text + (rank_ == 1 ? ",)" : ")");
}

bool Shape::operator==(const Shape& other) const {
  return std::ranges::equal(dims(), other.dims());
}

std::optional<Shape> broadcast_shape(const Shape& a, const Shape& b) {
  const int rank = std::max(a.rank(), b.rank());
  std::vector<dim_t> dims;
  for (int axis = -rank; axis < 0; ++axis) {
    const dim_t m = -axis <= a.rank() ? a[axis] : 1, n = -axis <= b.rank() ? b[axis] : 1;
    if (m != n && m != 1 && n != 1) return std::nullopt;
    dims.push_back(m == 1 ? n : m);
    if (dims.back() == kBatch && dims.size() > 1) return std::nullopt;
  }
  return Shape(dims);
}

Pad2d resolve_padding(const Padding& padding, Size2d in, Size2d kernel, Size2d stride,
                      Size2d dilation) {
  check_range("input size", in);
  check_range("kernel size", kernel);
  check_range("stride", stride);
  check_range("dilation", dilation);
  switch (padding.mode) {
    case Padding::Mode::valid:
      return {};
    case Padding::Mode::same:
      return same_padding(in, kernel, stride, dilation);
    case Padding::Mode::explicit_pad:
      break;
  }
  return checked_pad(padding.pad);
}

TransposedPadding resolve_transposed_padding(const Padding& padding, Size2d kernel, Size2d stride,
                                             Size2d dilation,
                                             const std::optional<Size2d>& output_padding) {
  check_range("kernel size", kernel);
  check_range("stride", stride);
  check_range("dilation", dilation);
  PYCNN_CHECK_VALUE(!output_padding || (output_padding->h >= 0 && output_padding->h < stride.h &&
                                        output_padding->w >= 0 && output_padding->w < stride.w),
                    "padding: output_padding must be >= 0 and less than the stride (", stride.h,
                    ", ", stride.w, "), got (", output_padding->h, ", ", output_padding->w, ")");
  if (padding.mode == Padding::Mode::explicit_pad) {
    return {checked_pad(padding.pad), output_padding.value_or(Size2d{0, 0})};
  }
  std::optional<dim_t> extra_h, extra_w;
  if (output_padding) extra_h = output_padding->h, extra_w = output_padding->w;
  const auto h =
      transposed_axis(padding.mode, kernel_extent(kernel.h, dilation.h), stride.h, extra_h);
  const auto w =
      transposed_axis(padding.mode, kernel_extent(kernel.w, dilation.w), stride.w, extra_w);
  return {{h.begin, h.end, w.begin, w.end}, {h.extra, w.extra}};
}

}  // namespace pycnn
