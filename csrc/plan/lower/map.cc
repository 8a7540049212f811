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

// Element by element as they lie in memory, where that is not as their shape says.
std::vector<MapInput> flat_inputs(const Lowering& plan, const FusedNode& node, dim_t count) {
  std::vector<MapInput> inputs;
  for (const ValueId v : node.inputs) {
    inputs.push_back({plan.layout_of(v) ? Shape{count} : Shape{}, plan.graph().value(v).dtype});
  }
  return inputs;
}

}  // namespace

void lower_map(Lowering& plan, const FusedNode& node) {
  const Expression& expression = node.attrs_as<MapAttrs>().expression;
  const Buffers inputs = buffers_of(plan, node);
  std::vector<MapOutput> outputs;
  std::array<BufferId, kMaxResults> buffers{};
  for (std::size_t r = 0; r < node.outputs.size(); ++r) {
    const ValueId y = node.outputs[r];
    buffers[r] = plan.buffer_of(y);
    MapOutput output{plan.graph().value(y).dtype};
    for (std::size_t i = 0; i < node.inputs.size(); ++i) {
      if (inputs[i] == buffers[r]) output.in_place = static_cast<int>(i);
    }
    outputs.push_back(output);
  }
  const auto layout = plan.layout_of(node.outputs[0]);
  const dim_t count = plan.count_of(node.outputs[0]);
  const Shape& shape = layout ? Shape{count} : plan.shape_of(node.outputs[0]);
  const Map op{make_block_program(expression, shape,
                                  layout ? flat_inputs(plan, node, count) : inputs_of(plan, node),
                                  outputs, plan.batch(), plan.isa()),
               count};
  plan.need_scratch(op.program.scratch_floats());
  plan.add_step(node, [=](RunContext& run, Worker& worker) {
    std::array<void*, kMaxResults> y{};
    for (std::size_t r = 0; r < y.size(); ++r) y[r] = run.bytes(buffers[r]);
    const ExpressionRun ready = expression_run(run, inputs);
    map_forward(op, ready, y.data(), worker);
    if (layout) clear_padding(*layout, static_cast<float*>(y[0]), worker);
  });
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
