// SPDX-License-Identifier: Apache-2.0
// A graph made ready to run at one batch size: a flat list of steps over planned memory. A run is
// one parallel region; it allocates nothing and enters two gates, the plan's and its weights'.
#pragma once

#include <array>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/gate.h"
#include "plan/lower.h"
#include "plan/storage.h"

namespace pycnn {

struct RunResult {
  bool interrupted = false;
  std::array<float, kMaxArrays> scalars{};  // of the outputs of rank 0, by output position
};

struct StepTime {
  std::string op, name;
  double seconds;
};

// What a plan may need; one that needs more is refused before its memory is asked for.
struct PlanLimits {
  std::size_t arena_bytes = std::numeric_limits<std::size_t>::max();
  std::size_t scratch_bytes = std::numeric_limits<std::size_t>::max();  // of all threads
  double operations = std::numeric_limits<double>::infinity();          // multiply-adds of a run
};

struct PlanOptions {
  MemoryMode memory = MemoryMode::planned;
  // Of the slots, and who counts the steps; nothing: the parameters' own, and nobody counts.
  std::shared_ptr<OptimizerState> optimizer = nullptr;
  // Threads pay for more than a barrier per step only where there is this much to do for each.
  double operations_per_thread = 4e6;
  PlanLimits limits = {};
};

class Plan {
 public:
  // Throws Error(memory) beyond a limit, naming both.
  Plan(const Graph& graph, std::shared_ptr<Parameters> parameters, dim_t batch,
       const PlanOptions& options = {});

  // All or nothing: weights, slots and the optimizer's count of steps change together, or, where
  // the run is interrupted or fails, not at all. Throws Error(numeric) for a loss, a gradient or
  // an update that is not finite, Error(state) where the thread is inside the plan already.
  RunResult run(const RunRequest& request);
  // Least time of each step over `repeats` such runs. They are real: a training plan trains.
  std::vector<StepTime> profile(const RunRequest& request, int repeats);

  dim_t batch() const { return batch_; }
  const Graph& graph() const { return graph_; }
  const Parameters& parameters() const { return *parameters_; }
  const Schedule& schedule() const { return schedule_; }
  std::size_t arena_bytes() const { return arena_bytes_; }
  std::size_t arena_lower_bound() const { return arena_lower_bound_; }
  int useful_threads() const { return useful_threads_; }
  int wanted_threads() const;                    // by a run that starts now
  bool counts_steps() const { return counts_; }  // in the optimizer it was given
  std::size_t scratch_bytes() const { return schedule_.scratch_bytes; }  // of each thread
  double operations() const { return operations_; }  // of a run: multiply-adds, taps of pools
  std::int64_t kernels_packed() const { return context_.kernels_packed; }

  // Shape, type and contents of an output after a run, in the user's layout.
  Shape output_shape(int index) const;
  DType output_dtype(int index) const;
  void copy_output(int index, void* to) const;

 private:
  void allocate();
  std::size_t scratch_stride() const;  // bytes from one thread's scratch to the next
  void check_scratch(int threads) const;
  void allocate_scratch(int threads);
  void accept(const RunRequest& request);
  void lend_inputs(const RunRequest& request);
  Access access() const;  // to the weights: exclusive where a run changes them
  void execute(bool (*interrupted)(), std::vector<double>* seconds);
  [[noreturn]] void report_nonfinite() const;
  ValueId output_value(int index) const;

  Graph graph_;
  FusedGraph fused_;
  std::shared_ptr<Parameters> parameters_;
  std::shared_ptr<OptimizerState> optimizer_;
  dim_t batch_;
  Schedule schedule_;
  RunContext context_;
  std::vector<Storage> storage_;
  std::vector<std::byte*> own_inputs_;  // where the plan keeps those that may be lent
  std::optional<Storage> scratch_;
  std::size_t scratch_stride_ = 0, arena_bytes_ = 0, arena_lower_bound_ = 0;
  int useful_threads_ = 1, threads_ = 0, failed_step_ = -1, first_update_ = 0;
  MemoryMode mode_;
  PlanLimits limits_;
  double operations_ = 0;
  std::uint64_t packed_version_ = 0;  // of the parameters in the last complete run
  bool interrupted_ = false, counts_ = false, needs_step_ = false, long_ = false;
  Gate running_;
};

}  // namespace pycnn
