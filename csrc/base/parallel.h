// SPDX-License-Identifier: Apache-2.0
// Threads. A run is one region in which every thread executes the same code (SPMD); the loops in it
// split their tasks and meet at a barrier. Which thread runs a task never changes a result.
#pragma once

#include <atomic>
#include <cstdint>
#include <type_traits>

#include "base/types.h"

namespace pycnn {

constexpr int kMaxThreads = 128;

class Team;

class Worker {
 public:
  Worker(Team& team, int id, int size, std::byte* scratch);

  int id() const { return id_; }
  int size() const { return size_; }
  std::byte* scratch() const { return scratch_; }  // this thread's own, as large as the plan asked
  float* scratch_floats() const { return reinterpret_cast<float*>(scratch_); }

  void barrier() noexcept;

  // body(begin, end) over [0, tasks) in pieces, this thread's share first, then what others left;
  // returns when all tasks are done.
  template <class Body>
  void parallel_for(dim_t tasks, Body&& body) noexcept {
    if (size_ == 1 && !stoppable_) {
      if (tasks > 0) body(dim_t{0}, tasks);
      return;
    }
    for (dim_t begin, end; next_piece(tasks, begin, end);) body(begin, end);
    finish_loop();
  }

  // A region may be stopped in the middle of a stage (a step of a plan): the loops of that stage
  // then end early, and every worker sees, once it has left the stage, that it was the last.
  // Worker 0 looks whether to stop; where may_stop is false it does not.
  void begin_stage(int stage, bool may_stop) noexcept;
  bool stopped_in(int stage) const noexcept;

  // body() on one thread while the others wait.
  template <class Body>
  void single(Body&& body) noexcept {
    if (id_ == 0) body();
    barrier();
  }

 private:
  bool next_piece(dim_t tasks, dim_t& begin, dim_t& end) noexcept;
  bool stop_asked(dim_t tasks) noexcept;
  void finish_loop() noexcept;

  Team& team_;
  const int id_, size_;
  std::byte* const scratch_;
  int victim_ = 0;  // whose share is being worked on, as an offset from id_
  int phase_ = 0;   // which of the team's two sets of counters is in use
  std::uint32_t barrier_generation_ = 0;
  const bool stoppable_;
  dim_t piece_limit_ = 0;         // of the loop that runs, where it may be stopped; 0: none runs
  std::int64_t piece_began_ = 0;  // nanoseconds
};

struct Region {
  int threads = 1;               // at most; 1 in a forked child and inside another region
  std::byte* scratch = nullptr;  // threads * scratch_stride bytes
  std::size_t scratch_stride = 0;
  bool (*stop)() = nullptr;  // asked every few milliseconds by worker 0; it may fork
};

// Runs body(worker, context) on the threads of the region, in the engine's floating-point mode:
// round to nearest, subnormals flushed to zero. The caller's mode is restored. Where the system
// makes no further threads, there are fewer. A child that `stop` forks runs body once more, from
// its beginning and alone: what may be stopped must not have changed what it starts from.
using RegionBody = void (*)(Worker& worker, void* context) noexcept;
void run_region(const Region& region, RegionBody body, void* context) noexcept;

template <class Body>
void run_region(const Region& region, Body& body) noexcept {
  run_region(
      region,
      [](Worker& worker, void* context) noexcept { (*static_cast<Body*>(context))(worker); },
      &body);
}

// The number of threads, `wanted` at most, that the system lets a region of the calling thread
// have. Tries where its last region had fewer; what was refused is not tried again.
int creatable_threads(int wanted) noexcept;

// Throws Error unless 1 <= threads <= kMaxThreads; 0 = automatic.
void set_num_threads(int threads);
// For regions that the calling thread starts; never more than OpenMP's own limit for it, where
// that was lowered (omp_set_num_threads, threadpoolctl).
int num_threads();

}  // namespace pycnn
