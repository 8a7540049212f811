// SPDX-License-Identifier: Apache-2.0
// Where kernels are wider than the padded image lets any output see, the columns of taps that meet
// padding only are left out. (Rows of taps outside the image cost nothing: ops/conv_pass.h.)
#pragma once

#include "base/parallel.h"
#include "ops/weights.h"

namespace pycnn {

struct KernelCrop {
  PackedWeights whole, part;
  dim_t r = 0, s = 0;  // the first tap kept
  bool any() const { return part.S < whole.S; }
  dim_t floats() const { return any() ? part.count() : 0; }
};
KernelCrop make_kernel_crop(const Conv2dShape& shape, Isa isa);
// The layer with those taps alone: the same outputs. Its pads may be negative.
Conv2dShape cropped(const Conv2dShape& shape, const KernelCrop& crop);

// part = the kept taps of w
void crop_weights(const KernelCrop& crop, const float* w, float* part, Worker& worker) noexcept;
// dw = part in the kept taps, zero in the others
void uncrop_gradient(const KernelCrop& crop, const float* part, float* dw, Worker& worker) noexcept;

}  // namespace pycnn
