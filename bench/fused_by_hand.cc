// SPDX-License-Identifier: Apache-2.0
// Formulas as one would write them for a single loop, with the vectors and functions of the engine:
// what expressions.py compares the engine's maps with.
#ifdef __AVX512F__
#include "simd/avx512.h"
#elif defined(__AVX2__)
#include "simd/avx2.h"
#endif

#include "simd/math.h"

namespace {

using namespace pycnn;
#ifdef __AVX512F__
using V = F32x16;
#elif defined(__AVX2__)
using V = F32x8;
#else
using V = Portable<4>;
#endif

V load(const float* p) { return V::load(p); }
V number(float x) { return V::set1(x); }

template <class F>
void loop(long count, F f) {
  for (long i = 0; i < count; i += V::lanes) f(i);
}

}  // namespace

// count: a multiple of 16
extern "C" {

void scale_shift_relu(const float* x, const float* /*b*/, float* y, long count) {
  loop(count, [=](long i) {
    max(load(x + i) * number(1.5f) + number(0.25f), V::zero()).store(y + i);
  });
}

void silu(const float* x, const float* /*b*/, float* y, long count) {
  loop(count, [=](long i) { (load(x + i) * sigmoid(load(x + i))).store(y + i); });
}

void silu_gradient(const float* x, const float* dy, float* y, long count) {
  loop(count, [=](long i) {
    const V v = load(x + i), s = sigmoid(v), one = number(1);
    (load(dy + i) * (s * (v * (one - s) + one))).store(y + i);
  });
}

void gelu_tanh(const float* x, const float* /*b*/, float* y, long count) {
  loop(count, [=](long i) {
    const V v = load(x + i), one = number(1);
    const V inner = number(0.79788456f) * (v * (one + number(0.044715f) * (v * v)));
    (number(0.5f) * (v * (one + tanh(inner)))).store(y + i);
  });
}

void second_moment(const float* m, const float* g, float* y, long count) {
  loop(count, [=](long i) {
    const V v = load(g + i);
    (load(m + i) * number(0.999f) + v * v * number(0.001f)).store(y + i);
  });
}

}  // extern "C"
