// SPDX-License-Identifier: Apache-2.0
#include "ops/axis.h"

#include <algorithm>
#include <cassert>
#include <numeric>

namespace pycnn {
namespace {

constexpr dim_t kWorthwhile = 2;  // a copy of whole rows is one stream: taps apart must halve it

}  // namespace

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

Axis::Taps Axis::read_taps() const {
  const dim_t begin = first_tap(out - 1), end = end_tap(0);
  return begin < end ? Taps{begin, end} : Taps{0, 0};
}

Axis forward_axis(dim_t in, dim_t out, dim_t taps, dim_t stride, dim_t dilation, dim_t pad) {
  assert(in >= 1 && out >= 1 && taps >= 1 && stride >= 1 && dilation >= 1);
  return {in, out, taps, stride, dilation, -pad, 1, 0, out};
}

CopiedAxis copied_axis(const Axis& axis, dim_t outputs) {
  const CopiedAxis whole{axis.step, axis.tap_step, false}, apart{axis.taps, 1, true};
  const bool gaps = kWorthwhile * apart.size(outputs, axis.taps) < whole.size(outputs, axis.taps);
  return gaps ? apart : whole;
}

namespace {

// The phase of which `first` is the first tap.
PhaseAxis phase_axis(dim_t in, dim_t out, dim_t taps, dim_t stride, dim_t dilation, dim_t pad,
                     dim_t first, dim_t phase) {
  const dim_t step = stride / std::gcd(stride, dilation);
  const dim_t count = (taps - 1 - first) / step + 1, last = first + (count - 1) * step;
  Axis axis;
  axis.in = out;
  axis.out = (in - 1 - phase) / stride + 1;
  axis.taps = count;
  axis.tap_step = step * dilation / stride;
  axis.origin = (phase + pad - last * dilation) / stride;
  axis.out_step = stride;
  axis.out_origin = phase;
  axis.out_size = in;
  const auto [begin, end] = axis.read_taps();
  axis.origin += begin * axis.tap_step;
  axis.taps = end - begin;
  return {axis, last - begin * step, step};
}

}  // namespace

std::vector<PhaseAxis> phase_axes(dim_t in, dim_t out, dim_t taps, dim_t stride, dim_t dilation,
                                  dim_t pad) {
  assert(in >= 1 && out >= 1 && taps >= 1 && stride >= 1 && dilation >= 1);
  std::vector<PhaseAxis> phases;
  for (dim_t first = 0; first < std::min(taps, stride / std::gcd(stride, dilation)); ++first) {
    const dim_t at = (first * dilation - pad) % stride, phase = at < 0 ? at + stride : at;
    if (phase >= in) continue;
    phases.push_back(phase_axis(in, out, taps, stride, dilation, pad, first, phase));
    if (phases.back().axis.taps == 0) phases.pop_back();
  }
  std::sort(phases.begin(), phases.end(), [](const PhaseAxis& a, const PhaseAxis& b) {
    return a.axis.out_origin < b.axis.out_origin;
  });
  return phases;
}

}  // namespace pycnn
