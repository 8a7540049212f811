// SPDX-License-Identifier: Apache-2.0
// Graph -> steps: chooses each node's op, and the buffers that values and workspaces live in.
#pragma once

#include <cassert>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/gate.h"
#include "base/id.h"
#include "base/parallel.h"
#include "base/rng.h"
#include "graph/graph.h"
#include "plan/parameters.h"

namespace pycnn {

struct BufferKind {
  static constexpr char kName[] = "buffer";
};
using BufferId = Id<BufferKind>;
constexpr BufferId kNoBuffer;

// What steps read while they run: where each buffer is, and what this run was asked.
struct RunContext {
  std::vector<std::byte*> memory;  // by BufferId::entry(); null for none
  std::vector<const std::byte*> inputs;
  std::vector<std::byte*> outputs;     // by output position; null: not wanted
  const std::int64_t* rows = nullptr;  // which samples make the batch; null: start, start + 1, ...
  dim_t start = 0;
  float learning_rate = 0;
  RandomState random;
  bool weights_changed = true;      // since the plan's last complete run
  std::int64_t kernels_packed = 0;  // of transposed convolutions, in all runs so far
  bool check_finite = true;
  bool failed = false;  // set by a check step: with check_finite, the steps after it are skipped
  const std::string* overflowing = nullptr;  // whose update would not be finite
  std::optional<Entry> updating = {};        // of the fork gate, from before the first update on

  float* floats(BufferId id) const { return reinterpret_cast<float*>(bytes(id)); }
  std::uint8_t* indices(BufferId id) const { return reinterpret_cast<std::uint8_t*>(bytes(id)); }
  std::byte* bytes(BufferId id) const {
    assert(id.entry() < memory.size());
    return memory[id.entry()];
  }
};

using StepFn =
    std::function<void(RunContext&, Worker&)>;  // built once; calling it allocates nothing

struct Step {
  std::string op, name;  // for profiles and messages
  StepFn run;
  bool changes_state = false;  // writes parameters: a run is not stopped from here on
  bool is_check = false;
};

struct StepRange {
  int first, last;  // both included
};

struct BufferRequest {
  std::size_t bytes = 0;
  std::optional<StepRange> used = {};  // nothing: no step reads or writes it, it needs no memory
  float* fixed = nullptr;              // memory of a parameter: not placed in the arena
};

// A loss or gradient that is checked before anything is updated, and where its largest |x| is.
struct Check {
  ValueId value;
  BufferId largest;
};

class UpdateGuard;

struct Program {
  std::vector<Step> steps;
  IdVector<BufferId, BufferRequest> buffers;
  IdVector<ValueId, BufferId> value_buffer;
  IdVector<ValueId, std::optional<PackedWeights>> layout;  // kernels and their gradients
  IdVector<ValueId, Shape> shapes;                         // with the batch filled in
  std::vector<std::shared_ptr<FoldedWeights>> folded;      // to be refreshed before a run
  std::vector<std::shared_ptr<Variable>> updated;          // that a complete run changes
  std::vector<Check> checks;
  std::vector<std::shared_ptr<UpdateGuard>> guards;
  std::size_t scratch_bytes = 0;  // per thread
};

// counts_steps: the loss is checked also where nothing is updated.
Program lower(const Graph& graph, const std::vector<Node>& nodes, Parameters& parameters,
              OptimizerState& optimizer, dim_t batch, bool counts_steps);

}  // namespace pycnn
