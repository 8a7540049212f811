// SPDX-License-Identifier: Apache-2.0
#include "ops/crop.h"

#include <algorithm>
#include <cassert>

#include "ops/axis.h"

namespace pycnn {
namespace {

// visit(offset in the whole kernel, offset in the part) for each run of floats that they share
template <class Visit>
void for_each_run(const KernelCrop& crop, Worker& worker, Visit visit) noexcept {
  const PackedWeights &whole = crop.whole, &part = crop.part;
  assert(crop.r + part.R <= whole.R && crop.s + part.S <= whole.S && part.nr == whole.nr);
  const dim_t column = whole.C / whole.G * whole.nr;
  worker.parallel_for(whole.G * whole.blocks() * part.R, [&](dim_t begin, dim_t end) noexcept {
    for (dim_t i = begin; i < end; ++i) {
      const dim_t row = i / part.R * whole.R + crop.r + i % part.R;
      visit((row * whole.S + crop.s) * column, i * part.S * column);
    }
  });
}

dim_t run_floats(const KernelCrop& crop) {
  return crop.part.S * (crop.part.C / crop.part.G) * crop.part.nr;
}

}  // namespace

KernelCrop make_kernel_crop(const Conv2dShape& s, Isa isa) {
  const auto read = [](const Axis& axis) {
    const Axis::Taps taps = axis.read_taps();
    return taps.begin < taps.end ? taps : Axis::Taps{0, 1};  // a pass has at least one
  };
  const auto rows = read(forward_axis(s.H, s.P(), s.R, s.stride.h, s.dilation.h, s.pad.top));
  const auto columns = read(forward_axis(s.W, s.Q(), s.S, s.stride.w, s.dilation.w, s.pad.left));
  return {
      make_packed_weights(s.R, s.S, s.C, s.K, s.G, isa),
      make_packed_weights(rows.end - rows.begin, columns.end - columns.begin, s.C, s.K, s.G, isa),
      rows.begin, columns.begin};
}

Conv2dShape cropped(const Conv2dShape& shape, const KernelCrop& crop) {
  Conv2dShape s = shape;
  if (!crop.any()) return s;
  s.R = crop.part.R;
  s.S = crop.part.S;
  s.pad.top -= crop.r * s.dilation.h;
  s.pad.left -= crop.s * s.dilation.w;
  s.pad.bottom -= (shape.R - s.R - crop.r) * s.dilation.h;
  s.pad.right -= (shape.S - s.S - crop.s) * s.dilation.w;
  return s;
}

void crop_weights(const KernelCrop& crop, const float* w, float* part, Worker& worker) noexcept {
  const dim_t count = run_floats(crop);
  for_each_run(crop, worker,
               [&](dim_t from, dim_t to) noexcept { std::copy_n(w + from, count, part + to); });
}

void uncrop_gradient(const KernelCrop& crop, const float* part, float* dw,
                     Worker& worker) noexcept {
  const dim_t count = run_floats(crop);
  worker.parallel_for(1, [&](dim_t, dim_t) noexcept { std::fill_n(dw, crop.whole.count(), 0.0f); });
  for_each_run(crop, worker,
               [&](dim_t to, dim_t from) noexcept { std::copy_n(part + from, count, dw + to); });
}

}  // namespace pycnn
