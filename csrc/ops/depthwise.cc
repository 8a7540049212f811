// SPDX-License-Identifier: Apache-2.0
#include "ops/depthwise.h"

#include <algorithm>
#include <cassert>

#include "kernels/eltwise/eltwise.h"

namespace pycnn {
namespace {

constexpr dim_t kTileFloats = 6 * 1024;   // half of L1, for the input of a row of outputs
constexpr dim_t kTileColumns = 14;        // before channels are split: fewer would read rims often
constexpr dim_t kTileChannels = 32;       // two cache lines or more of a pixel at a time
constexpr dim_t kTaskFloats = 32 * 1024;  // of the result: its input lies in L2
constexpr dim_t kTasksPerThread = 4;
constexpr dim_t kEnoughTasks = 16;
constexpr dim_t kChunkPixels = 256;  // a chunk smaller than this is not worth its partial sums

DepthwiseAxis with_runs(const Axis& axis, dim_t weight_at, dim_t weight_step) {
  DepthwiseAxis result{axis, weight_at, weight_step, {}};
  for (dim_t o = 0; o < axis.out; ++o) {
    const dim_t first = axis.first_tap(o), taps = std::max<dim_t>(0, axis.end_tap(o) - first);
    const TapRun run{o, o + 1, taps > 0 ? first : 0, taps};
    const TapRun* last = result.runs.empty() ? nullptr : &result.runs.back();
    if (last != nullptr && last->first_tap == run.first_tap && last->taps == taps) {
      result.runs.back().end = o + 1;
    } else {
      result.runs.push_back(run);
    }
  }
  return result;
}

DepthwiseAxis forward_rows(const Conv2dShape& s) {
  return with_runs(forward_axis(s.H, s.P(), s.R, s.stride.h, s.dilation.h, s.pad.top), 0, 1);
}
DepthwiseAxis forward_columns(const Conv2dShape& s) {
  return with_runs(forward_axis(s.W, s.Q(), s.S, s.stride.w, s.dilation.w, s.pad.left), 0, 1);
}

DepthwiseAxis flipped(const PhaseAxis& phase) {
  return with_runs(phase.axis, phase.last_tap, -phase.tap_stride);
}

// In blocks of nearly equal size, multiples of `unit`, of at most `most`.
dim_t even_block(dim_t size, dim_t most, dim_t unit) {
  const dim_t whole = std::max(unit, most / unit * unit);
  return std::min(size, round_up(ceil_div(size, ceil_div(size, whole)), unit));
}

// rows, columns: of any phase; the others differ by few outputs or taps.
DepthwiseTile choose_tile(const Axis& rows, const Axis& columns, dim_t C) {
  const dim_t taps = std::max<dim_t>(1, rows.taps);
  const auto inputs = [&](dim_t outputs) {  // columns read by so many neighbouring outputs
    return std::min(columns.in, (outputs - 1) * columns.step + std::max<dim_t>(1, columns.taps));
  };
  const dim_t narrow = std::min(columns.out, kTileColumns);
  const dim_t channels =
      even_block(C, kTileFloats / (taps * inputs(std::max<dim_t>(1, narrow))), kTileChannels);
  dim_t wide = std::max<dim_t>(1, columns.out);
  while (wide > kTileColumns && taps * inputs(wide) * channels > kTileFloats) {
    wide = ceil_div(wide, 2);
  }
  return {wide, channels};
}

// A rectangle of the result: columns [begin, end) of every phase, channels [c, c + channels).
struct Part {
  dim_t begin, end, c, channels;
};

// visit(part) for the tiles of the columns
template <class Visit>
void for_parts(dim_t outputs, dim_t width, dim_t c, dim_t channels, Visit visit) {
  for (dim_t begin = 0; begin < outputs; begin += width) {
    visit(Part{begin, std::min(outputs, begin + width), c, channels});
  }
}

// A run as the kernels want it, and where it starts: x_at in its image, w_at in the weights.
struct Taps {
  DepthwiseRun run;
  dim_t column, x_at, w_at;  // column: first output
};

// visit(taps) for the runs of output row o within the part.
template <class Visit>
void for_runs(const DepthwiseAxis& rows, dim_t o, const DepthwiseAxis& columns, const Part& part,
              dim_t C, dim_t S, Visit visit) noexcept {
  const Axis &h = rows.axis, &w = columns.axis;
  const dim_t first_row = h.first_tap(o), row_taps = std::max<dim_t>(0, h.end_tap(o) - first_row);
  Taps taps{{.C = part.channels,
             .row_stride = row_taps > 1 ? h.tap_step * w.in * C : 0,
             .column_stride = w.tap_step * C,
             .x_step = w.step * C,
             .y_step = w.out_step * C,
             .new_row_stride = w.in * C,
             .y_ahead = w.out_size * C,
             .w_row_stride = rows.weight_step * S * C,
             .w_column_stride = columns.weight_step * C},
            0,
            0,
            0};
  for (const TapRun& run : columns.runs) {
    taps.column = std::max(run.begin, part.begin);
    taps.run.pixels = std::min(run.end, part.end) - taps.column;
    if (taps.run.pixels <= 0) continue;
    const bool any = row_taps > 0 && run.taps > 0;
    taps.run.rows = any ? row_taps : 0;
    taps.run.columns = any ? run.taps : 0;
    const dim_t x_row = h.at(o) + first_row * h.tap_step;
    const dim_t x_column = w.at(taps.column) + run.first_tap * w.tap_step;
    const dim_t w_row = rows.weight_at + first_row * rows.weight_step;
    const dim_t w_column = columns.weight_at + run.first_tap * columns.weight_step;
    const dim_t below = h.in - x_row - (row_taps - 1) * h.tap_step - 1;  // of the image
    taps.run.new_rows = any ? std::min(h.step, std::max<dim_t>(below, 0)) : 0;
    taps.run.x_ahead = ((taps.run.rows - 1) * h.tap_step + 1) * w.in * C;
    taps.x_at = any ? (x_row * w.in + x_column) * C + part.c : 0;
    taps.w_at = any ? (w_row * S + w_column) * C + part.c : 0;
    visit(taps);
  }
}

// The phase of row i of the result, or null.
const DepthwiseAxis* phase_of_row(const DepthwisePass& op, dim_t i) {
  if (op.rows.empty() || op.columns.empty()) return nullptr;
  const dim_t phase = i % op.rows.front().axis.out_step;
  const auto found = std::lower_bound(
      op.rows.begin(), op.rows.end(), phase,
      [](const DepthwiseAxis& rows, dim_t at) { return rows.axis.out_origin < at; });
  return found != op.rows.end() && found->axis.out_origin == phase ? &*found : nullptr;
}

// A run of more taps than a section of a sum has: its sections are added up in y.
[[gnu::noinline]] void correlate_sections(const DepthwiseKernels& kernels, const DepthwiseRun& run,
                                          const float* x, const float* w, const Epilogue& epilogue,
                                          float* y) noexcept {
  const dim_t columns = std::min(run.columns, kSectionTerms), rows = kSectionTerms / columns;
  Epilogue here;
  here.residual = epilogue.residual;
  for (dim_t r = 0; r < run.rows; r += rows) {
    for (dim_t s = 0; s < run.columns; s += columns) {
      DepthwiseRun section = run;
      section.rows = std::min(rows, run.rows - r);
      section.columns = std::min(columns, run.columns - s);
      if (r + rows >= run.rows && s + columns >= run.columns) {
        here = epilogue;
        here.residual = y;
      }
      kernels.correlate(section, x + r * run.row_stride + s * run.column_stride,
                        w + r * run.w_row_stride + s * run.w_column_stride, here, y);
      here.residual = y;
    }
  }
}

// Row i of image n, as far as it is in the part.
void gather_row(const DepthwisePass& op, dim_t n, dim_t i, const Part& part, const float* x,
                const float* w, const Epilogue& epilogue, float* y) noexcept {
  const DepthwiseAxis* const phase = phase_of_row(op, i);
  if (phase == nullptr) return;
  const DepthwiseAxis& rows = *phase;
  const float* image = x + n * rows.axis.in * op.columns.front().axis.in * op.C;
  for (const DepthwiseAxis& columns : op.columns) {
    const dim_t row = (n * rows.axis.out_size + i) * columns.axis.out_size;
    for_runs(rows, i / rows.axis.out_step, columns, part, op.C, op.S,
             [&](const Taps& taps) noexcept {
               const dim_t at = (row + columns.axis.at_output(taps.column)) * op.C + part.c;
               Epilogue here = epilogue;
               if (here.bias != nullptr) here.bias += part.c;
               if (here.residual != nullptr) here.residual += at;
               if (here.gate != nullptr) here.gate += at;
               const bool is_long = taps.run.rows * taps.run.columns > kSectionTerms;
               if (is_long) {
                 return correlate_sections(*op.kernels, taps.run, image + taps.x_at, w + taps.w_at,
                                           here, y + at);
               }
               op.kernels->correlate(taps.run, image + taps.x_at, w + taps.w_at, here, y + at);
             });
  }
}

// The sum of one group of channels: total, and where a section has filled, the next in `section`.
struct SectionSum {
  const DepthwiseBackwardWeights& op;
  dim_t c, channels;
  float *total, *section;
  float* now;
  dim_t pixels = 0;

