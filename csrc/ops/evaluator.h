// SPDX-License-Identifier: Apache-2.0
// What one thread needs to evaluate an expression block by block.
#pragma once

#include <array>

#include "kernels/expression/expression.h"
#include "ops/expression.h"

namespace pycnn {

// Inputs, numbers, filled ones and blocks (of instructions), results.
constexpr std::size_t kMaxSlots =
    kMaxExpressionInputs + 2 * kMaxArity * kMaxInstructions + kMaxInstructions + kMaxResults;

class Evaluator {
 public:
  // scratch: program.scratch_floats() of this thread's own
  Evaluator(const BlockProgram& program, const ExpressionRun& run, float* scratch) noexcept;
  Evaluator(const Evaluator&) = delete;
  Evaluator& operator=(const Evaluator&) = delete;

  // Elements first ... first + count - 1, of which there may be kBlock. Result r goes to
  // y[r][first ...]; where y is null, all stay in blocks until the next call.
  void evaluate(dim_t first, dim_t count, void* const* y) noexcept;
  // `count` floats
  const float* result(std::size_t r, dim_t count) noexcept;

 private:
  float* owned_block(int slot) const;  // of an input, or of a slot behind the numbers
  float* number_of(int slot) const { return numbers_ + slot * kMostLanes; }  // input or number
  void repeat(int slot, float value) noexcept;
  float run_number(const Operand& operand) const noexcept;
  void lay_out(int slot) noexcept;
  void read(int slot, dim_t first, dim_t count) noexcept;
  void fill(int slot, const BlockProgram::Filled& filled, dim_t first, dim_t count) noexcept;
  void run(const BlockProgram::Call& call, dim_t count) noexcept;
  void store(std::size_t r, dim_t first, dim_t count, void* y) noexcept;

  const BlockProgram& program_;
  const ExpressionRun& run_;
  float *const numbers_, *const blocks_, *patterns_;
  std::array<const float*, kMaxExpressionInputs> pattern_{};
  std::array<BlockOperand, kMaxSlots> slots_;
  std::array<ChainLink, kMaxInstructions> links_;  // of the chain that runs
};

}  // namespace pycnn
