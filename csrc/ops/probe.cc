// SPDX-License-Identifier: Apache-2.0
#include "ops/probe.h"

#include <algorithm>
#include <chrono>
#include <cstring>

#include "base/buffer.h"
#include "base/parallel.h"
#include "kernels/probe/probe.h"

namespace pycnn {
namespace {

using Clock = std::chrono::steady_clock;
constexpr int kRepeats = 5;

// The least time between the barrier before and the barrier after work(id, size) on all threads.
template <class Work>
double least_seconds(int threads, Work work) {
  double best = 1e30;
  auto body = [&](Worker& worker) noexcept {
    for (int repeat = 0; repeat < kRepeats; ++repeat) {
      worker.barrier();
      const Clock::time_point start = Clock::now();
      work(worker.id(), worker.size());
      worker.barrier();
      const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
      if (worker.id() == 0) best = std::min(best, seconds);
    }
  };
  run_region({.threads = threads}, body);
  return best;
}

}  // namespace

double probe_fma(Isa isa, int threads, double seconds) {
  const ProbeKernels& kernels = probe_kernels(isa);
  float sums[kMaxThreads] = {};
  const auto time = [&](dim_t iterations) {
    return least_seconds(threads,
                         [&](int id, int) { sums[id] = kernels.multiply_add(iterations); });
  };
  constexpr dim_t kTrial = 100000;
  const auto iterations = std::max(kTrial, static_cast<dim_t>(kTrial * seconds / time(kTrial)));
  const double flops =
      2.0 * kernels.lanes * kProbeChains * static_cast<double>(iterations) * threads;
  return flops / time(iterations) * 1e-9;
}

double probe_copy(int threads, dim_t bytes) {
  const auto half = static_cast<std::size_t>(bytes / 2);
  const Buffer from(half), to(half);
  const double seconds = least_seconds(threads, [&](int id, int size) {
    const std::size_t begin = half * static_cast<std::size_t>(id) / static_cast<std::size_t>(size);
    const std::size_t end =
        half * static_cast<std::size_t>(id + 1) / static_cast<std::size_t>(size);
    std::memcpy(to.data() + begin, from.data() + begin, end - begin);
  });
  return 2.0 * static_cast<double>(half) / seconds * 1e-9;
}

}  // namespace pycnn
