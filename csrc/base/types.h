// SPDX-License-Identifier: Apache-2.0
// Scalar types and the closed enums shared by the graph (what) and the ops (how).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace pycnn {

using dim_t = std::int64_t;  // signed: differences may be negative

enum class DType : std::uint8_t { f32, bf16, i32, u8 };

constexpr dim_t size_of(DType dtype) {  // in bytes
  switch (dtype) {
    case DType::u8:
      return 1;
    case DType::bf16:
      return 2;
    case DType::f32:
    case DType::i32:
      break;
  }
  return 4;
}
const char* name_of(DType dtype);
DType dtype_named(const char* name);  // throws Error for an unknown name

enum class ActivationKind : std::uint8_t {
  linear,
  step,
  sigmoid,
  tanh,
  relu,
  relu6,
  leaky_relu,
  elu,
  hard_sigmoid
};
constexpr int kActivationKinds = static_cast<int>(ActivationKind::hard_sigmoid) + 1;
const char* name_of(ActivationKind kind);
ActivationKind activation_kind(const char* name);  // throws Error for an unknown name

enum class LossKind : std::uint8_t {
  mean_squared_error,
  binary_crossentropy,
  categorical_crossentropy,
  sparse_categorical_crossentropy
};
const char* name_of(LossKind kind);
LossKind loss_kind(const char* name);

enum class MetricKind : std::uint8_t {
  accuracy,
  binary_accuracy,
  categorical_accuracy,
  sparse_categorical_accuracy
};
const char* name_of(MetricKind kind);
MetricKind metric_kind(const char* name);

enum class ReduceKind : std::uint8_t { sum, mean, max, min, arg_max, arg_min };
const char* name_of(ReduceKind kind);
ReduceKind reduce_kind(const char* name);
enum class PadMode : std::uint8_t { constant, reflect, symmetric };  // as np.pad
const char* name_of(PadMode mode);
PadMode pad_mode(const char* name);

enum class Interpolation : std::uint8_t { nearest, bilinear };
const char* name_of(Interpolation interpolation);
Interpolation interpolation(const char* name);

// Where pixel i of `out` lies among those of `in`, and which one is the nearest. ONNX' names.
enum class Coordinates : std::uint8_t {
  half_pixel,          // (i + 1/2) * in / out - 1/2
  align_corners,       // i * (in - 1) / (out - 1), 0 where out is 1
  asymmetric,          // i * in / out
  pytorch_half_pixel,  // half_pixel, 0 where out is 1
};
const char* name_of(Coordinates coordinates);
Coordinates coordinates(const char* name);

enum class Rounding : std::uint8_t { floor, ceil, round_prefer_floor, round_prefer_ceil };
const char* name_of(Rounding rounding);
Rounding rounding(const char* name);

// The names of all values of the argument's type, in order.
std::span<const char* const> names_like(DType);
std::span<const char* const> names_like(ActivationKind);
std::span<const char* const> names_like(LossKind);
std::span<const char* const> names_like(MetricKind);
std::span<const char* const> names_like(ReduceKind);
std::span<const char* const> names_like(PadMode);
std::span<const char* const> names_like(Interpolation);
std::span<const char* const> names_like(Coordinates);
std::span<const char* const> names_like(Rounding);

}  // namespace pycnn
