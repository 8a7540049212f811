// SPDX-License-Identifier: Apache-2.0
// Random arrays, margins that must stay as they are, and comparisons, for the kernel programs.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "base/types.h"

using pycnn::dim_t;

using Floats = std::vector<float>;
constexpr float kPoison = 12345.0f;  // around results: must stay
constexpr dim_t kMargin = 64;

inline unsigned state = 1;
inline unsigned draw() { return (state = state * 1664525u + 1013904223u) >> 8; }
inline float whole(int limit) {
  return static_cast<float>(static_cast<int>(draw() % (2u * limit + 1)) - limit);
}
inline Floats wholes(dim_t count, int limit = 3) {
  Floats values(static_cast<std::size_t>(count));
  for (float& v : values) v = whole(limit);
  return values;
}
inline Floats reals(dim_t count, float scale = 1) {
  Floats values(static_cast<std::size_t>(count));
  for (float& v : values) v = scale * (static_cast<float>(draw() % 20001) - 10000) / 4321.0f;
  return values;
}

inline long checks = 0;

inline void expect(bool good, const char* what, dim_t a = 0, dim_t b = 0, dim_t c = 0) {
  ++checks;
  if (good) return;
  std::printf("%s fails at %ld %ld %ld\n", what, static_cast<long>(a), static_cast<long>(b),
              static_cast<long>(c));
  std::exit(1);
}

inline bool same(float a, float b) { return a == b || (a != a && b != b); }
inline bool close(float a, float b) {
  return same(a, b) || std::fabs(a - b) <= 2e-6f * (1 + std::fabs(b));
}

// `count` results between margins that must stay as they are.
struct Results {
  Floats memory;
  dim_t count;
  explicit Results(dim_t n, float fill = kPoison)
      : memory(static_cast<std::size_t>(n + 2 * kMargin), kPoison), count(n) {
    for (dim_t i = 0; i < n; ++i) data()[i] = fill;
  }
  explicit Results(const Floats& values) : Results(static_cast<dim_t>(values.size())) {
    std::copy(values.begin(), values.end(), data());
  }
  float* data() { return memory.data() + kMargin; }
  void margins(const char* what) {
    for (dim_t i = 0; i < kMargin; ++i) {
      expect(memory[static_cast<std::size_t>(i)] == kPoison, what, -i);
      expect(data()[count + i] == kPoison, what, i);
    }
  }
};

inline void compare(Results& got, Results& expected, bool (*equal)(float, float), const char* what,
                    dim_t a, dim_t b = 0) {
  for (dim_t i = 0; i < got.count; ++i)
    expect(equal(got.data()[i], expected.data()[i]), what, i, a, b);
  got.margins(what);
}

void check_brgemm();  // kernels_brgemm.cc
