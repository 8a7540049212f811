// SPDX-License-Identifier: Apache-2.0
#include "base/parallel.h"

#include <omp.h>
#include <pthread.h>

#include <algorithm>
#include <cctype>
#include <chrono>
#include <cmath>
#include <csetjmp>
#include <cstdlib>
#include <cstring>
#include <limits>

#include "base/arch.h"
#include "base/error.h"
#include "base/float_mode.h"
#include "base/gate.h"

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

std::atomic<int> requested_threads{0};
const int initial_omp_threads = omp_get_max_threads();

constexpr std::int64_t kPollInterval = 10'000'000;  // nanoseconds
constexpr std::int64_t kLongPiece = 20'000'000;
constexpr int kGoesOn = std::numeric_limits<int>::max();

std::int64_t now() noexcept {
  return std::chrono::steady_clock::now().time_since_epoch() / std::chrono::nanoseconds(1);
}

// Of the calling thread, which has a team of its own: threads that its last region had or that were
// found to be possible since, and the most that it may have.
thread_local int known_threads = 1, most_threads = kMaxThreads;

// "4M", "512k", "1000" (kilobytes): what GNU OpenMP takes. 0 for anything else.
std::size_t stack_bytes(const char* text) noexcept {
  char* end = nullptr;
  const double number = text == nullptr ? 0 : std::strtod(text, &end);
  if (!(number > 0)) return 0;
  while (std::isspace(static_cast<unsigned char>(*end)) != 0) ++end;
  constexpr char kUnits[] = "BKMGT";
  const int unit = *end == 0 ? 'K' : std::toupper(static_cast<unsigned char>(*end));
  const char* place = std::strchr(kUnits, unit);
  const double bytes = place == nullptr ? 0 : number * std::pow(1024.0, place - kUnits);
  return bytes < 1e18 ? static_cast<std::size_t>(bytes) : static_cast<std::size_t>(1e18);
}

const std::size_t omp_stack_bytes = [] {
  const std::size_t bytes = stack_bytes(std::getenv("OMP_STACKSIZE"));
  return bytes != 0 ? bytes : stack_bytes(std::getenv("GOMP_STACKSIZE"));
}();

// The stack that GNU OpenMP gives its threads, where the user has said how large.
class StackSize {
 public:
  StackSize() {
    if (omp_stack_bytes == 0 || pthread_attr_init(&attributes_) != 0) return;
    set_ = true;
    pthread_attr_setstacksize(&attributes_, omp_stack_bytes);  // too small a one changes nothing
  }
  ~StackSize() {
    if (set_) pthread_attr_destroy(&attributes_);
  }
  StackSize(const StackSize&) = delete;
  StackSize& operator=(const StackSize&) = delete;
  const pthread_attr_t* attributes() const { return set_ ? &attributes_ : nullptr; }

 private:
  pthread_attr_t attributes_;
  bool set_ = false;
};

}  // namespace

// GNU OpenMP ends the process where it cannot make a thread, and ends threads of its team where the
// next region has fewer. So before a thread's team grows, the system is asked for as many more
// threads, with their stacks, all alive at once.
int creatable_threads(int wanted) noexcept {
  wanted = std::min(wanted, most_threads);
  if (wanted <= known_threads) return wanted;
  std::atomic<int> go{0};
  const auto wait = [](void* flag) -> void* {
    static_cast<std::atomic<int>*>(flag)->wait(0);
    return nullptr;
  };
  pthread_t made[kMaxThreads];
  int count = 0;
  const StackSize stack;
  while (count < wanted - known_threads &&
         pthread_create(&made[count], stack.attributes(), wait, &go) == 0) {
    ++count;
  }
  go.store(1);
  go.notify_all();
  for (int i = 0; i < count; ++i) pthread_join(made[i], nullptr);
  known_threads += count;
  if (known_threads < wanted) most_threads = known_threads;
  return known_threads;
}

struct alignas(64) Share {
  std::atomic<dim_t> taken{0};  // tasks of this thread's share handed out so far
};

class Team {
 public:
  Team(int spin, bool (*stop)(), bool stopped)
      : spin_(spin), stop_(stop), polled_(stop ? now() : 0), stop_stage_(stopped ? 0 : kGoesOn) {}

  bool stoppable() const noexcept { return stop_ != nullptr; }
  int stop_stage() const noexcept { return stop_stage_.load(std::memory_order_relaxed); }

