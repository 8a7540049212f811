// SPDX-License-Identifier: Apache-2.0
// Ops that move boxes of elements.
#include "ops/box.h"

#include "graph/rules.h"
#include "plan/lower/rules.h"

namespace pycnn {
namespace {

// How far apart the elements along each axis of a dense tensor lie.
std::array<dim_t, kMaxRank> pitches_of(const Shape& shape) {
  std::array<dim_t, kMaxRank> pitches{};
  dim_t pitch = 1;
  for (int axis = shape.rank() - 1; axis >= 0; --axis) {
    pitches[static_cast<std::size_t>(axis)] = pitch;
    pitch *= shape[axis];
  }
  return pitches;
}

void add_place(Lowering& plan, const FusedNode& node, std::span<const PlaceAxis> axes, float fill) {
  const BoxPlace op = make_box_place(axes, plan.isa());
  const BufferId x = plan.buffer_of(node.inputs[0]), y = plan.buffer_of(node.outputs[0]);
  plan.add_step(node, [=](RunContext& run, Worker& worker) {
    place_box(op, fill, run.floats(x), run.floats(y), worker);
  });
}

void add_copy(Lowering& plan, const FusedNode& node, std::span<const BoxAxis> axes, dim_t from) {
  const BoxCopy op = make_box_copy(axes, from, 0, plan.isa());
  const BufferId x = plan.buffer_of(node.inputs[0]), y = plan.buffer_of(node.outputs[0]);
  plan.add_step(node, [=](RunContext& run, Worker& worker) {
    copy_box(op, run.floats(x), run.floats(y), worker);
  });
}

}  // namespace

void lower_slice(Lowering& plan, const FusedNode& node) {
  const bool forward = node.op == OpKind::slice;
  const Shape& y = plan.shape_of(forward ? node.outputs[0] : node.inputs[0]);
  const Shape& x = plan.shape_of(forward ? node.inputs[0] : node.outputs[0]);
  const auto x_pitch = pitches_of(x), y_pitch = pitches_of(y);
  std::vector<BoxAxis> taken;
  std::vector<PlaceAxis> placed;
  dim_t first = 0;
  for (int axis = 0; axis < x.rank(); ++axis) {
    const auto at = static_cast<std::size_t>(axis);
    const AxisRange range = slice_range(node, axis);
    first += range.first * x_pitch[at];
    taken.push_back({y[axis], range.step * x_pitch[at], y_pitch[at]});
    placed.push_back({x[axis], range.first, range.step, y[axis], y_pitch[at]});
  }
  if (forward) return add_copy(plan, node, taken, first);
  add_place(plan, node, placed, 0.0f);
}

}  // namespace pycnn
