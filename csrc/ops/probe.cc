// SPDX-License-Identifier: Apache-2.0
#include "ops/probe.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>

#include "base/buffer.h"
#include "base/error.h"
#include "base/parallel.h"
#include "kernels/probe/probe.h"

namespace pycnn {
namespace {

using Clock = std::chrono::steady_clock;
constexpr int kRepeats = 5;
constexpr double kPieceSeconds = 0.05;  // of one region, which nothing can interrupt
constexpr double kMaxSeconds = 10;
constexpr dim_t kMaxCopyBytes = 2'000'000'000;

// The least time between the barrier before and the barrier after work(id, size) on all threads.
template <class Work>
std::optional<double> least_seconds(int threads, int repeats, Interrupted interrupted, Work work) {
  double best = 1e30;
  auto body = [&](Worker& worker) noexcept {
    worker.barrier();
    const Clock::time_point start = Clock::now();
    work(worker.id(), worker.size());
    worker.barrier();
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    if (worker.id() == 0) best = std::min(best, seconds);
  };
  for (int repeat = 0; repeat < repeats; ++repeat) {
    run_region({.threads = threads}, body);
    if (interrupted()) return std::nullopt;
  }
  return best;
}

void check_threads(const char* who, int threads) {
  PYCNN_CHECK_VALUE(threads >= 1 && threads <= kMaxThreads, who, ": threads must be 1 to ",
                    kMaxThreads, ", got ", threads);
}

}  // namespace

std::optional<double> probe_fma(Isa isa, int threads, double seconds, Interrupted interrupted) {
  check_threads("probe_fma", threads);
  PYCNN_CHECK_VALUE(seconds > 0 && seconds <= kMaxSeconds,
                    "probe_fma: seconds must be > 0 and <= ", kMaxSeconds, ", got ", seconds);
  const ProbeKernels& kernels = probe_kernels(isa);
  float sums[kMaxThreads] = {};
  const auto time = [&](dim_t iterations, int repeats) {
    return least_seconds(threads, repeats, interrupted,
                         [&](int id, int) { sums[id] = kernels.multiply_add(iterations); });
  };
  constexpr dim_t kTrial = 100000;
  const std::optional<double> trial = time(kTrial, kRepeats);
  if (!trial) return std::nullopt;
  const double piece = std::min(seconds, kPieceSeconds);
  const auto iterations = std::max(kTrial, static_cast<dim_t>(kTrial * piece / *trial));
  const double flops =
      2.0 * kernels.lanes * kProbeChains * static_cast<double>(iterations) * threads;
  const std::optional<double> best =
      time(iterations, kRepeats * static_cast<int>(std::ceil(seconds / piece)));
  return best ? std::optional(flops / *best * 1e-9) : std::nullopt;
}

std::optional<double> probe_copy(int threads, dim_t bytes, Interrupted interrupted) {
  check_threads("probe_copy", threads);
  PYCNN_CHECK_VALUE(bytes >= 2 && bytes <= kMaxCopyBytes, "probe_copy: bytes must be 2 to ",
                    kMaxCopyBytes, ", got ", bytes);
  const auto half = static_cast<std::size_t>(bytes / 2);
  const Buffer from(half), to(half);
  const auto copy = [&](int id, int size) {
    const std::size_t begin = half * static_cast<std::size_t>(id) / static_cast<std::size_t>(size);
    const std::size_t end =
        half * static_cast<std::size_t>(id + 1) / static_cast<std::size_t>(size);
    std::memcpy(to.data() + begin, from.data() + begin, end - begin);
  };
  const std::optional<double> best = least_seconds(threads, kRepeats, interrupted, copy);
  return best ? std::optional(2.0 * static_cast<double>(half) / *best * 1e-9) : std::nullopt;
}

}  // namespace pycnn