  // For worker 0.
  void begin_stage(int stage, bool may_stop) noexcept {
    stage_ = stage;
    may_stop_ = may_stop;
  }
  void poll() noexcept {
    if (!may_stop_ || stop_stage() != kGoesOn || now() - polled_ < kPollInterval) return;
    const std::uint32_t process = fork_count();
    const bool stopped = stop_();
    // In a child, made by a signal handler, the others are missing: it leaves the region.
    if (on_fork != nullptr && process != fork_count()) std::longjmp(*on_fork, stopped ? 2 : 1);
    if (stopped) stop_stage_.store(stage_, std::memory_order_relaxed);
    polled_ = now();
  }

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
  std::jmp_buf* on_fork = nullptr;  // where a child goes on that is made while stop is asked

 private:
  const int spin_;
  bool (*const stop_)();
  std::int64_t polled_;
  int stage_ = 0;
  bool may_stop_ = false;
  std::atomic<int> stop_stage_;  // set within the stage, before its last barrier
  alignas(64) std::atomic<int> arrived_{0};
  alignas(64) std::atomic<std::uint32_t> generation_{0};
};

Worker::Worker(Team& team, int id, int size, std::byte* scratch)
    : team_(team), id_(id), size_(size), scratch_(scratch), stoppable_(team.stoppable()) {}

void Worker::begin_stage(int stage, bool may_stop) noexcept {
  if (id_ != 0 || !stoppable_) return;
  team_.begin_stage(stage, may_stop);
  team_.poll();
}

bool Worker::stopped_in(int stage) const noexcept {
  return stoppable_ && team_.stop_stage() <= stage;
}

// Between two pieces of a loop that may be stopped. A piece that took long makes the next shorter.
bool Worker::stop_asked(dim_t tasks) noexcept {
  const std::int64_t time = now();
  if (piece_limit_ == 0) {
    piece_limit_ = std::max<dim_t>(1, tasks / (dim_t{32} * size_));
  } else if (time - piece_began_ > kLongPiece) {
    piece_limit_ = std::max<dim_t>(1, piece_limit_ / 4);
  }
  piece_began_ = time;
  if (id_ == 0) team_.poll();
  return team_.stop_stage() != kGoesOn;
}

void Worker::barrier() noexcept {
  if (size_ > 1) team_.barrier(size_, barrier_generation_);
}

bool Worker::next_piece(dim_t tasks, dim_t& begin, dim_t& end) noexcept {
  dim_t piece = std::max<dim_t>(1, tasks / (dim_t{8} * size_));
  if (stoppable_) {
    if (stop_asked(tasks)) return false;
    piece = std::min(piece, piece_limit_);
  }
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
  piece_limit_ = 0;
}

namespace {

void run_alone(const Region& region, RegionBody body, void* context, bool stopped) noexcept {
  Team team(0, region.stop, stopped);
  Worker worker(team, 0, 1, region.scratch);
  body(worker, context);
}

void run_team(const Region& region, int threads, Team& team, RegionBody body,
              void* context) noexcept {
  known_threads = threads;
#pragma omp parallel num_threads(threads)
  {
    const FloatMode mode;
    const int id = omp_get_thread_num();
    Worker worker(team, id, omp_get_num_threads(),
                  region.scratch + static_cast<std::size_t>(id) * region.scratch_stride);
    body(worker, context);
  }
}

}  // namespace

void run_region(const Region& region, RegionBody body, void* context) noexcept {
  const FloatMode mode;
  // GNU OpenMP hangs when a forked child enters a region after its parent did, here or in another
  // library: every child runs serially.
  const bool serial = region.threads <= 1 || fork_count() != 0 || omp_in_parallel();
  const int threads = serial ? 1 : creatable_threads(std::min(region.threads, kMaxThreads));
  if (threads == 1) return run_alone(region, body, context, false);
  // More threads than processors: a spinning thread would hold up the one it waits for.
  Team team(threads <= available_threads() ? kSpinPauses : 0, region.stop, false);
  if (region.stop == nullptr) return run_team(region, threads, team, body, context);
  std::jmp_buf child;
  team.on_fork = &child;
  const int forked = setjmp(child);  // NOLINT: nothing between here and there has a destructor
  if (forked == 0) return run_team(region, threads, team, body, context);
  run_alone(region, body, context, forked == 2);  // from its beginning: the same result
}

void set_num_threads(int threads) {
  PYCNN_CHECK_VALUE(threads >= 0 && threads <= kMaxThreads,
                    "set_num_threads: threads must be 0 (automatic) to ", kMaxThreads, ", got ",
                    threads);
  requested_threads.store(threads);
}

int num_threads() {
  const int requested = requested_threads.load();
  const int threads = requested > 0 ? requested : available_threads();
  const int limit = omp_get_max_threads();
  return limit < initial_omp_threads ? std::min(threads, limit) : threads;
}

}  // namespace pycnn
