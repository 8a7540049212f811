// SPDX-License-Identifier: Apache-2.0
// Copies of n-dimensional boxes from one tensor to another: the loop under transpose, slice, pad
// and concatenate. Elements are 32 bits of any type. SPMD, see ops/elementwise.h.
#pragma once

#include <array>
#include <span>

#include "base/arch.h"
#include "base/parallel.h"
#include "base/shape.h"

namespace pycnn {

struct EltwiseKernels;

// Elements along one axis, and how far apart they lie in the source and the destination.
struct BoxAxis {
  dim_t count = 1, from = 0, to = 0;
};

struct BoxCopy {
  static constexpr int kMost = kMaxRank + 2;

  // Those that stay together are one, and none goes backwards in y. The last one is a run that is
  // contiguous in both, the one before it the closest in y, `near` the closest in x.
  std::array<BoxAxis, kMost> axes{};
  int rank = 0, near = 0;
  dim_t from = 0, to = 0;  // of the first element
  bool streams = false;    // past the caches
  const EltwiseKernels* kernels = nullptr;
};
// axes: of y, outermost first; y is dense, so that their `to` falls. from and to: where the element
// lies that is the first along all axes.
BoxCopy make_box_copy(std::span<const BoxAxis> axes, dim_t from, dim_t to, Isa isa);

// Writes the box, nothing else of y. x and y are different memory.
void copy_box(const BoxCopy& op, const float* x, float* y, Worker& worker) noexcept;

// Along one axis of y: its elements first, first + step, ... come from x, `from` floats apart.
struct PlaceAxis {
  dim_t extent = 1, first = 0, step = 1, count = 1, from = 0;
};

// A box in a tensor that is filled elsewhere.
struct BoxPlace {
  std::array<PlaceAxis, kMaxRank> axes{};
  int rank = 0;
  int split = 0;  // a task has one index of the axes before it, `block` of this one, all others
  dim_t block = 1;
  dim_t inner = 1;  // floats of y for each index of the split axis
  dim_t from = 0;
  const EltwiseKernels* kernels = nullptr;
};
// axes: of y, outermost first, all of it.
BoxPlace make_box_place(std::span<const PlaceAxis> axes, Isa isa);

void place_box(const BoxPlace& op, float fill, const float* x, float* y, Worker& worker) noexcept;

}  // namespace pycnn
