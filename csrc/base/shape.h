// SPDX-License-Identifier: Apache-2.0
// Shapes. The only place where output sizes and padding are computed.
#pragma once

#include <array>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/checked.h"
#include "base/types.h"

namespace pycnn {

constexpr dim_t kBatch = -1;  // the one symbolic extent; a plan replaces it by a number
constexpr int kMaxRank = 8;
// Spatial sizes, strides, dilations and pads stay below this: window arithmetic cannot overflow.
constexpr dim_t kMaxExtent = (dim_t{1} << 31) - 1;

class Shape {
 public:
  Shape() = default;
  Shape(std::initializer_list<dim_t> dims);
  explicit Shape(const std::vector<dim_t>& dims);
  explicit Shape(std::span<const dim_t> dims);

  int rank() const { return rank_; }
  dim_t operator[](int axis) const { return dims_[axis < 0 ? axis + rank_ : axis]; }
  std::span<const dim_t> dims() const { return {dims_.data(), static_cast<std::size_t>(rank_)}; }
  bool has_batch() const { return rank_ > 0 && dims_[0] == kBatch; }
  dim_t count() const;  // product of extents; throws where it would overflow or N is unknown
  Shape with_batch(dim_t N) const;  // kBatch replaced by N
  std::string text() const;         // "(None, 28, 28, 1)"
  bool operator==(const Shape& other) const;
  bool operator!=(const Shape& other) const { return !(*this == other); }

 private:
  std::array<dim_t, kMaxRank> dims_{};
  int rank_ = 0;
};

// Of an elementwise op, by NumPy's rule: axes are aligned at the last, and an extent of 1 is
// repeated. Nothing where the shapes do not fit. kBatch fits kBatch and 1.
std::optional<Shape> broadcast_shape(const Shape& a, const Shape& b);

struct Size2d {
  dim_t h = 1, w = 1;
};

struct Pad2d {
  dim_t top = 0, bottom = 0, left = 0, right = 0;
  bool any() const { return (top | bottom | left | right) != 0; }
};

// "valid", "same" (TensorFlow / ONNX SAME_UPPER: the odd pixel goes to the end) or explicit.
struct Padding {
  enum class Mode { valid, same, explicit_pad } mode = Mode::valid;
  Pad2d pad;
};

// Pixels covered by a dilated kernel; floor((in + pad - extent) / stride) + 1 windows of them fit.
constexpr dim_t kernel_extent(dim_t kernel, dim_t dilation) { return (kernel - 1) * dilation + 1; }
Pad2d resolve_padding(const Padding& padding, Size2d in, Size2d kernel, Size2d stride,
                      Size2d dilation);

// A transposed convolution of P x Q pixels makes (P - 1) * stride + extent - pad + output_padding
// rows, and columns likewise: those that the convolution with this padding takes back to P x Q.
struct TransposedPadding {
  Pad2d pad;
  Size2d output_padding{0, 0};  // 0..stride-1 further rows and columns, at the end
};
// Keras' sizes: in * stride for "same", all that windows reach and at least in * stride for
// "valid"; output_padding replaces what these choose.
TransposedPadding resolve_transposed_padding(const Padding& padding, Size2d kernel, Size2d stride,
                                             Size2d dilation,
                                             const std::optional<Size2d>& output_padding);

// One input channel and one filter per group.
constexpr bool is_depthwise(dim_t C, dim_t K, dim_t G) { return G > 1 && C == G && K == G; }

// y[n,p,q,k] = sum_{r,s,c} x[n, p*stride.h + r*dilation.h - pad.top, ..., c] * w[r,s,c,k]
struct Conv2dShape {
  dim_t N = 1, H = 1, W = 1, C = 1, K = 1, R = 1, S = 1, G = 1;
  Size2d stride, dilation;
  Pad2d pad;

  dim_t P() const {
    return (H + pad.top + pad.bottom - kernel_extent(R, dilation.h)) / stride.h + 1;
  }
  dim_t Q() const {
    return (W + pad.left + pad.right - kernel_extent(S, dilation.w)) / stride.w + 1;
  }
  bool depthwise() const { return is_depthwise(C, K, G); }
};

struct Pool2dShape {
  dim_t N = 1, H = 1, W = 1, C = 1, R = 1, S = 1;
  Size2d stride;
  Pad2d pad;

  dim_t P() const { return (H + pad.top + pad.bottom - R) / stride.h + 1; }
  dim_t Q() const { return (W + pad.left + pad.right - S) / stride.w + 1; }
};

constexpr dim_t ceil_div(dim_t a, dim_t b) { return (a + b - 1) / b; }
constexpr dim_t round_up(dim_t a, dim_t b) { return ceil_div(a, b) * b; }

}  // namespace pycnn
