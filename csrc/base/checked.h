// SPDX-License-Identifier: Apache-2.0
// Every product and sum of extents, floats, bytes and threads goes through here, so that a size
// that does not fit is an error with a name before anything of that size is asked for.
#pragma once

#include <cstddef>
#include <limits>
#include <optional>
#include <span>

#include "base/error.h"
#include "base/types.h"

namespace pycnn {

// Of elements and of bytes: as a count of 8-byte elements it still fits.
constexpr dim_t kMaxCount = std::numeric_limits<dim_t>::max() / 8;

// Nothing where a factor is negative or the product exceeds kMaxCount; no factors make 1.
constexpr std::optional<dim_t> checked_product(std::span<const dim_t> factors) {
  dim_t product = 1;
  for (const dim_t factor : factors) {
    if (factor < 0) return std::nullopt;
    if (factor != 0 && product > kMaxCount / factor) return std::nullopt;
    product *= factor;
  }
  return product;
}

// A size in 0..kMaxCount. Arithmetic that leaves this range throws Error(memory).
class Checked {
 public:
  Checked(dim_t value) : value_(value) { check(value >= 0 && value <= kMaxCount); }
  explicit Checked(std::size_t value) : value_(static_cast<dim_t>(value)) {
    check(value <= static_cast<std::size_t>(kMaxCount));
  }

  dim_t value() const { return value_; }
  std::size_t bytes() const { return static_cast<std::size_t>(value_); }

  friend Checked operator+(Checked a, Checked b) { return a.value_ + b.value_; }
  friend Checked operator*(Checked a, Checked b) {
    const dim_t factors[] = {a.value_, b.value_};
    const std::optional<dim_t> product = checked_product(factors);
    check(product.has_value());
    return *product;
  }
  friend Checked max(Checked a, Checked b) { return a.value_ < b.value_ ? b : a; }

 private:
  static void check(bool fits) {
    PYCNN_CHECK(fits, ErrorKind::memory, "a size that this needs does not fit 60 bits");
  }

  dim_t value_;
};

inline std::size_t bytes_of(Checked count, DType dtype) { return (count * size_of(dtype)).bytes(); }
inline std::size_t float_bytes(dim_t floats) { return bytes_of(floats, DType::f32); }
// The least multiple of `unit` that is not below `bytes`.
inline std::size_t bytes_rounded_up(std::size_t bytes, std::size_t unit) {
  return (Checked(bytes) + Checked(unit - 1)).bytes() / unit * unit;
}

}  // namespace pycnn
