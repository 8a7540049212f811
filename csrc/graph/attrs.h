// SPDX-License-Identifier: Apache-2.0
// The attributes of ops. fields() says the name and bounds of each, and the members their defaults:
// what checks, reads, writes or describes attributes is written over these, and nothing else is.
#pragma once

#include <algorithm>
#include <array>
#include <cassert>
#include <limits>
#include <span>
#include <variant>
#include <vector>

#include "base/expression.h"
#include "base/shape.h"
#include "base/types.h"

namespace pycnn {

// What a number, or each number of a field, may be (NaN and infinities never), and what it means
// that a caller leaves it out, whatever the member starts as.
struct Bounds {
  double least = -std::numeric_limits<double>::infinity();
  double most = std::numeric_limits<double>::infinity();
  bool most_excluded = false;
  bool required = false;   // refused
  bool completed = false;  // the op's row completes it, see ResolveFn
};
constexpr Bounds required(Bounds bounds) {
  bounds.required = true;
  return bounds;
}
constexpr Bounds completed(Bounds bounds) {
  bounds.completed = true;
  return bounds;
}
constexpr Bounds kAnyFinite, kNotNegative{0}, kFraction{0, 1}, kProperFraction{0, 1, true};
constexpr Bounds kSizes{1, double{kMaxExtent}}, kPads{0, double{kMaxExtent}};
constexpr Bounds kCount{1}, kIndex{0};

// A list of integers: one or two for each axis.
class Integers {
 public:
  static constexpr std::size_t kMost = 2 * std::size_t{kMaxRank};

  Integers() = default;
  explicit Integers(std::span<const dim_t> numbers) : size_(numbers.size()) {
    assert(size_ <= kMost);
    std::ranges::copy(numbers, numbers_.begin());
  }
  std::size_t size() const { return size_; }
  dim_t operator[](std::size_t i) const { return numbers_[i]; }
  std::span<const dim_t> numbers() const { return {numbers_.data(), size_}; }
  auto begin() const { return numbers().begin(); }
  auto end() const { return numbers().end(); }
  bool operator==(const Integers& other) const = default;

 private:
  std::array<dim_t, kMost> numbers_{};
  std::size_t size_ = 0;
};

struct NoAttrs {
  template <class Self, class Visit>
  static void fields(Self&, Visit&&) {}
};

struct InputAttrs {
  Shape shape;
  DType dtype = DType::f32;

  template <class Self, class Visit>
  static void fields(Self& a, Visit&& visit) {
    visit("shape", a.shape, required(kAnyFinite));
    visit("dtype", a.dtype, kAnyFinite);
  }
};

struct ParameterAttrs {
  Shape shape;
  DType dtype = DType::f32;
  bool trainable = true;

  template <class Self, class Visit>
  static void fields(Self& a, Visit&& visit) {
    visit("shape", a.shape, required(kAnyFinite));
    visit("dtype", a.dtype, kAnyFinite);
    visit("trainable", a.trainable, kAnyFinite);
  }
};

struct ConstantAttrs {
  Shape shape;
  std::vector<float> values;  // as many as the shape has

  template <class Self, class Visit>
  static void fields(Self& a, Visit&& visit) {
    visit("shape", a.shape, required(kAnyFinite));
    visit("values", a.values, required(kAnyFinite));
  }
};

struct Conv2dAttrs {
  Size2d stride;
  Pad2d pad;
  Size2d dilation;
  dim_t groups = 1;

  template <class Self, class Visit>
  static void fields(Self& a, Visit&& visit) {
    visit("strides", a.stride, kSizes);
    visit("padding", a.pad, completed(kPads));
    visit("dilation", a.dilation, kSizes);
    visit("groups", a.groups, kCount);
  }
};

struct MatmulAttrs {
  bool transpose_a = false, transpose_b = false;  // the last two axes, as they lie in memory

  template <class Self, class Visit>
  static void fields(Self& a, Visit&& visit) {
    visit("transpose_a", a.transpose_a, kAnyFinite);
    visit("transpose_b", a.transpose_b, kAnyFinite);
  }
};

struct Conv2dTransposeAttrs {
  Size2d stride;
  Pad2d pad;
  Size2d output_padding{0, 0};  // see TransposedPadding
  Size2d dilation;

