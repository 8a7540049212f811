// SPDX-License-Identifier: Apache-2.0
// The state of one lowering, and what an op's rule in lower/ works with: where its values lie, and
// what it asks for. lower.cc walks the nodes.
#pragma once

#include <string>
#include <vector>

#include "ops/expression.h"
#include "plan/fused.h"
#include "plan/lower.h"

namespace pycnn {

class Lowering {
 public:
  Lowering(const Graph& graph, const FusedGraph& fused, Parameters& parameters,
           OptimizerState& optimizer, dim_t batch, bool counts_steps);
  Schedule lower();

  const Graph& graph() const { return graph_; }
  const std::vector<FusedNode>& nodes() const { return nodes_; }
  const Schedule& schedule() const { return schedule_; }
  OptimizerState& optimizer() { return optimizer_; }
  dim_t batch() const { return batch_; }
  Isa isa() const { return parameters_.isa(); }
  bool trains() const { return trains_; }  // has updates

  // Of a value. Shapes have the batch filled in.
  const Shape& shape_of(ValueId v) const { return schedule_.shapes[v]; }
  BufferId buffer_of(ValueId v) const {
    return v.has_value() ? schedule_.value_buffer[v] : kNoBuffer;
  }
  std::size_t bytes_of(ValueId v) const;
  dim_t count_of(ValueId v) const;  // elements as they lie in memory
  std::size_t row_bytes_of(ValueId v) const {
    return bytes_of(v) / static_cast<std::size_t>(batch_);
  }
  const std::shared_ptr<Variable>& variable_of(ValueId parameter) const;
  // Of a parameter or a slot: its memory, and the parameter's variable.
  Tensor& state_of(ValueId state) const;
  const std::shared_ptr<Variable>& owner_of(ValueId state) const;
  const std::string& owner_name(ValueId state) const;
  const std::optional<PackedWeights>& layout_of(ValueId v) const { return schedule_.layout[v]; }
  // What an update reads as its input k: ready before the first update, in its target's layout.
  BufferId update_input(const FusedNode& update, std::size_t k) const;
  // Of a map that runs over elements as they lie in memory.
  std::vector<MapInput> flat_inputs(const FusedNode& node) const;
  // Throws unless the value is a kernel that lies as this convolution reads it.
  void check_kernel(const Node& node, ValueId w, const Conv2dShape& shape) const;

  // Memory beside the values.
  BufferId workspace(dim_t count, DType dtype = DType::f32);  // during the next step; none where 0
  void need_scratch(dim_t count, DType dtype = DType::f32);   // per thread
  BufferId fixed_buffer(void* memory);
  void keep(BufferId buffer) { kept_.push_back(buffer); }  // valid from run to run
  FoldedWeights* fold_norm(const FusedNode& node);         // null where the product has no norm

  void add_step(const Node& node, StepFn run);
  void add_update(const Node& node, const std::shared_ptr<Variable>& variable, StepFn run);
  // One that may stop a run, before anything is changed.
  void add_check(const std::string& op, const std::string& name, StepFn run);
  void touch(BufferId buffer, int step);
  void touch_now(BufferId buffer) { touch(buffer, static_cast<int>(schedule_.steps.size())); }

 private:
  struct Replaced {
    ValueId value;
    BufferId buffer;
    std::optional<PackedWeights> layout;
  };
  struct UpdateInput {
    BufferId buffer, largest;  // |x|
  };

  std::optional<PackedWeights> stored_layout(const ParameterSpec& wanted) const;
  std::optional<PackedWeights> flat_layout(const FusedNode& node) const;
  void propagate_layouts();
  BufferId copied(ValueId v, BufferId from, const std::optional<PackedWeights>& layout,
                  const std::optional<PackedWeights>& wanted);
  BufferId as_layout(ValueId v, const std::optional<PackedWeights>& wanted);
  std::vector<Replaced> unpack_inputs(const FusedNode& node);
  void put_back(const std::vector<Replaced>& replaced);
  bool is_objective(const Node& loss) const;
  bool is_total(const Node& node) const;
  void find_last_uses();
  void assign_buffers(std::size_t i);
  BufferId taken_buffer(const FusedNode& node, ValueId out, std::size_t i) const;
  BufferId new_buffer(std::size_t bytes);
  float* keep_constant(const Node& node);

  void lower_input(const Node& node, int position);
  void lower_whole_input(const Node& node, int position);
  void lower_output(ValueId v, int position);
  void keep_lendable();
  // Finds the largest |x|, and stops a run that is asked to if one is not finite.
  BufferId lower_check(const std::string& name, BufferId x, dim_t count, bool stops);
  void prepare_updates(std::size_t first);  // copies, checks and guards before the first update
  UpdateInput prepare_input(const FusedNode& update, std::size_t k);
  const std::vector<UpdateInput>& inputs_of(const FusedNode& update) const;
  ValueId first_target(const FusedNode& update) const;
  bool is_state(ValueId v) const;
  std::shared_ptr<MapGuard> make_map_guard(const FusedNode& update);
  void try_maps();
  void lower_guards();  // stops a run where an update would make a number that is not finite
  void lower_named(const FusedNode& node);

  const Graph& graph_;
  const std::vector<FusedNode>& nodes_;
  Parameters& parameters_;
  OptimizerState& optimizer_;
  dim_t batch_;
  Schedule schedule_;
  bool trains_;
  bool checks_;  // the objective, before a step is counted
  std::vector<BufferId> kept_;
  std::vector<std::vector<UpdateInput>> update_inputs_;  // of each node
  IdVector<ValueId, bool> is_written_;                   // parameters and slots, by some update
  IdVector<ValueId, std::size_t> needed_until_;  // how many nodes run before it may go; 0: unread
  IdVector<BufferId, std::size_t> occupied_until_;  // likewise, by all values in it
};

}  // namespace pycnn
