// SPDX-License-Identifier: Apache-2.0
// Whether maps that write parameters and slots would write a number that is not finite. Intervals
// say so in nearly every step, from the largest |gradient| and what is known of the state; where
// they do not, the maps are evaluated once more, and nothing is written.
#pragma once

#include <array>
#include <atomic>
#include <optional>
#include <vector>

#include "ops/expression.h"
#include "plan/ranges.h"
#include "plan/update_guard.h"

namespace pycnn {

class MapGuard : public UpdateGuard {
 public:
  struct Input {
    BufferId buffer;
    Tensor* state = nullptr;  // a parameter or slot
    BufferId largest = {};    // |x|, of others that are no numbers
    DType dtype = DType::f32;
  };
  struct Work {
    Expression expression;
    std::vector<Input> inputs;
    std::vector<Tensor*> targets;  // of its results
    Map trial;                     // that writes none
    std::optional<PackedWeights> layout;
    Isa isa;
  };
  MapGuard(const std::string& name, Work work) : UpdateGuard(name), work_(std::move(work)) {}

  // First on one thread, then where it returns true on all.
  bool is_open(const RunContext& run) noexcept;
  void evaluate(const RunContext& run, Worker& worker) noexcept;

  bool stays_finite(const RunContext& run) noexcept override;
  bool blames_input(const RunContext& run) const noexcept override;
  void commit() noexcept override;

 private:
  // Of a result: the largest bits of |x|, which order as the numbers do, NaN last; any below 0?
  struct Seen {
    std::atomic<std::uint32_t> largest{0};
    std::atomic<bool> is_negative{false};
  };
  Range range_of(const Input& input, const RunContext& run) const noexcept;
  bool prove(const RunContext& run) noexcept;
  void measure() noexcept;
  void look_at(std::size_t r, dim_t first, const float* x, dim_t count) noexcept;

  Work work_;
  std::array<Range, kMaxResults> next_{};
  std::array<Seen, kMaxResults> seen_;
  bool is_proven_ = false, is_evaluated_ = false;
  bool is_measured_ = false;  // the state, as it is since the last step
};

}  // namespace pycnn
