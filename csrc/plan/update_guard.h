// SPDX-License-Identifier: Apache-2.0
// Whether an update would write a number that is not finite, decided before any update writes.
// From the largest |gradient|, which the checks have found, and bounds of the weights and slots
// follow bounds of what the update makes: in nearly every step these are far below the limit and
// nothing else is read. Only where they are not, the arrays are.
#pragma once

#include <string>
#include <utility>
#include <variant>

#include "ops/update.h"
#include "plan/lower.h"
#include "plan/variable.h"

namespace pycnn {

float stored_bound(double bound);  // as Tensor keeps it, not below the exact value

class UpdateGuard {
 public:
  explicit UpdateGuard(std::string name) : name_(std::move(name)) {}
  virtual ~UpdateGuard() = default;
  UpdateGuard(const UpdateGuard&) = delete;
  UpdateGuard& operator=(const UpdateGuard&) = delete;

  const std::string& name() const { return name_; }  // of the parameter
  virtual bool stays_finite(const RunContext& run) noexcept = 0;
  // Is it a gradient that is not finite, rather than what is made of it?
  virtual bool blames_input(const RunContext&) const noexcept { return false; }
  virtual void commit() noexcept = 0;  // the update takes place: what was found holds from now on

 private:
  std::string name_;
};

class OptimizerGuard : public UpdateGuard {
 public:
  OptimizerGuard(const std::string& name, const Sgd& op, Tensor& w, Tensor* velocity,
                 BufferId gradient, BufferId largest, Isa isa);
  OptimizerGuard(const std::string& name, const Adam& op, Tensor& w, Tensor& m, Tensor& v,
                 BufferId gradient, BufferId largest, Isa isa);

  bool stays_finite(const RunContext& run) noexcept override;
  void commit() noexcept override;

 private:
  struct Bounds {
    double w = 0, first = 0, second = 0;  // the slots in the order of the constructor
  };
  Bounds known() const noexcept;
  Bounds after(const Bounds& now, double gradient, const RunContext& run) const noexcept;
  void measure() noexcept;
  bool try_update(const RunContext& run) const noexcept;

  std::variant<Sgd, Adam> op_;
  Tensor *w_, *first_, *second_;  // slots: null where there is none
  BufferId gradient_, largest_;
  Isa isa_;
  Bounds next_;
};

// Of a value that was computed and looked at before.
class AssignGuard : public UpdateGuard {
 public:
  AssignGuard(const std::string& name, Tensor& target, BufferId largest)
      : UpdateGuard(name), target_(&target), largest_(largest) {}

  bool stays_finite(const RunContext& run) noexcept override;
  void commit() noexcept override;

 private:
  Tensor* target_;
  BufferId largest_;
  float bound_ = 0;
};

// Of averages of finite samples nothing is asked, and nothing known.
class AverageGuard : public UpdateGuard {
 public:
  AverageGuard(const std::string& name, Tensor& target) : UpdateGuard(name), target_(&target) {}

  bool stays_finite(const RunContext&) noexcept override { return true; }
  void commit() noexcept override { target_->forget(); }

 private:
  Tensor* target_;
};

}  // namespace pycnn
