// SPDX-License-Identifier: Apache-2.0
// One spatial dimension of a convolution, seen from its outputs.
#pragma once

#include "base/shape.h"

namespace pycnn {

// One dimension: output o, tap t reads input o * step + origin + t * tap_step (skipped outside
// [0, in)) and writes position o * out_step + out_origin of out_size.
struct Axis {
  dim_t in = 1, out = 1, taps = 1;
  dim_t step = 1, tap_step = 1, origin = 0;
  dim_t out_step = 1, out_origin = 0, out_size = 1;

  dim_t at(dim_t o) const { return o * step + origin; }  // the input of tap 0
  dim_t at_output(dim_t o) const { return o * out_step + out_origin; }
  dim_t first_tap(dim_t o) const;  // taps [first_tap, end_tap) are inside
  dim_t end_tap(dim_t o) const;
  bool inside() const;  // no tap of any output leaves the input
};

Axis forward_axis(dim_t in, dim_t out, dim_t taps, dim_t stride, dim_t dilation, dim_t pad);

// What remains of one axis for the inputs i = phase + stride * j: taps r with
// (i + pad - r * dilation) % stride == 0, which are r0, r0 + step, ...; dy index = that / stride.
struct PhaseAxis {
  Axis axis;
  dim_t last_tap, tap_stride;  // tap t of the pass (flipped) is last_tap - t * tap_stride
};

PhaseAxis phase_axis(dim_t in, dim_t out, dim_t taps, dim_t stride, dim_t dilation, dim_t pad,
                     dim_t phase);

}  // namespace pycnn
