// SPDX-License-Identifier: Apache-2.0
// Every elementary function of every instruction set here against double precision: the largest
// error in ULP, special values, tails, and operands that are repeated or overwritten.
//   functions [--stride N] [name ...]    every N-th float; pairs in proportion
// See test_functions.py.
#include "base/functions.h"

#include "base/float_mode.h"
#include "functions_reference.h"
#include "kernels.h"
#include "kernels/expression/expression.h"

using namespace pycnn;

namespace {

constexpr double kLimit = 2;  // ULP
constexpr dim_t kBlock = 4096;

struct Level {
  const char* name;
  const ExpressionKernels* kernels;
  bool here;
};

std::vector<Level> levels() {
  std::vector<Level> all = {{"scalar", &expression_scalar, true}};
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
  all.push_back({"avx2", &expression_avx2, avx2});
  all.push_back({"avx512", &expression_avx512, avx512});
#endif
  return all;
}

float float_of(std::uint32_t word) {
  float x;
  std::memcpy(&x, &word, sizeof x);
  return x;
}
std::uint32_t word_of(float x) {
  std::uint32_t word;
  std::memcpy(&word, &x, sizeof word);
  return word;
}

// Subnormal numbers are zeros to the engine.
float flushed(float x) { return std::fabs(x) < kSmallest ? std::copysign(0.0f, x) : x; }

// In units of the last place of a float as large as `exact`.
double error_of(float got, double exact) {
  if (std::isnan(got) || std::isnan(exact)) return std::isnan(got) && std::isnan(exact) ? 0 : 1e9;
  if (std::fabs(exact) < kSmallest) return std::fabs(got) <= kSmallest ? 0 : 1e9;
  const double top = std::ldexp(1.0, 128);  // infinity continues the floats
  const double y = std::isinf(got) ? std::copysign(top, got) : got;
  if (std::fabs(exact) >= top) return y == std::copysign(top, exact) ? 0 : 1e9;
  int exponent;
  std::frexp(exact, &exponent);
  return std::fabs(y - exact) / std::ldexp(1.0, exponent - 24);
}

struct Worst {
  double error = 0;
  float x[kMaxArity] = {};
};

struct Sweep {
  Function function;
  std::vector<Level> levels = ::levels();
  std::vector<Worst> worst = std::vector<Worst>(levels.size());
  Floats x[kMaxArity], y = Floats(kBlock);
  std::vector<double> exact = std::vector<double>(kBlock);

  explicit Sweep(Function f) : function(f) {
    for (Floats& operand : x) operand.resize(kBlock);
  }

