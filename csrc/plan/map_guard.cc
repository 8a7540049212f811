// SPDX-License-Identifier: Apache-2.0
#include "plan/map_guard.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

namespace pycnn {
namespace {

constexpr std::uint32_t kInfinityBits = 0x7F800000;

std::uint32_t size_bits(float x) { return std::bit_cast<std::uint32_t>(x) & 0x7FFFFFFF; }
std::uint32_t size_bits(const Extremes& x) {
  return std::max(size_bits(x.least), size_bits(x.most));
}

template <class T>
void raise(std::atomic<T>& most, T value) noexcept {
  T known = most.load(std::memory_order_relaxed);
  while (known < value && !most.compare_exchange_weak(known, value, std::memory_order_relaxed)) {
  }
}

}  // namespace

Range MapGuard::range_of(const Input& input, const RunContext& run) const noexcept {
  if (input.state != nullptr) {
    const double most = double{input.state->bound};
    return range_between(input.state->is_negative ? -most : 0, most);
  }
  if (input.largest.has_value()) {
    const double most = double{*run.floats(input.largest)};
    return range_between(-most, most);
  }
  if (input.dtype != DType::f32) {
    return range_between(std::numeric_limits<std::int32_t>::min(),
                         std::numeric_limits<std::int32_t>::max());
  }
  const double number = double{*run.floats(input.buffer)};
  return range_between(number, number);
}

bool MapGuard::prove(const RunContext& run) noexcept {
  std::array<Range, kMaxExpressionInputs> inputs;
  for (std::size_t i = 0; i < work_.inputs.size(); ++i) inputs[i] = range_of(work_.inputs[i], run);
  const RunNumbers numbers{double{run.request->learning_rate}, double(run.random.step),
                           double{work_.trial.program.batch}};
  next_ = ranges_of(work_.expression, {inputs.data(), work_.inputs.size()}, numbers);
  return std::all_of(next_.begin(), next_.begin() + std::ssize(work_.targets),
                     [](const Range& range) { return range.is_known; });
}

void MapGuard::measure() noexcept {
  for (const Input& input : work_.inputs) {
    if (input.state == nullptr) continue;
    const Extremes found = extremes_of(input.state->data(), input.state->count(), work_.isa);
    input.state->bound = std::bit_cast<float>(size_bits(found));
    input.state->is_negative = found.least < 0;
  }
}

bool MapGuard::is_open(const RunContext& run) noexcept {
  const bool is_known = std::ranges::none_of(work_.inputs, [](const Input& input) {
    return input.state != nullptr && std::isinf(input.state->bound);
  });
  is_proven_ = prove(run);
  if (!is_proven_ && !(is_measured_ && is_known)) {
    measure();
    is_proven_ = prove(run);
  }
  is_measured_ = is_evaluated_ = false;
  for (Seen& seen : seen_) {
    seen.largest.store(0, std::memory_order_relaxed);
    seen.is_negative.store(false, std::memory_order_relaxed);
  }
  return !is_proven_;
}

void MapGuard::look_at(std::size_t r, dim_t first, const float* x, dim_t count) noexcept {
  const Extremes found = extremes_of(x, count, work_.isa);
  std::uint32_t largest = size_bits(found);
  if (largest >= kInfinityBits && work_.layout && work_.layout->has_padding()) {
    largest = 0;
    for (dim_t i = 0; i < count; ++i) {
      if (!work_.layout->is_padding(first + i)) largest = std::max(largest, size_bits(x[i]));
    }
  }
  raise(seen_[r].largest, largest);
  // Of zeros beside a kernel nothing is known: NaN among them hides what the others are.
  if (!(found.least >= 0)) seen_[r].is_negative.store(true, std::memory_order_relaxed);
}

void MapGuard::evaluate(const RunContext& run, Worker& worker) noexcept {
  ExpressionRun ready{.random = run.random, .learning_rate = run.request->learning_rate};
  for (std::size_t i = 0; i < work_.inputs.size(); ++i) {
    ready.inputs[i] = run.bytes(work_.inputs[i].buffer);
  }
  if (worker.id() == 0) is_evaluated_ = true;
  const auto look = [](void* self, std::size_t r, dim_t first, const float* x,
                       dim_t count) noexcept {
    static_cast<MapGuard*>(self)->look_at(r, first, x, count);
  };
  visit_map(work_.trial, ready, look, this, worker);
}

bool MapGuard::stays_finite(const RunContext&) noexcept {
  return is_proven_ || (is_evaluated_ && std::ranges::all_of(seen_, [](const Seen& seen) {
                          return seen.largest.load(std::memory_order_relaxed) < kInfinityBits;
                        }));
}

bool MapGuard::blames_input(const RunContext& run) const noexcept {
  return std::ranges::any_of(work_.inputs, [&](const Input& input) {
    return input.largest.has_value() && !std::isfinite(*run.floats(input.largest));
  });
}

// What was seen of all elements is as good as if it were measured in the next step.
void MapGuard::commit() noexcept {
  for (std::size_t r = 0; r < work_.targets.size(); ++r) {
    Tensor& target = *work_.targets[r];
    target.forget();
    if (is_proven_) {
      target.bound = stored_bound(next_[r].largest());
      target.is_negative = next_[r].low < 0;
    } else if (is_evaluated_) {
      target.bound = std::bit_cast<float>(seen_[r].largest.load(std::memory_order_relaxed));
      target.is_negative = seen_[r].is_negative.load(std::memory_order_relaxed);
    }
  }
  is_measured_ = is_evaluated_;
}

}  // namespace pycnn
