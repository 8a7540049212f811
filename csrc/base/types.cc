// SPDX-License-Identifier: Apache-2.0
#include "base/types.h"

#include <iterator>
#include <string>

#include "base/error.h"

namespace pycnn {
namespace {

// In the order of the enums.
constexpr const char* kDTypes[] = {"float32", "bfloat16", "int32", "uint8"};
constexpr const char* kActivations[] = {"linear", "step",       "sigmoid", "tanh",        "relu",
                                        "relu6",  "leaky_relu", "elu",     "hard_sigmoid"};
constexpr const char* kLosses[] = {"mean_squared_error", "binary_crossentropy",
                                   "categorical_crossentropy", "sparse_categorical_crossentropy"};
constexpr const char* kMetrics[] = {"accuracy", "binary_accuracy", "categorical_accuracy",
                                    "sparse_categorical_accuracy"};
constexpr const char* kReductions[] = {"sum", "mean", "max", "min", "arg_max", "arg_min"};
constexpr const char* kPadModes[] = {"constant", "reflect", "symmetric"};
constexpr const char* kInterpolations[] = {"nearest", "bilinear"};
constexpr const char* kCoordinates[] = {"half_pixel", "align_corners", "asymmetric",
                                        "pytorch_half_pixel"};
constexpr const char* kRoundings[] = {"floor", "ceil", "round_prefer_floor", "round_prefer_ceil"};

template <class Kind, std::size_t count>
constexpr bool ends_with(const char* const (&)[count], Kind last) {
  return static_cast<std::size_t>(last) + 1 == count;
}
static_assert(ends_with(kDTypes, DType::u8));
static_assert(std::size(kActivations) == kActivationKinds);
static_assert(ends_with(kLosses, LossKind::sparse_categorical_crossentropy));
static_assert(ends_with(kMetrics, MetricKind::sparse_categorical_accuracy));
static_assert(ends_with(kReductions, ReduceKind::arg_min));
static_assert(ends_with(kPadModes, PadMode::symmetric));
static_assert(ends_with(kInterpolations, Interpolation::bilinear));
static_assert(ends_with(kCoordinates, Coordinates::pytorch_half_pixel));
static_assert(ends_with(kRoundings, Rounding::round_prefer_ceil));

template <class Kind, std::size_t count>
Kind parse(const char* what, const char* const (&names)[count], const std::string& name,
           ErrorKind error = ErrorKind::value) {
  std::string known;
  for (std::size_t i = 0; i < count; ++i) {
    if (name == names[i]) return static_cast<Kind>(i);
    known += (i == 0 ? "" : ", ") + std::string(names[i]);
  }
  throw Error(error, concat(what, ": expected one of ", known, "; got '", name, "'"));
}

}  // namespace

const char* name_of(DType dtype) { return kDTypes[static_cast<std::size_t>(dtype)]; }
DType dtype_named(const char* name) {
  return parse<DType>("dtype", kDTypes, name, ErrorKind::dtype);
}

const char* name_of(ActivationKind kind) { return kActivations[static_cast<std::size_t>(kind)]; }
ActivationKind activation_kind(const char* name) {
  return parse<ActivationKind>("activation", kActivations, name);
}

const char* name_of(LossKind kind) { return kLosses[static_cast<std::size_t>(kind)]; }
LossKind loss_kind(const char* name) { return parse<LossKind>("loss", kLosses, name); }

const char* name_of(MetricKind kind) { return kMetrics[static_cast<std::size_t>(kind)]; }
MetricKind metric_kind(const char* name) { return parse<MetricKind>("metric", kMetrics, name); }

const char* name_of(ReduceKind kind) { return kReductions[static_cast<std::size_t>(kind)]; }
ReduceKind reduce_kind(const char* name) { return parse<ReduceKind>("reduce", kReductions, name); }
const char* name_of(PadMode mode) { return kPadModes[static_cast<std::size_t>(mode)]; }
PadMode pad_mode(const char* name) { return parse<PadMode>("mode", kPadModes, name); }

const char* name_of(Interpolation interpolation) {
  return kInterpolations[static_cast<std::size_t>(interpolation)];
}
Interpolation interpolation(const char* name) {
  return parse<Interpolation>("interpolation", kInterpolations, name);
}

const char* name_of(Coordinates coordinates) {
  return kCoordinates[static_cast<std::size_t>(coordinates)];
}
Coordinates coordinates(const char* name) {
  return parse<Coordinates>("coordinates", kCoordinates, name);
}

const char* name_of(Rounding rounding) { return kRoundings[static_cast<std::size_t>(rounding)]; }
Rounding rounding(const char* name) { return parse<Rounding>("rounding", kRoundings, name); }

std::span<const char* const> names_like(DType) { return kDTypes; }
std::span<const char* const> names_like(ActivationKind) { return kActivations; }
std::span<const char* const> names_like(LossKind) { return kLosses; }
std::span<const char* const> names_like(MetricKind) { return kMetrics; }
std::span<const char* const> names_like(ReduceKind) { return kReductions; }
std::span<const char* const> names_like(PadMode) { return kPadModes; }
std::span<const char* const> names_like(Interpolation) { return kInterpolations; }
std::span<const char* const> names_like(Coordinates) { return kCoordinates; }
std::span<const char* const> names_like(Rounding) { return kRoundings; }

}  // namespace pycnn
