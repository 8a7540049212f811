// SPDX-License-Identifier: Apache-2.0
// Whether an update would write a number that is not finite, decided before any update writes.
// From the largest |gradient|, which the checks have found, and bounds of the weights and slots
// follow bounds of what the update makes: in nearly every step these are far below the limit and
// nothing else is read. Only where they are not, the arrays are.
#pragma once

#include <string>
#include <variant>

#include "ops/update.h"
#include "plan/lower.h"
#include "plan/variable.h"

namespace pycnn {

class UpdateGuard {
 public:
  UpdateGuard(std::string name, const Sgd& op, Tensor& w, Tensor* velocity, BufferId gradient,
              BufferId largest, Isa isa);
  UpdateGuard(std::string name, const Adam& op, Tensor& w, Tensor& m, Tensor& v, BufferId gradient,
              BufferId largest, Isa isa);

  const std::string& name() const { return name_; }
  bool stays_finite(const RunContext& run) noexcept;
  void commit() noexcept;  // the update takes place: what was found holds for its results

 private:
  struct Bounds {
    double w = 0, first = 0, second = 0;  // the slots in the order of the constructor
  };
  Bounds known() const noexcept;
  Bounds after(const Bounds& now, double gradient, const RunContext& run) const noexcept;
  void measure() noexcept;
  bool try_update(const RunContext& run) const noexcept;

  std::string name_;
  std::variant<Sgd, Adam> op_;
  Tensor *w_, *first_, *second_;  // slots: null where there is none
  BufferId gradient_, largest_;
  Isa isa_;
  Bounds next_;
};

}  // namespace pycnn
