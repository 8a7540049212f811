// SPDX-License-Identifier: Apache-2.0
#include "base/parallel.h"

#include <omp.h>
#include <pthread.h>

#include <algorithm>

#include "base/arch.h"
#include "base/error.h"
#include "base/float_mode.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace pycnn {
namespace {

// Long enough for the gaps inside a step (microseconds), short enough not to burn a core.
constexpr int kSpinPauses = 4000;

inline void pause() noexcept {
#if defined(__x86_64__)
  _mm_pause();
#endif
}

// GNU OpenMP hangs when a forked child enters a region after its parent did, here or in another
// library: every child runs serially.
std::atomic<bool> serial_child{false};
const int fork_handler =
    pthread_atfork(nullptr, nullptr, [] { serial_child.store(true, std::memory_order_relaxed); });

std::atomic<int> requested_threads{0};

}  // namespace

struct alignas(64) Share {
  std::atomic<dim_t> taken{0};  // tasks of this thread's share handed out so far
};

class Team {
 public:
  explicit Team(int spin) : spin_(spin) {}

  void barrier(int size, std::uint32_t& generation) noexcept {
    const std::uint32_t mine = generation++;
    if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == size) {
      arrived_.store(0, std::memory_order_relaxed);
      generation_.store(mine + 1, std::memory_order_release);
      generation_.notify_all();
      return;
    }
    for (int i = 0; i < spin_; ++i) {
      if (generation_.load(std::memory_order_acquire) != mine) return;
      pause();
    }
    while (generation_.load(std::memory_order_acquire) == mine) generation_.wait(mine);
  }

  Share shares[2][kMaxThreads];

 private:
  const int spin_;
  alignas(64) std::atomic<int> arrived_{0};
  alignas(64) std::atomic<std::uint32_t> generation_{0};
};

void Worker::barrier() noexcept {
  if (size_ > 1) team_.barrier(size_, barrier_generation_);
}

bool Worker::next_piece(dim_t tasks, dim_t& begin, dim_t& end) noexcept {
  const dim_t piece = std::max<dim_t>(1, tasks / (dim_t{8} * size_));
  for (; victim_ < size_; ++victim_) {
    const int owner = (id_ + victim_) % size_;
    const dim_t first = tasks * owner / size_, last = tasks * (owner + 1) / size_;
    const dim_t offset =
        team_.shares[phase_][owner].taken.fetch_add(piece, std::memory_order_relaxed);
    if (first + offset >= last) continue;
    begin = first + offset;
    end = std::min(begin + piece, last);
    return true;
  }
  return false;
}

void Worker::finish_loop() noexcept {
  // Nobody reads the other set before the barrier below, so each thread clears its own entry of it.
  team_.shares[phase_ ^ 1][id_].taken.store(0, std::memory_order_relaxed);
  barrier();
  phase_ ^= 1;
  victim_ = 0;
}

void run_region(int threads, std::byte* scratch, std::size_t scratch_stride, RegionBody body,
                void* context) noexcept {
  threads = fork_handler == 0 ? std::min(threads, kMaxThreads) : 1;
  const bool serial =
      threads <= 1 || serial_child.load(std::memory_order_relaxed) || omp_in_parallel();
  if (serial) {
    const FloatMode mode;
    Team team(0);
    Worker worker(team, 0, 1, scratch);
    body(worker, context);
    return;
  }
  // More threads than processors: a spinning thread would hold up the one it waits for.
  Team team(threads <= available_threads() ? kSpinPauses : 0);
#pragma omp parallel num_threads(threads)
  {
    const FloatMode mode;
    const int id = omp_get_thread_num();
    Worker worker(team, id, omp_get_num_threads(),
                  scratch + static_cast<std::size_t>(id) * scratch_stride);
    body(worker, context);
  }
}

void set_num_threads(int threads) {
  PYCNN_CHECK_VALUE(threads >= 0 && threads <= kMaxThreads,
                    "set_num_threads: threads must be 0 (automatic) to ", kMaxThreads, ", got ",
                    threads);
  requested_threads.store(threads);
}

int num_threads() {
  const int requested = requested_threads.load();
  return requested > 0 ? requested : available_threads();
}

}  // namespace pycnn
