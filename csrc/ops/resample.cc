// SPDX-License-Identifier: Apache-2.0
#include "ops/resample.h"

#include <algorithm>
#include <array>
#include <cassert>

namespace pycnn {
namespace {

constexpr dim_t kBlock = 8192;  // floats in a task, as in elementwise ops
constexpr dim_t kShortRun = 16;
constexpr dim_t kTerms = 256;  // that are summed at once; longer sums are sums of such sums

bool is_copy(const AxisSums& axis) {
  return axis.is_identity() ||
         (axis.terms.size() + 1 == axis.begin.size() &&
          std::ranges::all_of(axis.terms, [](const WeightedTerm& t) { return t.weight == 1; }) &&
          std::ranges::adjacent_find(axis.begin) == axis.begin.end());
}

AxisSums without_tables_if_same(AxisSums axis) {
  bool same = axis.in == axis.out && is_copy(axis);
  for (std::size_t i = 0; same && i < axis.terms.size(); ++i) {
    same = axis.terms[i].at == static_cast<dim_t>(i);
  }
  return same ? same_axis(axis.in) : axis;
}

// numerator / denominator, exactly
struct Fraction {
  dim_t numerator, denominator;

  dim_t floor() const { return (numerator - (numerator < 0 ? denominator - 1 : 0)) / denominator; }
  dim_t above_floor() const { return numerator - floor() * denominator; }
};

Fraction coordinate_of(dim_t i, dim_t in, dim_t out, Coordinates coordinates) {
  switch (coordinates) {
    case Coordinates::half_pixel:
      break;
    case Coordinates::align_corners:
      return out == 1 ? Fraction{0, 1} : Fraction{i * (in - 1), out - 1};
    case Coordinates::asymmetric:
      return {i * in, out};
    case Coordinates::pytorch_half_pixel:
      if (out == 1) return {0, 1};
      break;
  }
  return {(2 * i + 1) * in - out, 2 * out};
}

dim_t nearest(const Fraction& x, Rounding rounding) {
  const dim_t below = x.floor(), twice = 2 * x.above_floor();
  switch (rounding) {
    case Rounding::floor:
      return below;
    case Rounding::ceil:
      return below + (twice > 0 ? 1 : 0);
    case Rounding::round_prefer_floor:
      return below + (twice > x.denominator ? 1 : 0);
    case Rounding::round_prefer_ceil:
      break;
  }
  return below + (twice >= x.denominator ? 1 : 0);
}

std::vector<Resample::Stretch> stretches_of(const AxisSums& axis, dim_t pitch) {
  const auto count = static_cast<std::size_t>(axis.out);
  std::vector<Resample::Stretch> stretches(count);
  for (std::size_t i = count - 1; i-- > 0;) {
    const dim_t step = axis.is_identity() ? pitch : axis.terms[i + 1].at - axis.terms[i].at;
    const Resample::Stretch& next = stretches[i + 1];
    stretches[i] = {step, next.count == 1 || next.step == step ? next.count + 1 : 2};
  }
  return stretches;
}

// Sums over the first axes, of `run` floats; the terms go to the kernel whenever there are kTerms.
class OuterSum {
 public:
  OuterSum(const Resample& op, std::size_t axes, dim_t run, const dim_t* index, const float* x)
      : op_(op), axes_(axes), run_(run), index_(index), x_(x) {}

  // Where `index` says.
  void operator()(float* y) noexcept {
    y_ = y;
    adds_ = false;
    add_axis(0, {0, 1.0f});
    if (count_ > 0 || !adds_) flush();
  }

 private:
  void add_axis(std::size_t axis, WeightedTerm outer) noexcept {
    if (axis == axes_) {
      if (count_ == kTerms) flush();
      terms_[static_cast<std::size_t>(count_++)] = outer;
      return;
    }
    const AxisSums& sums = op_.axes[axis];
    const dim_t i = index_[axis];
    if (sums.is_identity()) {
      return add_axis(axis + 1, {outer.at + i * op_.pitch[axis], outer.weight});
    }
    const auto at = static_cast<std::size_t>(i);
    for (dim_t k = sums.begin[at]; k < sums.begin[at + 1]; ++k) {
      const WeightedTerm& term = sums.terms[static_cast<std::size_t>(k)];
      add_axis(axis + 1, {outer.at + term.at, outer.weight * term.weight});
    }
  }
  void flush() noexcept {
    op_.kernels->weighted_sum(terms_.data(), count_, x_, y_, run_, adds_);
    count_ = 0;
    adds_ = true;
  }

