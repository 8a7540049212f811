// SPDX-License-Identifier: Apache-2.0
#include "plan/update_guard.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

namespace pycnn {
namespace {

constexpr double kInfinite = std::numeric_limits<double>::infinity();
constexpr double kLimit = 0.5 * std::numeric_limits<float>::max();
constexpr double kSlack = 1 + 1e-5;  // for the roundings of a step

}  // namespace

float stored_bound(double bound) {
  return bound <= kLimit ? static_cast<float>(bound * kSlack)
                         : std::numeric_limits<float>::infinity();
}

OptimizerGuard::OptimizerGuard(const std::string& name, const Sgd& op, Tensor& w, Tensor* velocity,
                               BufferId gradient, BufferId largest, Isa isa)
    : UpdateGuard(name),
      op_(op),
      w_(&w),
      first_(velocity),
      second_(nullptr),
      gradient_(gradient),
      largest_(largest),
      isa_(isa) {}

OptimizerGuard::OptimizerGuard(const std::string& name, const Adam& op, Tensor& w, Tensor& m,
                               Tensor& v, BufferId gradient, BufferId largest, Isa isa)
    : UpdateGuard(name),
      op_(op),
      w_(&w),
      first_(&m),
      second_(&v),
      gradient_(gradient),
      largest_(largest),
      isa_(isa) {}

OptimizerGuard::Bounds OptimizerGuard::known() const noexcept {
  return {w_->bound, first_ ? first_->bound : 0.0, second_ ? second_->bound : 0.0};
}

// Infinite where some intermediate result may be.
OptimizerGuard::Bounds OptimizerGuard::after(const Bounds& now, double gradient,
                                             const RunContext& run) const noexcept {
  const double rate = run.request->learning_rate;
  Bounds next;
  double decay = 0, move = 0, most = 0;  // most: of the intermediate results
  if (const Sgd* sgd = std::get_if<Sgd>(&op_)) {
    decay = sgd->weight_decay * rate;
    next.first = sgd->momentum * now.first + rate * gradient;
    move = sgd->nesterov ? sgd->momentum * next.first + rate * gradient : next.first;
    most = std::max(next.first, move);
  } else {
    const Adam& adam = std::get<Adam>(op_);
    const double alpha = adam_alpha(adam, run.request->learning_rate, run.random.step);
    decay = adam.weight_decay * rate;
    next.first = std::max(now.first, gradient);
    next.second = std::max(now.second, gradient * gradient);
    move = alpha * next.first / adam.epsilon;
    most = std::max({alpha, now.first + gradient, next.second, alpha * next.first, move});
  }
  next.w = now.w * std::abs(1 - decay) + move;
  most = std::max({most, decay, now.w * decay, next.w});
  const bool known = std::isfinite(now.w + now.first + now.second);  // NaN gets lost in max
  if (!known || !(most <= kLimit)) next = {kInfinite, kInfinite, kInfinite};
  return next;
}

void OptimizerGuard::measure() noexcept {
  w_->bound = largest_magnitude(w_->data(), w_->count(), isa_);
  if (first_ != nullptr) first_->bound = largest_magnitude(first_->data(), first_->count(), isa_);
  if (second_ != nullptr) {
    // Adam takes its root: a negative one is no bounded step.
    const float* v = second_->data();
    const bool roots = std::all_of(v, v + second_->count(), [](float x) { return x >= 0; });
    second_->bound = roots ? largest_magnitude(v, second_->count(), isa_)
                           : std::numeric_limits<float>::quiet_NaN();
  }
}

bool OptimizerGuard::try_update(const RunContext& run) const noexcept {
  const float* g = run.floats(gradient_);
  if (const Sgd* sgd = std::get_if<Sgd>(&op_)) {
    return sgd_stays_finite(*sgd, run.request->learning_rate, w_->data(), g,
                            first_ ? first_->data() : nullptr);
  }
  return adam_stays_finite(std::get<Adam>(op_), run.request->learning_rate, run.random.step,
                           w_->data(), g, first_->data(), second_->data());
}

bool OptimizerGuard::stays_finite(const RunContext& run) noexcept {
  const double gradient = *run.floats(largest_);
  next_ = after(known(), gradient, run);
  if (next_.w <= kLimit) return true;
  measure();  // the bounds may only be loose, or not known yet
  next_ = after(known(), gradient, run);
  return next_.w <= kLimit || try_update(run);
}

void OptimizerGuard::commit() noexcept {
  for (Tensor* state : {w_, first_, second_}) {
    if (state != nullptr) state->is_negative = true;
  }
  w_->bound = stored_bound(next_.w);
  if (first_ != nullptr) first_->bound = stored_bound(next_.first);
  if (second_ != nullptr) second_->bound = stored_bound(next_.second);
}

bool AssignGuard::stays_finite(const RunContext& run) noexcept {
  bound_ = *run.floats(largest_);
  return std::isfinite(bound_);
}

void AssignGuard::commit() noexcept {
  target_->forget();
  target_->bound = stored_bound(bound_);
}

}  // namespace pycnn