  template <class Self, class Visit>
  static void fields(Self& a, Visit&& visit) {
    visit("strides", a.stride, kSizes);
    visit("padding", a.pad, completed(kPads));
    visit("output_padding", a.output_padding, completed(kPads));
    visit("dilation", a.dilation, kSizes);
  }
};

struct Pool2dAttrs {
  Size2d window, stride;
  Pad2d pad;

  template <class Self, class Visit>
  static void fields(Self& a, Visit&& visit) {
    visit("pool_size", a.window, required(kSizes));
    visit("strides", a.stride, required(kSizes));
    visit("padding", a.pad, completed(kPads));
  }
};

struct Upsample2dAttrs {
  Size2d factor;

  template <class Self, class Visit>
  static void fields(Self& a, Visit&& visit) {
    visit("size", a.factor, required(kSizes));
  }
};

struct SliceAttrs {
  dim_t first = 0, count = 1;  // channels

  template <class Self, class Visit>
  static void fields(Self& a, Visit&& visit) {
    visit("first", a.first, required(kIndex));
    visit("count", a.count, required(kCount));
  }
};

struct ConcatenateAttrs {
  dim_t axis = -1;

  template <class Self, class Visit>
  static void fields(Self& a, Visit&& visit) {
    visit("axis", a.axis, kAnyFinite);
  }
};

struct StridedSliceAttrs {
  Integers start;
  Shape count;     // elements; the batch axis is whole
  Integers steps;  // none: all 1

  template <class Self, class Visit>
  static void fields(Self& a, Visit&& visit) {
    visit("start", a.start, required(kIndex));
    visit("count", a.count, required(kAnyFinite));
    visit("steps", a.steps, kAnyFinite);
  }
};

struct TransposeAttrs {
  Integers axes;  // of x, in the order of y

  template <class Self, class Visit>
  static void fields(Self& a, Visit&& visit) {
    visit("axes", a.axes, required(kIndex));
  }
};

struct PadAttrs {
  Integers pads;  // before and after, axis by axis
  PadMode mode = PadMode::constant;
  float value = 0;  // of the constant

  template <class Self, class Visit>
  static void fields(Self& a, Visit&& visit) {
    visit("pads", a.pads, required(kPads));
    visit("mode", a.mode, kAnyFinite);
    visit("value", a.value, kAnyFinite);
  }
};

struct ResizeAttrs {
  Size2d size;
  Interpolation interpolation = Interpolation::bilinear;
  Coordinates coordinates = Coordinates::half_pixel;
  Rounding rounding = Rounding::round_prefer_ceil;  // of "nearest"

  template <class Self, class Visit>
  static void fields(Self& a, Visit&& visit) {
    visit("size", a.size, required(kSizes));
    visit("interpolation", a.interpolation, kAnyFinite);
    visit("coordinates", a.coordinates, kAnyFinite);
    visit("rounding", a.rounding, kAnyFinite);
  }
};

struct GatherAttrs {
  dim_t axis = 0;

  template <class Self, class Visit>
  static void fields(Self& a, Visit&& visit) {
    visit("axis", a.axis, kAnyFinite);
  }
};

struct ReshapeAttrs {
  Shape shape;  // of rank 0: that of `like`, or one row for each sample

  template <class Self, class Visit>
  static void fields(Self& a, Visit&& visit) {
    visit("shape", a.shape, kAnyFinite);
  }
};

struct ActivationAttrs {
  ActivationKind kind = ActivationKind::linear;
  float alpha = 0;  // a negative slope would make y positive for negative x, and y not tell f'

  template <class Self, class Visit>
  static void fields(Self& a, Visit&& visit) {
    visit("kind", a.kind, required(kAnyFinite));
    visit("alpha", a.alpha, completed(kNotNegative));
  }
};

struct DropoutAttrs {
  float rate = 0;
  std::uint32_t stream = 0;  // of random numbers; the seed and the step come at run time