  const Resample& op_;
  const std::size_t axes_;
  const dim_t run_;
  const dim_t* index_;
  const float* x_;
  float* y_ = nullptr;
  std::array<WeightedTerm, kTerms> terms_;
  dim_t count_ = 0;
  bool adds_ = false;
};

// Pixels that lie one behind the other along the last axis, at most `most`; returns how many.
dim_t copy_stretch(const Resample& op, const dim_t* index, dim_t most, const float* x, float* y) {
  dim_t from = 0;
  for (std::size_t axis = 0; axis < op.axes.size(); ++axis) {
    const AxisSums& sums = op.axes[axis];
    from += sums.is_identity() ? index[axis] * op.pitch[axis]
                               : sums.terms[static_cast<std::size_t>(index[axis])].at;
  }
  const auto& [step, count] = op.stretches[static_cast<std::size_t>(index[op.axes.size() - 1])];
  const dim_t pixels = std::min(count, most);
  if (step == op.run) {
    op.kernels->copy_rows(x + from, 0, y, 0, 1, pixels * op.run);
  } else if (op.run == 1) {
    for (dim_t i = 0; i < pixels; ++i) y[i] = x[from + i * step];
  } else {
    op.kernels->copy_rows(x + from, step, y, op.run, pixels, op.run);
  }
  return pixels;
}

// Outputs first ... first + count - 1 of the last axis, from the row that the others made.
void sum_along(const AxisSums& axis, dim_t run, dim_t first, dim_t count, const float* row,
               float* y) noexcept {
  for (dim_t i = first; i < first + count; ++i, y += run) {
    const auto at = static_cast<std::size_t>(i);
    const WeightedTerm* terms = axis.terms.data() + axis.begin[at];
    const dim_t term_count = axis.begin[at + 1] - axis.begin[at];
    for (dim_t c = 0; c < run; ++c) {
      float sum = 0;
      for (dim_t k = 0; k < term_count; ++k) sum += terms[k].weight * row[terms[k].at + c];
      y[c] = sum;
    }
  }
}

}  // namespace

AxisSums same_axis(dim_t extent) { return {.in = extent, .out = extent}; }

AxisSums mirrored_axis(dim_t extent, dim_t before, dim_t after, PadMode mode) {
  assert(mode == PadMode::symmetric ||
         (mode == PadMode::reflect && std::max(before, after) < extent));
  if (before == 0 && after == 0) return same_axis(extent);
  const dim_t edge = mode == PadMode::symmetric ? 1 : 0;  // is the first element seen twice?
  const dim_t period = std::max<dim_t>(1, 2 * (extent - 1 + edge));
  AxisSums axis{.in = extent, .out = before + extent + after};
  for (dim_t i = 0; i < axis.out; ++i) {
    const dim_t at = ((i - before) % period + period) % period;
    axis.begin.push_back(i);
    axis.terms.push_back({at < extent ? at : period - edge - at, 1.0f});
  }
  axis.begin.push_back(axis.out);
  return axis;
}

AxisSums resized_axis(dim_t in, dim_t out, Interpolation interpolation, Coordinates coordinates,
                      Rounding rounding) {
  AxisSums axis{.in = in, .out = out};
  const auto clamped = [&](dim_t at) { return std::clamp<dim_t>(at, 0, in - 1); };
  for (dim_t i = 0; i < out; ++i) {
    const Fraction x = coordinate_of(i, in, out, coordinates);
    axis.begin.push_back(static_cast<dim_t>(axis.terms.size()));
    if (interpolation == Interpolation::nearest) {
      axis.terms.push_back({clamped(nearest(x, rounding)), 1.0f});
      continue;
    }
    const dim_t below = clamped(x.floor()), above = clamped(x.floor() + 1);
    const dim_t part = below == above ? 0 : x.above_floor();
    const auto weight = [&](dim_t share) {
      return static_cast<float>(static_cast<double>(share) / static_cast<double>(x.denominator));
    };
    axis.terms.push_back({below, weight(x.denominator - part)});
    if (part > 0) axis.terms.push_back({above, weight(part)});
  }
  axis.begin.push_back(static_cast<dim_t>(axis.terms.size()));
  return without_tables_if_same(std::move(axis));
}

AxisSums transposed(const AxisSums& axis) {
  if (axis.is_identity()) return axis;
  AxisSums back{.in = axis.out, .out = axis.in};
  back.begin.assign(static_cast<std::size_t>(back.out) + 1, 0);
  for (const WeightedTerm& term : axis.terms) ++back.begin[static_cast<std::size_t>(term.at) + 1];
  for (std::size_t i = 1; i < back.begin.size(); ++i) back.begin[i] += back.begin[i - 1];
  std::vector<dim_t> next = back.begin;
  back.terms.resize(axis.terms.size());
  for (dim_t i = 0; i < axis.out; ++i) {
    const auto at = static_cast<std::size_t>(i);
    for (dim_t k = axis.begin[at]; k < axis.begin[at + 1]; ++k) {
      const WeightedTerm& term = axis.terms[static_cast<std::size_t>(k)];
      const dim_t place = next[static_cast<std::size_t>(term.at)]++;
      back.terms[static_cast<std::size_t>(place)] = {i, term.weight};
    }
  }
  return back;
}

Resample make_resample(std::vector<AxisSums> axes, Isa isa) {
  assert(!axes.empty() && axes.size() <= std::size_t{kMaxRank});
  Resample op{.kernels = &eltwise_kernels(isa)};
  while (axes.size() > 1 && axes.back().is_identity()) {
    op.run *= axes.back().in;
    axes.pop_back();
  }
  op.pitch.resize(axes.size());
  dim_t pitch = op.run;
  for (std::size_t axis = axes.size(); axis-- > 0;) {
    for (WeightedTerm& term : axes[axis].terms) term.at *= pitch;
    op.pitch[axis] = pitch;
    op.pixels *= axes[axis].out;
    pitch *= axes[axis].in;
  }
  if (std::ranges::all_of(axes, is_copy)) op.stretches = stretches_of(axes.back(), op.pitch.back());
  op.by_rows = op.stretches.empty() && op.run < kShortRun && axes.size() > 1;
  op.axes = std::move(axes);
  return op;
}

void resample(const Resample& op, const float* x, float* y, Worker& worker) noexcept {
  assert(x != nullptr && y != nullptr && x != y);
  const dim_t block = std::max<dim_t>(1, kBlock / op.run), last = op.axes.back().out;
  const std::size_t axes = op.by_rows ? op.axes.size() - 1 : op.axes.size();
  float* const row = worker.scratch_floats();
  worker.parallel_for(ceil_div(op.pixels, block), [&](dim_t begin, dim_t end) noexcept {
    const dim_t behind = std::min(end * block, op.pixels);
    std::array<dim_t, kMaxRank> index;
    OuterSum sum(op, axes, op.by_rows ? op.scratch_floats() : op.run, index.data(), x);
    for (dim_t pixel = begin * block; pixel < behind;) {
      dim_t rest = pixel;
      for (std::size_t axis = op.axes.size(); axis-- > 0;) {
        index[axis] = rest % op.axes[axis].out;
        rest /= op.axes[axis].out;
      }
      dim_t& along = index[op.axes.size() - 1];
      const dim_t stop = std::min(behind, pixel - along + last);
      while (pixel < stop) {
        float* out = y + pixel * op.run;
        dim_t made = 1;
        if (op.by_rows) {
          made = stop - pixel;
          sum(row);
          sum_along(op.axes.back(), op.run, along, made, row, out);
        } else if (op.stretches.empty()) {
          sum(out);
        } else {
          made = copy_stretch(op, index.data(), stop - pixel, x, out);
        }
        pixel += made, along += made;
      }
    }
  });
}

}  // namespace pycnn
