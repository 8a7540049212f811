// SPDX-License-Identifier: Apache-2.0
// Ops that map elements to elements. x and y may be the same memory (in place) in all of them.
// SPMD: every worker of a region calls the function; it returns when the op is complete.
#pragma once

#include "base/arch.h"
#include "base/parallel.h"
#include "base/rng.h"
#include "base/types.h"

namespace pycnn {

struct EltwiseKernels;

struct Elementwise {
  dim_t count = 0;  // elements
  const EltwiseKernels* kernels = nullptr;
};
Elementwise make_elementwise(dim_t count, Isa isa);
// Sums over pixels, and long sums of products, run in sections that start from zero and are added
// up: a term is rounded about kSectionTerms times, and once per section, however many there are.
constexpr dim_t kSectionTerms = 8192;
// sum = partial[0] + partial[1] + ..., `chunks` arrays one behind the other, in a binary tree over
// their indices: the same bits for any number of workers. partial is overwritten; sum may be it.
void add_chunks(const Elementwise& op, float* partial, dim_t chunks, float* sum,
                Worker& worker) noexcept;

// y = a + b
void add_forward(const Elementwise& op, const float* a, const float* b, float* y,
                 Worker& worker) noexcept;

struct Activation {
  Elementwise map;
  ActivationKind kind = ActivationKind::linear;
  float alpha = 0;
};
Activation make_activation(dim_t count, ActivationKind kind, float alpha, Isa isa);

// y = f(x); NaN propagates, save through step
void activation_forward(const Activation& op, const float* x, float* y, Worker& worker) noexcept;
// dx = dy * f'(x), with f' expressed by the output y
void activation_backward(const Activation& op, const float* y, const float* dy, float* dx,
                         Worker& worker) noexcept;

struct Dropout {
  Elementwise map;
  float rate = 0;
  std::uint32_t stream = 0;
};
Dropout make_dropout(dim_t count, float rate, std::uint32_t stream, Isa isa);

// y[i] = u[i] >= rate ? x[i] / (1 - rate) : 0, u from (state.seed, stream, state.step, i), see
// base/rng.h. Its own backward: the same call on dy.
void dropout_forward(const Dropout& op, const RandomState& state, const float* x, float* y,
                     Worker& worker) noexcept;

}  // namespace pycnn
