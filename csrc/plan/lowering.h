// SPDX-License-Identifier: Apache-2.0
// The state of one lowering; lower.cc walks the graph, lower_ops.cc has one case per op.
#pragma once

#include <string>
#include <vector>

#include "plan/lower.h"

namespace pycnn {

class Lowering {
 public:
  Lowering(const Graph& graph, const std::vector<Node>& nodes, Parameters& parameters,
           OptimizerState& optimizer, dim_t batch, bool counts_steps);
  Program lower();

 private:
  BufferId buffer_of(ValueId v) const {
    return v.has_value() ? program_.value_buffer[v] : kNoBuffer;
  }
  const Shape& shape_of(ValueId v) const { return program_.shapes[v]; }
  dim_t count_of(ValueId v) const { return static_cast<dim_t>(bytes_of(v)) / dim_t{sizeof(float)}; }
  std::size_t bytes_of(ValueId v) const;
  Isa isa() const { return parameters_.isa(); }

  std::optional<PackedWeights> stored_layout(const ParameterSpec& wanted) const;
  void propagate_layouts();
  void check_kernel(const Node& node, ValueId w, const Conv2dShape& shape) const;
  void check_plain_inputs(const Node& node) const;
  bool is_objective(const Node& loss) const;
  void find_last_uses();
  void assign_buffers(std::size_t i);
  BufferId fixed_buffer(float* memory);
  float* parameter_of(ValueId v);              // null for no value
  FoldedWeights* fold_norm(const Node& node);  // null where the product has no batch norm
  BufferId new_buffer(std::size_t bytes);
  void touch(BufferId buffer, int step);

  void add_step(const std::string& op, const std::string& name, StepFn run);
  BufferId workspace(dim_t floats);  // alive during the next step only
  void need_scratch(dim_t floats);   // per thread

  void lower_input(const Node& node, int position);
  void lower_output(ValueId v, int position);
  void lower_check(ValueId v);  // stops a run, before it changes anything, if v is not finite
  void lower_named(const Node& node);
  void lower_node(const Node& node);  // the rest: lower_ops.cc
  void lower_product(const Node& node);
  void lower_conv2d_transpose(const Node& node);
  void lower_product_backward_data(const Node& node);
  void lower_product_backward_weights(const Node& node);
  void lower_depthwise(const Node& node, const Conv2dShape& shape);  // any pass
  void lower_pool(const Node& node);
  void lower_channels(const Node& node);
  void lower_upsample2d(const Node& node);
  void lower_elementwise(const Node& node);
  void lower_rows(const Node& node);
  void lower_batch_norm(const Node& node);
  void lower_loss(const Node& node);
  void lower_update(const Node& node);
  void lower_guards();  // stops a run where an update would make a number that is not finite

  const Graph& graph_;
  const std::vector<Node>& nodes_;
  Parameters& parameters_;
  OptimizerState& optimizer_;
  dim_t batch_;
  Program program_;
  bool trains_;                                  // has updates
  bool checks_;                                  // the objective, before a step is counted
  std::vector<BufferId> kept_;                   // packed weights: valid from run to run
  IdVector<ValueId, std::size_t> needed_until_;  // how many nodes run before it may go; 0: unread
  IdVector<BufferId, std::size_t> occupied_until_;  // likewise, by all values in it
};

}  // namespace pycnn
