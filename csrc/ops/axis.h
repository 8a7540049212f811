// SPDX-License-Identifier: Apache-2.0
// One spatial dimension of a convolution, seen from its outputs.
#pragma once

#include <vector>

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
  // Do most taps of every output leave it? Then it pays to look for those that do not.
  bool mostly_outside() const { return taps > 4 * ceil_div(in, tap_step); }
  // From the first to the last that an output reads; {0, 0} where none does.
  struct Taps {
    dim_t begin, end;
  };
  Taps read_taps() const;
};

Axis forward_axis(dim_t in, dim_t out, dim_t taps, dim_t stride, dim_t dilation, dim_t pad);

// How an axis lies in a copy of what neighbouring outputs read: as in the input, or where most of
// that would be gaps and padding that none of them reads, with the taps of each side by side.
struct CopiedAxis {
  dim_t step = 1, tap_step = 1;  // of the copy, as in Axis
  bool apart = false;
  dim_t size(dim_t outputs, dim_t taps) const {
    return (outputs - 1) * step + (taps - 1) * tap_step + 1;
  }
};
CopiedAxis copied_axis(const Axis& axis, dim_t outputs);

// What remains of one axis for the inputs i = phase + stride * j: taps r with
// (i + pad - r * dilation) % stride == 0, which are r0, r0 + step, ...; dy index = that / stride.
struct PhaseAxis {
  Axis axis;                           // out_origin is the phase
  dim_t last_tap = 0, tap_stride = 1;  // tap t of the pass (flipped) is last_tap - t * tap_stride
};

// The phases with taps that an output reads, ascending; dx is zero in the others.
std::vector<PhaseAxis> phase_axes(dim_t in, dim_t out, dim_t taps, dim_t stride, dim_t dilation,
                                  dim_t pad);

}  // namespace pycnn
