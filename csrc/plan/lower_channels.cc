// SPDX-License-Identifier: Apache-2.0
#include <vector>

#include "ops/channels.h"
#include "plan/lowering.h"

namespace pycnn {

void Lowering::lower_channels(const Node& node) {
  const Shape &x_shape = shape_of(node.inputs[0]), &y_shape = shape_of(node.outputs[0]);
  const dim_t x_channels = x_shape[-1], y_channels = y_shape[-1];
  const dim_t rows = y_channels == 0 ? 0 : y_shape.count() / y_channels;
  const BufferId x = buffer_of(node.inputs[0]), y = buffer_of(node.outputs[0]);
  if (node.op == OpKind::concatenate) {
    std::vector<std::pair<ChannelCopy, BufferId>> parts;
    dim_t first = 0;
    for (const ValueId v : node.inputs) {
      const dim_t count = shape_of(v)[-1];
      if (count == 0) continue;
      parts.emplace_back(make_channel_copy(rows, count, {count, 0}, {y_channels, first}, isa()),
                         buffer_of(v));
      first += count;
    }
    return add_step("concatenate", node.name, [=](RunContext& run, Worker& worker) {
      for (const auto& [copy, in] : parts) {
        copy_channels(copy, run.floats(in), run.floats(y), worker);
      }
    });
  }
  const auto& [first, count] = node.attrs_as<SliceAttrs>();
  if (node.op == OpKind::slice_channels) {
    const ChannelCopy op = make_channel_copy(rows, count, {x_channels, first}, {count, 0}, isa());
    return add_step("slice_channels", node.name, [=](RunContext& run, Worker& worker) {
      copy_channels(op, run.floats(x), run.floats(y), worker);
    });
  }
  const ChannelCopy op = make_channel_copy(rows, count, {count, 0}, {y_channels, first}, isa());
  add_step("slice_channels_backward", node.name, [=](RunContext& run, Worker& worker) {
    pad_channels(op, run.floats(x), run.floats(y), worker);
  });
}

}  // namespace pycnn
