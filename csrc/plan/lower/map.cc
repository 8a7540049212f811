// SPDX-License-Identifier: Apache-2.0
#include "ops/expression.h"
#include "ops/fold.h"
#include "plan/lower/rules.h"

namespace pycnn {
namespace {

using Buffers = std::array<BufferId, kMaxExpressionInputs>;

std::vector<MapInput> inputs_of(const Lowering& plan, const FusedNode& node) {
  std::vector<MapInput> inputs;
  for (const ValueId v : node.inputs) {
    inputs.push_back({plan.shape_of(v), plan.graph().value(v).dtype});
  }
  return inputs;
}

Buffers buffers_of(const Lowering& plan, const FusedNode& node) {
  Buffers buffers{};
  for (std::size_t i = 0; i < node.inputs.size(); ++i) buffers[i] = plan.buffer_of(node.inputs[i]);
  return buffers;
}

ExpressionRun expression_run(const RunContext& run, const Buffers& inputs) {
  ExpressionRun ready{.random = run.random, .learning_rate = run.request->learning_rate};
  for (std::size_t i = 0; i < inputs.size(); ++i) ready.inputs[i] = run.bytes(inputs[i]);
  return ready;
}

}  // namespace

// Over elements as they lie in memory, where what is written is packed or already there.
void lower_map(Lowering& plan, const FusedNode& node) {
  const bool updates = !node.targets.empty();
  const std::vector<ValueId>& results = updates ? node.targets : node.outputs;
  Buffers inputs{};
  for (std::size_t i = 0; i < node.inputs.size(); ++i) {
    inputs[i] = updates ? plan.update_input(node, i) : plan.buffer_of(node.inputs[i]);
    plan.touch_now(inputs[i]);
  }
  std::vector<MapOutput> outputs;
  std::array<BufferId, kMaxResults> buffers{};
  for (std::size_t r = 0; r < results.size(); ++r) {
    buffers[r] = plan.buffer_of(results[r]);
    MapOutput output{plan.graph().value(results[r]).dtype};
    for (std::size_t i = 0; i < node.inputs.size(); ++i) {
      if (inputs[i] == buffers[r]) output.in_place = static_cast<int>(i);
    }
    outputs.push_back(output);
  }
  const auto layout = plan.layout_of(results[0]);
  const bool is_flat = updates || layout;
  const dim_t count = plan.count_of(results[0]);
  const Map op{make_block_program(node.attrs_as<MapAttrs>().expression,
                                  is_flat ? Shape{count} : plan.shape_of(results[0]),
                                  is_flat ? plan.flat_inputs(node) : inputs_of(plan, node), outputs,
                                  plan.batch(), plan.isa()),
               count};
  plan.need_scratch(op.program.scratch_floats());
  const std::size_t written = results.size();
  const auto run_map = [=](RunContext& run, Worker& worker) {
    std::array<void*, kMaxResults> y{};
    for (std::size_t r = 0; r < y.size(); ++r) y[r] = run.bytes(buffers[r]);
    const ExpressionRun ready = expression_run(run, inputs);
    map_forward(op, ready, y.data(), worker);
    for (std::size_t r = 0; layout && r < written; ++r) {
      clear_padding(*layout, static_cast<float*>(y[r]), worker);
    }
  };
  if (updates) {
    plan.add_update(node, plan.owner_of(results[0]), run_map);
  } else {
    plan.add_step(node, run_map);
  }
}

void lower_reduce(Lowering& plan, const FusedNode& node) {
  const auto& attrs = node.attrs_as<ReduceAttrs>();
  const std::vector<MapInput> inputs = inputs_of(plan, node);
  Shape shape;
  for (const MapInput& input : inputs) shape = *broadcast_shape(shape, input.shape);
  Buffers from = buffers_of(plan, node);
  const std::vector<Fold> folds = make_folds(
      attrs.kind, attrs.expression, shape, attrs.axes.numbers(), inputs, plan.batch(), plan.isa());
  for (std::size_t i = 0; i < folds.size(); ++i) {
    const Fold& op = folds[i];
    const bool last = i + 1 == folds.size();
    const BufferId y = last ? plan.buffer_of(node.outputs[0]) : plan.workspace(op.results());
    const BufferId space = plan.workspace(op.workspace_floats());
    plan.need_scratch(op.scratch_floats());
    plan.touch_now(from[0]);
    plan.add_step(node, [=](RunContext& run, Worker& worker) {
      fold_forward(op, expression_run(run, from), run.bytes(y), run.floats(space), worker);
    });
    from = Buffers{y};
  }
}

}  // namespace pycnn