  template <class Self, class Visit>
  static void fields(Self& a, Visit&& visit) {
    visit("rate", a.rate, required(kProperFraction));
    visit("stream", a.stream, required(kIndex));
  }
};

struct BatchNormAttrs {
  float epsilon = 1e-3f;

  template <class Self, class Visit>
  static void fields(Self& a, Visit&& visit) {
    visit("epsilon", a.epsilon, required(kNotNegative));
  }
};

struct MovingAverageAttrs {
  float momentum = 0.99f;

  template <class Self, class Visit>
  static void fields(Self& a, Visit&& visit) {
    visit("momentum", a.momentum, required(kFraction));
  }
};

struct MapAttrs {
  Expression expression;
  Shape shape;  // that inputs are repeated to; of rank 0: no other than theirs
  DType dtype = DType::f32;

  template <class Self, class Visit>
  static void fields(Self& a, Visit&& visit) {
    visit("expression", a.expression, required(kAnyFinite));
    visit("shape", a.shape, kAnyFinite);
    visit("dtype", a.dtype, kAnyFinite);
  }
};

struct ReduceAttrs {
  ReduceKind kind = ReduceKind::sum;
  Integers axes;  // ascending
  bool keepdims = false;
  Expression expression{{}, {Operand::input(0)}};  // of what is reduced

  template <class Self, class Visit>
  static void fields(Self& a, Visit&& visit) {
    visit("kind", a.kind, required(kAnyFinite));
    visit("axes", a.axes, completed(kAnyFinite));
    visit("keepdims", a.keepdims, kAnyFinite);
    visit("expression", a.expression, kAnyFinite);
  }
};

struct LossAttrs {
  LossKind kind = LossKind::mean_squared_error;
  bool from_logits = false;

  template <class Self, class Visit>
  static void fields(Self& a, Visit&& visit) {
    visit("kind", a.kind, required(kAnyFinite));
    visit("from_logits", a.from_logits, kAnyFinite);
  }
};

struct MetricAttrs {
  MetricKind kind = MetricKind::accuracy;
  float threshold = 0.5f;

  template <class Self, class Visit>
  static void fields(Self& a, Visit&& visit) {
    visit("kind", a.kind, required(kAnyFinite));
    visit("threshold", a.threshold, kAnyFinite);
  }
};

struct SgdAttrs {
  float momentum = 0;
  bool nesterov = false;
  float weight_decay = 0;

  template <class Self, class Visit>
  static void fields(Self& a, Visit&& visit) {
    visit("momentum", a.momentum, kFraction);
    visit("nesterov", a.nesterov, kAnyFinite);
    visit("weight_decay", a.weight_decay, kNotNegative);
  }
};

struct AdamAttrs {
  float beta_1 = 0.9f, beta_2 = 0.999f;  // 1 would divide by zero in the bias correction
  float epsilon = 1e-7f, weight_decay = 0;

  template <class Self, class Visit>
  static void fields(Self& a, Visit&& visit) {
    visit("beta_1", a.beta_1, kProperFraction);
    visit("beta_2", a.beta_2, kProperFraction);
    visit("epsilon", a.epsilon, kNotNegative);
    visit("weight_decay", a.weight_decay, kNotNegative);
  }
};

using Attrs =
    std::variant<NoAttrs, InputAttrs, ParameterAttrs, ConstantAttrs, Conv2dAttrs, MatmulAttrs,
                 Conv2dTransposeAttrs, Pool2dAttrs, Upsample2dAttrs, SliceAttrs, ConcatenateAttrs,
                 StridedSliceAttrs, TransposeAttrs, PadAttrs, ResizeAttrs, GatherAttrs,
                 ReshapeAttrs, ActivationAttrs, DropoutAttrs, MapAttrs, ReduceAttrs, BatchNormAttrs,
                 MovingAverageAttrs, LossAttrs, MetricAttrs, SgdAttrs, AdamAttrs>;

// visit(name, field, bounds) for each attribute, in the order in which callers may give them.
template <class AnyAttrs, class Visit>
void fields(AnyAttrs& attrs, Visit&& visit) {
  std::visit([&](auto& a) { std::remove_cvref_t<decltype(a)>::fields(a, visit); }, attrs);
}

}  // namespace pycnn