  void run() {
    BlockOperand operands[kMaxArity] = {};
    for (int k = 0; k < kMaxArity; ++k) operands[k].data = x[k].data();
    for (std::size_t i = 0; i < kBlock; ++i)
      exact[i] = reference(function, x[0][i], x[1][i], x[2][i]);
    for (std::size_t level = 0; level < levels.size(); ++level) {
      if (!levels[level].here) continue;
      levels[level].kernels->call[static_cast<int>(function)](y.data(), operands, kBlock);
      for (std::size_t i = 0; i < kBlock; ++i) {
        const double error = error_of(y[i], exact[i]);
        if (error > worst[level].error) worst[level] = {error, {x[0][i], x[1][i], x[2][i]}};
      }
    }
  }
};

void sweep_floats(Sweep& sweep, std::uint64_t stride) {
  std::size_t filled = 0;
  const auto add = [&](std::uint32_t word) {
    sweep.x[0][filled++] = flushed(float_of(word));
    if (filled == kBlock) sweep.run(), filled = 0;
  };
  for (std::uint64_t word = 0; word >> 32 == 0; word += stride)
    add(static_cast<std::uint32_t>(word));
  for (const float center : kThresholds) {  // of the algorithms: every float around them
    for (std::uint32_t i = 0; i < 512; ++i) {
      add(word_of(center) + i - 256);
      add(word_of(-center) + i - 256);
    }
  }
  while (filled != 0) add(0x3f800000u);
}

std::uint64_t random_state = 88172645463325252u;
std::uint32_t random_word() {
  random_state ^= random_state << 13, random_state ^= random_state >> 7;
  random_state ^= random_state << 17;
  return static_cast<std::uint32_t>(random_state >> 16);
}
float random_between(double low, double high) {
  return static_cast<float>(low + (high - low) * (random_word() / 4294967296.0));
}

// Any floats; those near each other; those around 1 with large ones, as powers have them; small
// integers.
void draw_pair(int way, float& x, float& y) {
  x = float_of(random_word()), y = float_of(random_word());
  if (way == 1) y = x * random_between(-3, 3);
  if (way == 2)
    x = 1 + random_between(-1, 1) * std::ldexp(1.0f, -static_cast<int>(random_word() % 24));
  if (way == 2)
    y = random_between(-90, 90) * std::ldexp(1.0f, static_cast<int>(random_word() % 20));
  if (way == 3) x = random_between(-100, 100), y = std::round(random_between(-20, 20));
  if (way == 4) x = std::exp2(random_between(-60, 60)), y = random_between(-3, 3);
  if (way == 5) x = std::round(random_between(-1e6, 1e6)), y = std::round(random_between(-99, 99));
}

void sweep_tuples(Sweep& sweep, std::uint64_t stride) {
  const std::uint64_t blocks = (std::uint64_t{1} << 26) / kBlock / stride + 12;
  for (std::uint64_t block = 0; block < blocks; ++block) {
    for (std::size_t i = 0; i < kBlock; ++i) {
      float x, y;
      draw_pair(static_cast<int>(block % 6), x, y);
      sweep.x[0][i] = flushed(x), sweep.x[1][i] = flushed(y);
      sweep.x[2][i] = flushed(float_of(random_word()));
    }
    sweep.run();
  }
}

bool sweep(Function function, std::uint64_t stride) {
  Sweep sweep(function);
  arity_of(function) == 1 ? sweep_floats(sweep, stride) : sweep_tuples(sweep, stride);
  std::printf("%-13s", name_of(function));
  bool good = true;
  for (std::size_t i = 0; i < sweep.levels.size(); ++i) {
    const Worst& worst = sweep.worst[i];
    sweep.levels[i].here ? std::printf("%9.3f", worst.error) : std::printf("%9s", "-");
    if (worst.error <= kLimit) continue;
    std::printf(" (at %.9g, %.9g, %.9g)", worst.x[0], worst.x[1], worst.x[2]);
    good = false;
  }
  std::printf("\n");
  return good;
}

// --- special values -----------------------------------------------------------------------------

// Zeros have signs, save where either operand is right.
bool equal_special(Function function, float got, double exact) {
  if (exact != 0 || function == Function::maximum || function == Function::minimum ||
      function == Function::clip) {
    return error_of(got, exact) <= kLimit;
  }
  return got == 0 && std::signbit(got) == std::signbit(exact);
}

bool check_specials(Function function, const Level& level) {
  const Floats special = {0.0f,
                          -0.0f,
                          1.0f,
                          -1.0f,
                          INFINITY,
                          -INFINITY,
                          NAN,
                          2.0f,
                          -2.0f,
                          3.0f,
                          -3.0f,
                          0.5f,
                          -0.5f,
                          2.5f,
                          -2.5f,
                          1e30f,
                          -1e30f,
                          kSmallest,
                          -kSmallest,
                          3.40282347e38f,
                          1e-30f,
                          float_of(0x7f812345u),
                          float_of(0xffc00001u),
                          16777217.0f,
                          -8388609.0f};
  const auto count = static_cast<dim_t>(special.size());
  bool good = true;
  for (const float second : special) {
    for (const float third : special) {
      const Floats b(special.size(), second), c(special.size(), third);
      const BlockOperand operands[] = {{special.data()}, {b.data()}, {c.data()}};
      Floats y(special.size());
      level.kernels->call[static_cast<int>(function)](y.data(), operands, count);
      for (std::size_t i = 0; i < special.size(); ++i) {
        const double exact = reference(function, special[i], second, third);
        ++checks;
        if (equal_special(function, y[i], exact)) continue;
        if (good) {
          std::printf("%s %s(%g, %g, %g) = %g, not %g\n", level.name, name_of(function), special[i],
                      second, third, y[i], exact);
        }
        good = false;
      }
      if (arity_of(function) < 3) break;
    }
    if (arity_of(function) < 2) break;
  }
  return good;
}

// --- runs ---------------------------------------------------------------------------------------

// Every count, each operand repeated or not, apart from y or in its place: the same numbers.
void check_runs(Function function, const Level& level) {
  const auto call = level.kernels->call[static_cast<int>(function)];
  const int arity = arity_of(function);
  for (dim_t count = 0; count <= 150; count += count < 40 ? 1 : 11) {
    for (int repeated = 0; repeated < 1 << arity; ++repeated) {
      Floats x[kMaxArity];
      BlockOperand operands[kMaxArity] = {};
      for (int k = 0; k < arity; ++k) {
        x[k] = reals(std::max(count, kMostLanes));
        if (repeated >> k & 1) x[k].assign(x[k].size(), x[k][0]);
        operands[k] = {x[k].data(), (repeated >> k & 1) != 0};
      }
      Results expected(count), y(count);
      for (dim_t i = 0; i < count; ++i) {  // each alone
        BlockOperand single[kMaxArity] = {};
        for (int k = 0; k < arity; ++k) single[k].data = x[k].data() + i;
        call(expected.data() + i, single, 1);
      }
      call(y.data(), operands, count);
      compare(y, expected, same, name_of(function), count, repeated);
      for (int k = 0; k < arity; ++k) {
        Results place(Floats(x[k].begin(), x[k].begin() + count));
        if (repeated >> k & 1 || count == 0) continue;
        const BlockOperand kept = operands[k];
        operands[k].data = place.data();
        call(place.data(), operands, count);
        compare(place, expected, same, name_of(function), count, repeated);
        operands[k] = kept;
      }
    }
  }
}

}  // namespace

int main(int count, char** arguments) {
  const FloatMode mode;
  std::uint64_t stride = 1;
  std::vector<std::string> names;
  for (int i = 1; i < count; ++i) {
    if (std::string(arguments[i]) == "--stride" && i + 1 < count) {
      stride = std::strtoull(arguments[++i], nullptr, 10);
    } else {
      names.push_back(arguments[i]);
    }
  }
  bool good = true;
  std::printf("%-13s%9s%9s%9s\n", "", "scalar", "avx2", "avx512");
  for (int i = 0; i < kFunctions; ++i) {
    const auto function = static_cast<Function>(i);
    if (!names.empty() && std::count(names.begin(), names.end(), name_of(function)) == 0) continue;
    good &= sweep(function, stride);
    for (const Level& level : levels()) {
      if (!level.here) continue;
      good &= check_specials(function, level);
      check_runs(function, level);
    }
    std::fflush(stdout);
  }
  std::printf("%ld checks\n", checks);
  return good ? 0 : 1;
}
