// SPDX-License-Identifier: Apache-2.0
#include "ops/conv2d.h"

#include <algorithm>
#include <cassert>

namespace pycnn {
namespace {

// The lanes of one packed row: output channel k of the layer, tap u of the pass; w is the channel's
// first weight in the tap's row of the kernel, and `first` the channel of dx, over all columns.
void pack_phase_row(const Conv2dBackwardData& op, const StridePhase& phase, dim_t first, dim_t u,
                    const float* w, float* out) noexcept {
  const PackedWeights& f = op.forward;
  const dim_t nr = phase.pass.tile->nr, Cg = f.C / f.G, columns = phase.columns;
  const dim_t lanes = std::min(nr, columns * Cg - first);
  for (dim_t lane = 0, count = 0; lane < lanes; lane += count) {  // a run of channels per column
    const dim_t column = columns > 1 ? (first + lane) / Cg : 0, c = first + lane - column * Cg;
    const dim_t tap = u - column;
    count = std::min(Cg - c, lanes - lane);
    if (tap < 0 || tap > phase.pass.w.taps - columns) {
      std::fill_n(out + lane, count, 0.0f);
      continue;
    }
    const float* row = w + ((phase.first_s - tap * phase.step_s) * Cg + c) * f.nr;
#pragma GCC unroll 8  // a short loop across the end of a cache line takes a quarter longer
    for (dim_t i = 0; i < count; ++i) out[lane + i] = row[i * f.nr];
  }
  std::fill(out + lanes, out + nr, 0.0f);
}

void pack_phase_block(const Conv2dBackwardData& op, const StridePhase& phase, dim_t cb,
                      const float* w, float* packed) noexcept {
  const ConvPass& pass = phase.pass;
  const PackedWeights& f = op.forward;
  const dim_t nr = pass.tile->nr, Cg = f.C / f.G, Kg = f.K / f.G;
  const dim_t blocks = pass.kblocks() / f.G, g = cb / blocks, first = cb % blocks * nr;
  const float* group = w + g * f.blocks() * f.block_floats();
  float* out = packed + phase.weights_at + cb * pass.h.taps * pass.w.taps * Kg * nr;
  for (dim_t t = 0; t < pass.h.taps; ++t) {
    const float* tap_row = group + (phase.first_r - t * phase.step_r) * f.S * Cg * f.nr;
    for (dim_t u = 0; u < pass.w.taps; ++u) {
      for (dim_t k = 0; k < Kg; ++k, out += nr) {
        pack_phase_row(op, phase, first, u, tap_row + k / f.nr * f.block_floats() + k % f.nr, out);
      }
    }
  }
}

// Neighbouring columns of dx as one pixel, where they follow each other in memory.
void widen_phase(StridePhase& phase, Isa isa) {
  Axis& w = phase.pass.w;
  if (phase.pass.G > 1 || w.out_step > 1 || w.tap_step > 1 || w.taps < 2) return;
  const dim_t m = columns_to_widen(phase.pass.N * phase.pass.h.out * w.out, w.out, phase.pass.K,
                                   w.taps, 1, isa);
  // zeros would move the sections of a long sum
  if (phase.pass.h.taps * (w.taps + m - 1) * phase.pass.K > kSectionTerms) return;
  phase.columns = m;
  phase.pass.wide = {m, 1};
  phase.pass.K *= m;
  w.taps += m - 1;
  w.step = m;
  w.out /= m;
  w.out_size /= m;
}

}  // namespace

Conv2dShape cropped_to_windows(const Conv2dShape& shape, Size2d pool) {
  Conv2dShape s = shape;
  if (pool.h == 0) return s;
  s.pad.bottom -= shape.P() % pool.h * s.stride.h;
  s.pad.right -= shape.Q() % pool.w * s.stride.w;
  return s;
}

std::optional<Pool2d> pool_of_output(const Conv2dShape& cropped, Size2d pool, Isa isa) {
  if (pool.h == 0) return std::nullopt;
  Pool2dShape s;
  s.N = cropped.N;
  s.H = cropped.P();
  s.W = cropped.Q();
  s.C = cropped.K;
  s.R = pool.h;
  s.S = pool.w;
  s.stride = pool;
  return make_pool2d(s, isa);
}

bool is_flat(const Conv2dShape& s, Size2d pool) {
  return pool.h == 0 && s.R == 1 && s.S == 1 && s.stride.h == 1 && s.stride.w == 1 && !s.pad.any();
}

Conv2dForward make_conv2d_forward(const Conv2dShape& shape, Size2d pool, Isa isa) {
  const Conv2dShape whole = cropped_to_windows(shape, pool);
  Conv2dForward op;
  op.crop = make_kernel_crop(whole, isa);
  if (!op.crop.any()) op.widening = widen_forward(whole, isa);
  const Conv2dShape s = widened(cropped(whole, op.crop), op.widening.columns);
  ConvPass& pass = op.pass;
  pass.C = s.C;
  pass.K = s.K;
  pass.G = s.G;
  pass.wide = {op.widening.columns, op.widening.stride};
  pass.pool = pool_of_output(whole, pool, isa);
  if (is_flat(s, pool)) {  // one long row
    const dim_t pixels = s.N * s.H * s.W;
    pass.w = forward_axis(pixels, pixels, 1, 1, 1, 0);
  } else {
    pass.N = s.N;
    pass.h = forward_axis(s.H, s.P(), s.R, s.stride.h, s.dilation.h, s.pad.top);
    pass.w = forward_axis(s.W, s.Q(), s.S, s.stride.w, s.dilation.w, s.pad.left);
  }
  prepare(pass, isa);
  return op;
}

dim_t Conv2dForward::workspace_floats() const {
  return widening.columns > 1 ? widening.wide.count() + widening.wide.K : crop.floats();
}

void conv2d_forward(const Conv2dForward& op, const float* x, const float* w,
                    const Epilogue& epilogue, float* y, std::uint8_t* arg, float* workspace,
                    Worker& worker) noexcept {
  assert(w != nullptr && (workspace != nullptr || op.workspace_floats() == 0));
  if (op.crop.any()) {
    crop_weights(op.crop, w, workspace, worker);
    return run(op.pass, {x, nullptr, workspace, epilogue, y, arg}, worker);
  }
  if (op.widening.columns == 1) return run(op.pass, {x, nullptr, w, epilogue, y, arg}, worker);
  const Widening& widening = op.widening;
  float* const bias = workspace + widening.wide.count();
  worker.parallel_for(1, [&](dim_t, dim_t) noexcept {
    widen_weights(widening, w, workspace);
    for (dim_t j = 0; epilogue.bias != nullptr && j < widening.columns; ++j) {
      std::copy_n(epilogue.bias, widening.narrow.K, bias + j * widening.narrow.K);
    }
  });
  Epilogue wide = epilogue;
  if (epilogue.bias != nullptr) wide.bias = bias;
  run(op.pass, {x, nullptr, workspace, wide, y, arg}, worker);
}

dim_t Conv2dBackwardData::scratch_floats() const {
  dim_t most = 0;
  for (const StridePhase& phase : phases) most = std::max(most, phase.pass.scratch_floats());
  return most;
}

namespace {

// Pixels of dx that no tap reaches take nothing but the epilogue.
ConvPass make_background(const Conv2dShape& s, Isa isa) {
  ConvPass pass;
  pass.h.taps = pass.w.taps = 0;
  pass.w.in = pass.w.out = pass.w.out_size = s.N * s.H * s.W;
  pass.C = s.K;
  pass.K = s.C;
  pass.G = s.G;
  prepare(pass, isa);
  return pass;
}

void add_phase(Conv2dBackwardData& op, const Conv2dShape& s, const PhaseAxis& h, const PhaseAxis& w,
               const std::optional<Pool2d>& unpool, Isa isa) {
  StridePhase phase{{}, h.last_tap, h.tap_stride, w.last_tap, w.tap_stride, op.weights_floats};
  phase.pass.h = h.axis;
  phase.pass.w = w.axis;
  phase.pass.N = s.N;
  phase.pass.C = s.K;
  phase.pass.K = s.C;
  phase.pass.G = s.G;
  phase.pass.unpool = unpool;
  widen_phase(phase, isa);
  prepare(phase.pass, isa);
  const ConvPass& pass = phase.pass;
  const Checked taps = Checked(pass.h.taps) * pass.w.taps;
  op.weights_floats =
      (taps * pass.kblocks() * (s.K / s.G) * pass.tile->nr + op.weights_floats).value();
  op.phases.push_back(phase);
}

}  // namespace

Conv2dBackwardData make_conv2d_backward_data(const Conv2dShape& shape, Size2d pool, Isa isa) {
  Conv2dShape s = cropped_to_windows(shape, pool);
  Conv2dBackwardData op;
  op.forward = make_packed_weights(s.R, s.S, s.C, s.K, s.G, isa);
  if (is_flat(s, pool)) {
    s.W *= s.N * s.H;
    s.N = s.H = 1;
  }
  const auto rows = phase_axes(s.H, s.P(), s.R, s.stride.h, s.dilation.h, s.pad.top);
  const auto columns = phase_axes(s.W, s.Q(), s.S, s.stride.w, s.dilation.w, s.pad.left);
  const auto all = static_cast<std::size_t>(std::min(s.stride.h, s.H) * std::min(s.stride.w, s.W));
  if (rows.size() * columns.size() < all) op.background = make_background(s, isa);
  for (const PhaseAxis& h : rows) {
    for (const PhaseAxis& w : columns) add_phase(op, s, h, w, pool_of_output(s, pool, isa), isa);
  }
  return op;
}

void pack_backward_data(const Conv2dBackwardData& op, const float* w, const float* bias,
                        float* packed, Worker& worker) noexcept {
  if (op.phases.empty()) return;
  assert(w != nullptr && (packed != nullptr || op.packed_floats() == 0));
  const dim_t blocks = op.phases.front().pass.kblocks();  // the same in all phases
  const dim_t tasks = blocks * static_cast<dim_t>(op.phases.size());
  worker.parallel_for(tasks, [&](dim_t begin, dim_t end) noexcept {
    for (dim_t task = begin; task < end; ++task) {
      const StridePhase& phase = op.phases[static_cast<std::size_t>(task / blocks)];
      pack_phase_block(op, phase, task % blocks, w, packed);
    }
    if (begin > 0 || bias == nullptr || op.bias_floats() == 0) return;
    for (dim_t j = 0; j < op.columns(); ++j) {  // with the first task
      std::copy_n(bias, op.forward.C, packed + op.weights_floats + j * op.forward.C);
    }
  });
}

void conv2d_backward_data(const Conv2dBackwardData& op, const float* dy, const std::uint8_t* arg,
                          const float* packed, const Epilogue& epilogue, float* dx,
                          Worker& worker) noexcept {
  Epilogue wide = epilogue;
  if (epilogue.bias != nullptr && op.bias_floats() > 0) wide.bias = packed + op.weights_floats;
  if (op.background) {
    run(*op.background, {dy, nullptr, nullptr, epilogue, dx, nullptr}, worker);
  }
  for (const StridePhase& phase : op.phases) {
    run(phase.pass, {dy, arg, packed + phase.weights_at, wide, dx, nullptr}, worker);
  }
}

}  // namespace pycnn
