// SPDX-License-Identifier: Apache-2.0
// The expression kernels for any vector type V; one instantiation per ISA file.
#pragma once

#include "kernels/expression/chain.h"
#include "kernels/expression/expression.h"
#include "kernels/expression/fold.h"
#include "kernels/expression/functions.h"
#include "kernels/philox.h"
#include "simd/loops.h"

namespace pycnn {
namespace {

template <class V>
struct Arity {
  static constexpr int of(V (*)(V)) { return 1; }
  static constexpr int of(V (*)(V, V)) { return 2; }
  static constexpr int of(V (*)(V, V, V)) { return 3; }
};

// Where the next vector of an operand is, and how far the one after it.
struct Cursor {
  const float* at;
  dim_t step;
};

template <class V, class F, int kVectors>
[[gnu::always_inline]] inline void turn(float* y, Cursor& a, Cursor& b, Cursor& c) {
  constexpr int kArity = Arity<V>::of(F::call);
#pragma GCC unroll 4
  for (int k = 0; k < kVectors; ++k) {
    const V x = V::load(a.at + k * a.step);
    V result;
    if constexpr (kArity == 1) {
      result = F::call(x);
    } else if constexpr (kArity == 2) {
      result = F::call(x, V::load(b.at + k * b.step));
    } else {
      result = F::call(x, V::load(b.at + k * b.step), V::load(c.at + k * c.step));
    }
    result.store(y + k * V::lanes);
  }
  a.at += kVectors * a.step;
  if constexpr (kArity > 1) b.at += kVectors * b.step;
  if constexpr (kArity > 2) c.at += kVectors * c.step;
}

// One copy of the code of F: called for whole vectors, and for the tail in a buffer.
template <class V, class F>
[[gnu::noinline]] void whole_vectors(float* y, const Cursor* x, dim_t vectors) noexcept {
  Cursor a = x[0], b = x[1], c = x[2];
  for (; vectors >= F::kUnroll; vectors -= F::kUnroll, y += F::kUnroll * V::lanes) {
    turn<V, F, F::kUnroll>(y, a, b, c);
  }
  if constexpr (F::kUnroll > 1) {
    for (; vectors > 0; --vectors, y += V::lanes) turn<V, F, 1>(y, a, b, c);
  }
}

template <class V, template <class> class Function>
void call(float* y, const BlockOperand* x, dim_t count) noexcept {
  using F = Function<V>;
  constexpr int kArity = Arity<V>::of(F::call);
  const dim_t whole = count / V::lanes, rest = whole * V::lanes;
  float single[kArity][V::lanes];  // y may lie over a repeated operand
  Cursor cursors[kMaxArity] = {};
  for (int k = 0; k < kArity; ++k) {
    assert(x[k].repeated || same_or_apart(y, x[k].data, count));
    cursors[k] = {x[k].data, V::lanes};
    if (!x[k].repeated) continue;
    V::load(x[k].data).store(single[k]);
    cursors[k] = {single[k], 0};
  }
  whole_vectors<V, F>(y, cursors, whole);
  if (rest == count) return;
  const auto mask = V::tail_mask(count - rest);
  for (int k = 0; k < kArity; ++k) {
    if (!x[k].repeated) V::load(x[k].data + rest, mask).store(single[k]);
    cursors[k] = {single[k], 0};
  }
  float result[V::lanes];
  whole_vectors<V, F>(result, cursors, 1);
  V::load(result).store(y + rest, mask);
}

template <class V>
void uniform(std::uint64_t seed, std::uint32_t stream, std::uint32_t step, dim_t first, float* y,
             dim_t count) noexcept {
  assert(first >= 0 && first % kUniformAlign == 0);
  for (dim_t i = 0; i < count; i += 4 * V::lanes) {
    typename V::Bits word[4];
    philox<V>(seed, stream, step, static_cast<std::uint64_t>(first + i) / 4, word);
    for (int k = 0; k < 4; ++k) {
      const dim_t at = i + k * V::lanes;
      to_uniform<V>(word[k]).store(y + at, V::tail_mask(count - at));
    }
  }
}

template <class V, template <class> class... F>
constexpr ExpressionKernels make_calls(FunctionList<F...>) {
  static_assert(sizeof...(F) == kFunctions);
  return {.call = {call<V, F>...},
          .chain = chain<V>,
          .repeat_each = repeat_each<V>,
          .fold = {make_fold_kernels<V, SumOf>(), make_fold_kernels<V, MaxOf>(),
                   make_fold_kernels<V, MinOf>()},
          .uniform = uniform<V>};
}
template <class V>
constexpr ExpressionKernels make_expression_kernels() {
  return make_calls<V>(Functions());
}

}  // namespace
}  // namespace pycnn
