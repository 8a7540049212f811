// SPDX-License-Identifier: Apache-2.0
#include "ops/channels.h"

#include <vector>

#include "plan/lower/rules.h"

namespace pycnn {
namespace {

void join_channels(Lowering& plan, const FusedNode& node) {
  const Matrix y_shape = as_matrix(plan.shape_of(node.outputs[0]));
  const BufferId y = plan.buffer_of(node.outputs[0]);
  std::vector<std::pair<ChannelCopy, BufferId>> parts;
  dim_t first = 0;
  for (const ValueId v : node.inputs) {
    const dim_t count = plan.shape_of(v)[-1];
    parts.emplace_back(
        make_channel_copy(y_shape.rows, count, {count, 0}, {y_shape.columns, first}, plan.isa()),
        plan.buffer_of(v));
    first += count;
  }
  plan.add_step(node, [=](RunContext& run, Worker& worker) {
    for (const auto& [copy, in] : parts) copy_channels(copy, run.floats(in), run.floats(y), worker);
  });
}

}  // namespace

void lower_channels(Lowering& plan, const FusedNode& node) {
  if (node.op == OpKind::concatenate) return join_channels(plan, node);
  const auto& [first, count] = node.attrs_as<SliceAttrs>();
  const bool forward = node.op == OpKind::slice_channels;
  const Matrix whole = as_matrix(plan.shape_of(forward ? node.inputs[0] : node.outputs[0]));
  const ChannelCopy op =
      forward
          ? make_channel_copy(whole.rows, count, {whole.columns, first}, {count, 0}, plan.isa())
          : make_channel_copy(whole.rows, count, {count, 0}, {whole.columns, first}, plan.isa());
  const BufferId from = plan.buffer_of(node.inputs[0]), to = plan.buffer_of(node.outputs[0]);
  const auto move = forward ? copy_channels : pad_channels;
  plan.add_step(node, [=](RunContext& run, Worker& worker) {
    move(op, run.floats(from), run.floats(to), worker);
  });
}

}  // namespace pycnn
