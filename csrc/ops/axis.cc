// SPDX-License-Identifier: Apache-2.0
#include "ops/axis.h"

#include <algorithm>
#include <numeric>

namespace pycnn {

dim_t Axis::first_tap(dim_t o) const {
  const dim_t start = at(o);
  return start >= 0 ? 0 : std::min(taps, ceil_div(-start, tap_step));
}

dim_t Axis::end_tap(dim_t o) const {
  const dim_t room = in - at(o);  // tap t is inside while t * tap_step < room
  if (room > (taps - 1) * tap_step) return taps;
  return room <= 0 ? 0 : std::min(taps, ceil_div(room, tap_step));
}

bool Axis::inside() const {
  return out == 0 || taps == 0 || (origin >= 0 && at(out - 1) + (taps - 1) * tap_step < in);
}

Axis forward_axis(dim_t in, dim_t out, dim_t taps, dim_t stride, dim_t dilation, dim_t pad) {
  return {in, out, taps, stride, dilation, -pad, 1, 0, out};
}

PhaseAxis phase_axis(dim_t in, dim_t out, dim_t taps, dim_t stride, dim_t dilation, dim_t pad,
                     dim_t phase) {
  const dim_t step = stride / std::gcd(stride, dilation);
  dim_t first = 0;
  while (first < std::min(step, taps) && (phase + pad - first * dilation) % stride != 0) ++first;
  const bool any = first < std::min(step, taps);
  const dim_t count = any ? (taps - 1 - first) / step + 1 : 0;
  const dim_t last = first + (count - 1) * step;
  Axis axis;
  axis.in = out;
  axis.out = phase < in ? (in - 1 - phase) / stride + 1 : 0;
  axis.taps = count;
  axis.tap_step = step * dilation / stride;
  axis.origin = any ? (phase + pad - last * dilation) / stride : 0;
  axis.out_step = stride;
  axis.out_origin = phase;
  axis.out_size = in;
  return {axis, last, step};
}

}  // namespace pycnn
