// SPDX-License-Identifier: Apache-2.0
#include "ops/pool2d.h"

#include "graph/rules.h"
#include "plan/lower/rules.h"

namespace pycnn {
namespace {

using PoolFn = void (*)(const Pool2d&, const float*, float*, Worker&) noexcept;

void add_pool(Lowering& plan, const FusedNode& node, const Pool2d& op, PoolFn pool) {
  const BufferId in = plan.buffer_of(node.inputs[0]), out = plan.buffer_of(node.outputs[0]);
  plan.add_step(node, [=](RunContext& run, Worker& worker) {
    pool(op, run.floats(in), run.floats(out), worker);
  });
}

// The image, whichever pass it is: the last input.
const Shape& image_of(const Lowering& plan, const FusedNode& node) {
  return plan.shape_of(node.inputs.back());
}

}  // namespace

void lower_pool2d(Lowering& plan, const FusedNode& node) {
  Pool2dShape shape = pool2d_shape(node, image_of(plan, node));
  shape.N = plan.batch();
  const Pool2d op = make_pool2d(shape, plan.isa());
  if (node.op == OpKind::avg_pool2d) return add_pool(plan, node, op, avg_pool2d_forward);
  if (node.op == OpKind::avg_pool2d_backward) return add_pool(plan, node, op, avg_pool2d_backward);
  const BufferId in = plan.buffer_of(node.inputs[0]), out = plan.buffer_of(node.outputs[0]);
  if (node.op == OpKind::max_pool2d) {
    const BufferId arg = plan.buffer_of(node.outputs[1]);
    return plan.add_step(node, [=](RunContext& run, Worker& worker) {
      max_pool2d_forward(op, run.floats(in), run.floats(out), run.indices(arg), worker);
    });
  }
  const BufferId dy = plan.buffer_of(node.inputs[1]);
  plan.add_step(node, [=](RunContext& run, Worker& worker) {
    max_pool2d_backward(op, run.indices(in), run.floats(dy), run.floats(out), worker);
  });
}

void lower_global_pool2d(Lowering& plan, const FusedNode& node) {
  const Shape& x = image_of(plan, node);
  Pool2dShape shape;
  shape.N = plan.batch();
  shape.H = shape.R = x[1];
  shape.W = shape.S = x[2];
  shape.C = x[3];
  add_pool(plan, node, make_pool2d(shape, plan.isa()),
           node.op == OpKind::global_avg_pool2d ? global_avg_pool2d_forward
                                                : global_avg_pool2d_backward);
}

}  // namespace pycnn
