// SPDX-License-Identifier: Apache-2.0
// One instruction of an expression over a block of floats. y may be the memory of any operand.
// Pointers need no more than float alignment; nothing outside the given runs is read or written.
#pragma once

#include "base/functions.h"
#include "base/types.h"

namespace pycnn {

enum class Isa : int;

constexpr int kMaxArity = 3;
constexpr dim_t kMostLanes = 16;  // of any instruction set

// Element i is data[i]; or, where repeated, data[0] and the kMostLanes - 1 behind it are all the
// same number, that of every element.
struct BlockOperand {
  const float* data = nullptr;
  bool repeated = false;
};

struct ExpressionKernels {
  // y[i] = f(x[0][i], x[1][i], ...), i < count
  using Call = void (*)(float* y, const BlockOperand* x, dim_t count) noexcept;
  Call call[kFunctions];
};

extern const ExpressionKernels expression_scalar, expression_avx2, expression_avx512;

const ExpressionKernels& expression_kernels(Isa isa);

}  // namespace pycnn
