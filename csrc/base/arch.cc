// SPDX-License-Identifier: Apache-2.0
#include "base/arch.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>

#include "base/error.h"
#include "base/parallel.h"

#if defined(__linux__)
#include <sched.h>
#endif

namespace pycnn {
namespace {

constexpr const char* kIsaNames[kIsaCount] = {"scalar", "avx2", "avx512"};

bool cpu_has(Isa isa) {
  switch (isa) {
    case Isa::scalar:
      return true;
    case Isa::avx2:
#if defined(PYCNN_HAVE_AVX2)
      return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#else
      return false;
#endif
    case Isa::avx512:
#if defined(PYCNN_HAVE_AVX512)
      return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
             __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
             __builtin_cpu_supports("fma");
#else
      return false;
#endif
  }
  return false;
}

int affinity_threads() {
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return std::max(1, CPU_COUNT(&set));
#endif
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

// "max 100000" or "150000 100000" (cgroup v2), two files in v1. No limit: a large number.
int quota_threads() {
  constexpr int kUnlimited = kMaxThreads;
  std::string quota;
  double period = 0;
  std::ifstream v2("/sys/fs/cgroup/cpu.max");
  if (v2 >> quota >> period) {
    if (quota == "max" || period <= 0) return kUnlimited;
    return std::max(1, static_cast<int>(std::ceil(std::atof(quota.c_str()) / period)));
  }
  std::ifstream v1_quota("/sys/fs/cgroup/cpu/cpu.cfs_quota_us");
  std::ifstream v1_period("/sys/fs/cgroup/cpu/cpu.cfs_period_us");
  double microseconds = -1;
  if (v1_quota >> microseconds && v1_period >> period && microseconds > 0 && period > 0) {
    return std::max(1, static_cast<int>(std::ceil(microseconds / period)));
  }
  return kUnlimited;
}

// The number that is all of the text but blanks around it, at most kMaxThreads; 0 where it is none.
int positive_number(const std::string& text) {
  const std::size_t first = text.find_first_not_of(" \t");
  if (first == std::string::npos) return 0;
  const std::size_t last = text.find_last_not_of(" \t");
  int number = 0;
  for (std::size_t i = first; i <= last; ++i) {
    if (text[i] < '0' || text[i] > '9') return 0;
    number = std::min(10 * number + (text[i] - '0'), kMaxThreads);
  }
  return number;
}

// The start of a variable's value as a message may show it.
std::string shown(const std::string& text) {
  constexpr std::size_t kMost = 80;
  std::string result;
  for (const char c : text.substr(0, kMost)) result += c >= ' ' && c <= '~' ? c : '?';
  return "'" + result + (text.size() > kMost ? "...'" : "'");
}

// The first of one or, as OpenMP has it, several numbers ("4,2"); empty is as if it were not set.
int environment_threads(const char* variable) {
  const char* value = std::getenv(variable);
  if (value == nullptr) return kMaxThreads;
  const std::string text = value;
  if (text.find_first_not_of(" \t") == std::string::npos) return kMaxThreads;
  int first = 0;
  std::size_t begin = 0;
  for (bool more = true; more;) {
    const std::size_t comma = std::min(text.find(',', begin), text.size());
    const int number = positive_number(text.substr(begin, comma - begin));
    PYCNN_CHECK_VALUE(number > 0, variable, ": expected a number of threads >= 1, got ",
                      shown(text));
    if (begin == 0) first = number;
    more = comma < text.size();
    begin = comma + 1;
  }
  return first;
}

}  // namespace

const char* name_of(Isa isa) { return kIsaNames[static_cast<int>(isa)]; }

Isa isa_from_name(const std::string& name) {
  for (int i = 0; i < kIsaCount; ++i) {
    if (name == kIsaNames[i]) return static_cast<Isa>(i);
  }
  throw Error(ErrorKind::value, concat("isa: expected scalar, avx2 or avx512, got '", name, "'"));
}

bool is_supported(Isa isa) {
  static const bool supported[kIsaCount] = {cpu_has(Isa::scalar), cpu_has(Isa::avx2),
                                            cpu_has(Isa::avx512)};
  return supported[static_cast<int>(isa)];
}

std::vector<Isa> supported_isas() {
  std::vector<Isa> isas;
  for (int i = 0; i < kIsaCount; ++i) {
    if (is_supported(static_cast<Isa>(i))) isas.push_back(static_cast<Isa>(i));
  }
  return isas;
}

Isa default_isa() {
  const char* forced = std::getenv("PYCNN_ISA");
  if (forced == nullptr || *forced == '\0') return supported_isas().back();
  PYCNN_CHECK_VALUE(std::find(std::begin(kIsaNames), std::end(kIsaNames), std::string(forced)) !=
                        std::end(kIsaNames),
                    "PYCNN_ISA: expected scalar, avx2 or avx512, got ", shown(forced));
  const Isa isa = isa_from_name(forced);
  PYCNN_CHECK_VALUE(is_supported(isa), "PYCNN_ISA: this CPU or build has no ", forced,
                    "; it has up to ", name_of(supported_isas().back()));
  return isa;
}

int available_threads() {
  static const int fixed = std::min({quota_threads(), environment_threads("OMP_NUM_THREADS"),
                                     environment_threads("PYCNN_NUM_THREADS"), kMaxThreads});
  return std::min(affinity_threads(), fixed);
}

}  // namespace pycnn
