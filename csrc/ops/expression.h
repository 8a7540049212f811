// SPDX-License-Identifier: Apache-2.0
// Expressions, evaluated a block of elements at a time: one kernel call an instruction, all values
// between in L1. What broadcasting repeats is read in its place, or laid out once. Elements are
// numbered as they lie in the output (row-major).
#pragma once

#include <array>
#include <vector>

#include "base/arch.h"
#include "base/expression.h"
#include "base/parallel.h"
#include "base/rng.h"
#include "base/shape.h"

namespace pycnn {

struct BlockOperand;
struct ExpressionKernels;
enum class ChainFunction : std::uint8_t;

constexpr dim_t kBlock = 256;  // elements

struct MapInput {
  Shape shape;
  DType dtype = DType::f32;
};

// What an expression reads while it runs.
struct ExpressionRun {
  std::array<const void*, kMaxExpressionInputs> inputs{};
  RandomState random;  // its step is the operand `step`, too
  float learning_rate = 0;
};

// How an input is found from an element's number: extents and strides of axes, outermost first,
// strides of 0 where it is repeated.
struct InputAccess {
  enum class Kind : std::uint8_t {
    direct,   // element i is number i
    scalar,   // there is one
    pattern,  // short rows, all the same: laid out once for a thread
    repeat,   // one number for each row
    walk,
  };
  struct Axis {
    dim_t extent, stride;
  };
  Kind kind = Kind::direct;
  DType dtype = DType::f32;
  std::vector<Axis> axes = {};
};

// An expression made ready for its shapes. Its instructions name slots: inputs, then numbers,
// places and random numbers that are filled in for each block, blocks for what is between, results.
struct BlockProgram {
  struct Link {
    ChainFunction function;
    int x;
  };
  // One function of arity operands; or a chain of several that starts with x[0].
  struct Call {
    void (*kernel)(float* y, const BlockOperand* x, dim_t count) noexcept = nullptr;
    int y = 0, arity = 0;
    std::array<int, kMaxArity> x{};
    std::vector<Link> links = {};
  };
  struct Filled {
    Operand operand;               // iota or uniform
    dim_t extent = 1, stride = 1;  // of iota: its place is element / stride % extent
  };
  struct Result {
    int slot = 0;
    DType dtype = DType::f32;
    bool is_in_place = false;  // code writes it where it belongs; else it is copied there
  };
  std::vector<InputAccess> inputs;
  std::vector<Operand> numbers;
  std::vector<Filled> filled;
  std::vector<Call> code;
  std::vector<Result> results;
  int blocks = 0;
  float batch = 0;
  bool fetches_ahead = false;
  const ExpressionKernels* kernels = nullptr;

  int first_number() const { return static_cast<int>(inputs.size()); }
  int first_filled() const { return first_number() + static_cast<int>(numbers.size()); }
  int first_block() const { return first_filled() + static_cast<int>(filled.size()); }
  int first_result() const { return first_block() + blocks; }
  dim_t scratch_floats() const;  // per thread
  // Does one call make the only result of what it finds in its place? Then no block is needed.
  bool is_one_call() const;
};

// What becomes of a result: nothing, it stays in a block; or it is written as this type, into the
// memory of this input (-1: into its own).
struct MapOutput {
  DType dtype = DType::f32;
  int in_place = -1;
};
BlockProgram make_block_program(const Expression& expression, const Shape& shape,
                                const std::vector<MapInput>& inputs,
                                const std::vector<MapOutput>& outputs, dim_t batch, Isa isa);

// y[r] = result r of the expression, for `count` elements
struct Map {
  BlockProgram program;
  dim_t count = 0;
};
void map_forward(const Map& op, const ExpressionRun& run, void* const* y, Worker& worker) noexcept;

// A trial, which writes nothing: visit(context, r, first, x, count) for each block of result r, on
// all threads.
using VisitBlock = void (*)(void* context, std::size_t r, dim_t first, const float* x,
                            dim_t count) noexcept;
void visit_map(const Map& op, const ExpressionRun& run, VisitBlock visit, void* context,
               Worker& worker) noexcept;

struct Extremes {
  float least = 0, most = 0;  // NaN where any element is
};
Extremes extremes_of(const float* x, dim_t count, Isa isa) noexcept;

}  // namespace pycnn
