// SPDX-License-Identifier: Apache-2.0
// Ops that move elements: boxes of them, and mirrored ones.
#include "ops/box.h"

#include <algorithm>
#include <bit>
#include <memory>
#include <utility>
#include <vector>

#include "graph/rules.h"
#include "ops/resample.h"
#include "plan/lower/rules.h"

namespace pycnn {

LoweringRule lower_channels;

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

void add_resample(Lowering& plan, const FusedNode& node, std::vector<AxisSums> axes) {
  const BufferId x = plan.buffer_of(node.inputs[0]), y = plan.buffer_of(node.outputs[0]);
  const auto op = std::make_shared<const Resample>(make_resample(std::move(axes), plan.isa()));
  plan.need_scratch(op->scratch_floats());
  plan.add_step(node, [=](RunContext& run, Worker& worker) {
    resample(*op, run.floats(x), run.floats(y), worker);
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

void lower_concatenate(Lowering& plan, const FusedNode& node) {
  const Shape& y = plan.shape_of(node.outputs[0]);
  const int axis = checked_axis(node, node.attrs_as<ConcatenateAttrs>().axis, y);
  if (axis == y.rank() - 1) return lower_channels(plan, node);
  const auto y_pitch = pitches_of(y);
  std::vector<std::pair<BoxCopy, BufferId>> parts;
  dim_t first = 0;
  for (const ValueId v : node.inputs) {
    const Shape& x = plan.shape_of(v);
    const auto x_pitch = pitches_of(x);
    std::vector<BoxAxis> axes;
    for (int i = 0; i < x.rank(); ++i) {
      const auto at = static_cast<std::size_t>(i);
      axes.push_back({x[i], x_pitch[at], y_pitch[at]});
    }
    const dim_t to = first * y_pitch[static_cast<std::size_t>(axis)];
    parts.emplace_back(make_box_copy(axes, 0, to, plan.isa()), plan.buffer_of(v));
    first += x[axis];
  }
  const BufferId out = plan.buffer_of(node.outputs[0]);
  plan.add_step(node, [=](RunContext& run, Worker& worker) {
    for (const auto& [copy, in] : parts) copy_box(copy, run.floats(in), run.floats(out), worker);
  });
}

void lower_transpose(Lowering& plan, const FusedNode& node) {
  const Shape &x = plan.shape_of(node.inputs[0]), &y = plan.shape_of(node.outputs[0]);
  const auto x_pitch = pitches_of(x), y_pitch = pitches_of(y);
  const Integers& order = node.attrs_as<TransposeAttrs>().axes;
  std::vector<BoxAxis> axes;
  for (std::size_t i = 0; i < order.size(); ++i) {
    axes.push_back(
        {y[static_cast<int>(i)], x_pitch[static_cast<std::size_t>(order[i])], y_pitch[i]});
  }
  add_copy(plan, node, axes, 0);
}

void lower_pad(Lowering& plan, const FusedNode& node) {
  const auto& [pads, mode, value] = node.attrs_as<PadAttrs>();
  const bool forward = node.op == OpKind::pad;
  const Shape& x = plan.shape_of(forward ? node.inputs[0] : node.outputs[0]);
  const auto x_pitch = pitches_of(x);
  std::vector<PlaceAxis> placed;
  std::vector<AxisSums> mirrored;
  for (int axis = 0; axis < x.rank(); ++axis) {
    const auto at = static_cast<std::size_t>(axis);
    const dim_t before = pads[2 * at], after = pads[2 * at + 1], extent = x[axis];
    if (mode == PadMode::constant) {
      placed.push_back({before + extent + after, before, 1, extent, x_pitch[at]});
    } else {
      mirrored.push_back(mirrored_axis(extent, before, after, mode));
      if (!forward) mirrored.back() = transposed(mirrored.back());
    }
  }
  if (mode != PadMode::constant) return add_resample(plan, node, std::move(mirrored));
  const bool whole = plan.graph().value(node.outputs[0]).dtype == DType::i32;
  const float fill = whole ? std::bit_cast<float>(static_cast<std::int32_t>(value)) : value;
  add_place(plan, node, placed, fill);
}

void lower_resize(Lowering& plan, const FusedNode& node) {
  const bool forward = node.op == OpKind::resize;
  const Shape& x = plan.shape_of(forward ? node.inputs[0] : node.outputs[0]);
  const auto& [size, interpolation, coordinates, rounding] = node.attrs_as<ResizeAttrs>();
  std::vector<AxisSums> axes{
      same_axis(x[0]), resized_axis(x[1], size.h, interpolation, coordinates, rounding),
      resized_axis(x[2], size.w, interpolation, coordinates, rounding), same_axis(x[3])};
  if (!forward) std::ranges::transform(axes, axes.begin(), transposed);
  add_resample(plan, node, std::move(axes));
}

}  // namespace pycnn
