// SPDX-License-Identifier: Apache-2.0
// One instruction of an expression over a block of floats. y may be the memory of any operand.
// Pointers need no more than float alignment; nothing outside the given runs is read or written.
#pragma once

#include "base/expression.h"
#include "base/types.h"

namespace pycnn {

enum class Isa : int;

constexpr dim_t kMostLanes = 16;  // of any instruction set

// Element i is data[i]; or, where repeated, data[0] and the kMostLanes - 1 behind it are all the
// same number, that of every element.
struct BlockOperand {
  const float* data;
  bool repeated;
};

// Functions that a chain may apply to its value v, with an operand x.
enum class ChainFunction : std::uint8_t {
  add,
  subtract,
  subtract_from,  // x - v
  multiply,
  divide,
  divide_into,  // x / v
  maximum,
  maximum_of,  // maximum(x, v): of zeros the sign differs
  minimum,
  minimum_of,
  square,
  sqrt,
  negative
};
struct ChainLink {
  ChainFunction function;
  BlockOperand operand;
};

constexpr dim_t kFoldLanes = 64, kUniformAlign = 64;

// Of sums, maxima or minima; a NaN is larger and smaller than all.
struct FoldKernels {
  void (*begin)(float* y, dim_t count) noexcept;  // y[i] = 0, -inf or inf
  // y[i % kFoldLanes] = f(y[i % kFoldLanes], x[i])
  void (*lanes)(const float* x, dim_t count, float* y) noexcept;
  float (*finish)(const float* y) noexcept;  // of kFoldLanes
  // y[row] = f(x[row][0], ..., x[row][count - 1])
  void (*rows)(const float* x, dim_t rows, dim_t count, float* y) noexcept;
  // y[c] = f(y[c], x[0][c], ..., x[rows - 1][c])
  void (*columns)(const float* x, dim_t rows, dim_t columns, float* y) noexcept;
};

struct ExpressionKernels {
  // y[i] = f(x[0][i], x[1][i], ...), i < count
  using Call = void (*)(float* y, const BlockOperand* x, dim_t count) noexcept;
  Call call[kFunctions];
  // y[i] = the last link of ... the first link of x[i]
  void (*chain)(float* y, const BlockOperand& x, const ChainLink* links, int count_of_links,
                dim_t count) noexcept;
  // y[i] = x[(first + i) / inner]
  void (*repeat_each)(const float* x, dim_t first, dim_t inner, float* y, dim_t count) noexcept;
  FoldKernels fold[3];  // sum, max, min
  // y[i] = element first + i of the stream (base/rng.h); first is a multiple of kUniformAlign
  void (*uniform)(std::uint64_t seed, std::uint32_t stream, std::uint32_t step, dim_t first,
                  float* y, dim_t count) noexcept;
};

extern const ExpressionKernels expression_scalar, expression_avx2, expression_avx512;

const ExpressionKernels& expression_kernels(Isa isa);

}  // namespace pycnn
