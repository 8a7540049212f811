// SPDX-License-Identifier: Apache-2.0
// Nodes -> steps: chooses each node's op, and the buffers that values and workspaces live in.
#pragma once

#include <cassert>
#include <cstdint>
#include <deque>
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
#include "plan/fused.h"
#include "plan/parameters.h"
#include "plan/request.h"

namespace pycnn {

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
  std::byte* fixed = nullptr;          // memory of a parameter: not placed in the arena
};

// An input that no step writes to: where the caller's rows lie one after the other, the steps read
// them in their place.
struct LendableInput {
  BufferId buffer;
  std::size_t input, row_bytes;
};

class MapGuard;
class UpdateGuard;

// What a plan does, in order, and the memory it does it in.
struct Schedule {
  std::vector<Step> steps;
  IdVector<BufferId, BufferRequest> buffers;
  IdVector<ValueId, BufferId> value_buffer;
  IdVector<ValueId, std::optional<PackedWeights>> layout;  // kernels and their gradients
  IdVector<ValueId, Shape> shapes;                         // with the batch filled in
  std::vector<std::shared_ptr<FoldedWeights>> folded;      // to be refreshed before a run
  std::vector<std::shared_ptr<Variable>> updated;          // that a complete run changes
  std::vector<LendableInput> lendable;
  std::deque<std::vector<float>> constants;  // whose values stay where they are
  std::vector<std::shared_ptr<UpdateGuard>> guards;
  std::size_t scratch_bytes = 0;  // per thread
};

// counts_steps: the loss is checked also where nothing is updated.
Schedule lower(const Graph& graph, const FusedGraph& fused, Parameters& parameters,
               OptimizerState& optimizer, dim_t batch, bool counts_steps);

}  // namespace pycnn