  // visit(offset) for the floats of each tap
  template <class Visit>
  void for_taps(Visit visit) const {
    for (dim_t tap = 0; tap < op.shape.R * op.shape.S; ++tap) visit(tap * op.shape.C + c);
  }
  void start(float* sum) {
    now = sum;
    pixels = 0;
    for_taps([&](dim_t at) { std::fill_n(sum + at, channels, 0.0f); });
  }
  void finish() {
    if (now != section) return;
    for_taps(
        [&](dim_t at) { op.sum.kernels->add(total + at, section + at, total + at, channels); });
  }
  // Before so many pixels are added to `now`.
  void make_room(dim_t more) {
    if (pixels > 0 && pixels + more > kSectionTerms) {
      finish();
      start(section);
    }
    pixels += more;
  }
};

// One chunk of rows for one group of channels, into dw; section: as dw.
void sum_task(const DepthwiseBackwardWeights& op, dim_t chunk, dim_t group, const float* x,
              const float* dy, float* dw, float* section) noexcept {
  const Conv2dShape& s = op.shape;
  const dim_t P = s.P(), Q = s.Q(), rows = s.N * P;
  const dim_t first = rows * chunk / op.chunks, last = rows * (chunk + 1) / op.chunks;
  const dim_t c = group * op.tile.channels, channels = std::min(op.tile.channels, s.C - c);
  SectionSum sum{op, c, channels, dw, section, dw};
  sum.start(dw);
  for_parts(Q, op.tile.columns, c, channels, [&](const Part& part) noexcept {
    for (dim_t row = first; row < last; ++row) {
      const float* image = x + row / P * s.H * s.W * s.C;
      sum.make_room(part.end - part.begin);
      for_runs(op.rows, row % P, op.columns, part, s.C, s.S, [&](const Taps& taps) noexcept {
        op.kernels->accumulate(taps.run, image + taps.x_at, dy + (row * Q + taps.column) * s.C + c,
                               sum.now + taps.w_at);
      });
    }
  });
  sum.finish();
}

}  // namespace

DepthwisePass make_depthwise_forward(const Conv2dShape& s, Isa isa) {
  DepthwisePass op{s.N,
                   s.C,
                   s.S,
                   s.P(),
                   s.Q(),
                   {forward_rows(s)},
                   {forward_columns(s)},
                   false,
                   {},
                   &depthwise_kernels(isa)};
  op.tile = choose_tile(op.rows[0].axis, op.columns[0].axis, s.C);
  return op;
}

DepthwisePass make_depthwise_backward_data(const Conv2dShape& s, Isa isa) {
  DepthwisePass op{s.N, s.C, s.S, s.H, s.W, {}, {}, false, {}, &depthwise_kernels(isa)};
  for (const PhaseAxis& phase : phase_axes(s.H, s.P(), s.R, s.stride.h, s.dilation.h, s.pad.top)) {
    op.rows.push_back(flipped(phase));
  }
  for (const PhaseAxis& phase : phase_axes(s.W, s.Q(), s.S, s.stride.w, s.dilation.w, s.pad.left)) {
    op.columns.push_back(flipped(phase));
  }
  const auto phases = [](dim_t stride, dim_t in) {
    return static_cast<std::size_t>(std::min(stride, in));
  };
  op.background =
      op.rows.size() < phases(s.stride.h, s.H) || op.columns.size() < phases(s.stride.w, s.W);
  if (op.rows.empty() || op.columns.empty()) return op;
  op.tile = choose_tile(op.rows[0].axis, op.columns[0].axis, s.C);
  return op;
}

namespace {

// Nothing but the epilogue, for all pixels.
void fill_background(const DepthwisePass& op, const Epilogue& epilogue, float* y,
                     Worker& worker) noexcept {
  const dim_t pixels = op.N * op.H_out * op.W_out;
  const dim_t block = std::max<dim_t>(1, kTaskFloats / op.C);
  worker.parallel_for(ceil_div(pixels, block), [&](dim_t begin, dim_t end) noexcept {
    const dim_t first = begin * block, at = first * op.C;
    const DepthwiseRun run{
        .pixels = std::min(end * block, pixels) - first, .C = op.C, .y_step = op.C};
    Epilogue here = epilogue;
    if (here.residual != nullptr) here.residual += at;
    if (here.gate != nullptr) here.gate += at;
    op.kernels->correlate(run, y + at, y + at, here, y + at);
  });
}

}  // namespace

void depthwise_gather(const DepthwisePass& op, const float* x, const float* w,
                      const Epilogue& epilogue, float* y, Worker& worker) noexcept {
  assert(x != nullptr && w != nullptr && y != nullptr && op.C >= 1);
  if (op.background) fill_background(op, epilogue, y, worker);
  if (op.rows.empty() || op.columns.empty()) return;
  const dim_t height = op.H_out, rows = op.N * height;
  const dim_t outputs = op.columns.front().axis.out;  // the first phase has the most
  const dim_t groups = ceil_div(op.C, op.tile.channels);
  const dim_t row_floats = op.W_out * op.tile.channels;
  const dim_t fair = ceil_div(rows * groups, kTasksPerThread * worker.size());
  const dim_t block = std::clamp<dim_t>(kTaskFloats / row_floats, 1, fair);
  worker.parallel_for(ceil_div(rows, block) * groups, [&](dim_t begin, dim_t end) noexcept {
    for (dim_t task = begin; task < end; ++task) {
      const dim_t first = task / groups * block, c = task % groups * op.tile.channels;
      for_parts(outputs, op.tile.columns, c, std::min(op.tile.channels, op.C - c),
                [&](const Part& part) noexcept {
                  for (dim_t row = first; row < std::min(rows, first + block); ++row) {
                    gather_row(op, row / height, row % height, part, x, w, epilogue, y);
                  }
                });
    }
  });
}

DepthwiseBackwardWeights make_depthwise_backward_weights(const Conv2dShape& s, Isa isa) {
  DepthwiseBackwardWeights op{
      s, forward_rows(s), forward_columns(s), {}, 1, &depthwise_kernels(isa), {}};
  op.sum = make_elementwise(op.count(), isa);
  op.tile = choose_tile(op.rows.axis, op.columns.axis, s.C);
  const dim_t rows = s.N * s.P(), pixels = rows * s.Q();
  while (op.chunks * op.groups() < kEnoughTasks && rows >= 2 * op.chunks &&
         pixels >= 2 * op.chunks * kChunkPixels) {
    op.chunks *= 2;
  }
  return op;
}

void depthwise_backward_weights(const DepthwiseBackwardWeights& op, const float* x, const float* dy,
                                float* dw, float* workspace, Worker& worker) noexcept {
  const dim_t groups = op.groups();
  assert(x != nullptr && dy != nullptr && dw != nullptr && (workspace || op.chunks == 1));
  worker.parallel_for(op.chunks * groups, [&](dim_t begin, dim_t end) noexcept {
    for (dim_t task = begin; task < end; ++task) {
      const dim_t at = task / groups * op.count();
      float* section = op.sections() ? workspace + op.partial_floats() + at : nullptr;
      sum_task(op, task / groups, task % groups, x, dy, op.chunks > 1 ? workspace + at : dw,
               section);
    }
  });
  if (op.chunks > 1) add_chunks(op.sum, workspace, op.chunks, dw, worker);
}

}  // namespace pycnn
