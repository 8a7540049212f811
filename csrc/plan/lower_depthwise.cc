// SPDX-License-Identifier: Apache-2.0
// The three passes of a conv2d with one input channel and one filter per group.
#include "ops/depthwise.h"
#include "plan/lowering.h"

namespace pycnn {

void Lowering::lower_depthwise(const Node& node, const Conv2dShape& shape) {
  const ActivationKind act = node.attrs_as<Conv2dAttrs>().act;
  const auto in = [&](std::size_t i) { return buffer_of(node.inputs[i]); };
  const BufferId y = buffer_of(node.outputs[0]);
  switch (node.op) {
    case OpKind::conv2d: {
      const DepthwisePass op = make_depthwise_forward(shape, isa());
      FoldedWeights* folded = fold_norm(node);
      const BufferId x = in(0), residual = in(3),
                     w = folded ? fixed_buffer(folded->kernel()) : in(1),
                     bias = folded ? fixed_buffer(folded->bias()) : in(2);
      return add_step("conv2d", node.name, [=](RunContext& run, Worker& worker) {
        const Epilogue epilogue{run.floats(bias), run.floats(residual), nullptr, 0, act};
        depthwise_gather(op, run.floats(x), run.floats(w), epilogue, run.floats(y), worker);
      });
    }
    case OpKind::conv2d_backward_data: {
      const DepthwisePass op = make_depthwise_backward_data(shape, isa());
      const BufferId dy = in(0), w = in(1), gate = in(3);
      const float ceiling = act == ActivationKind::relu6 ? 6.0f : 0.0f;
      return add_step("conv2d_backward_data", node.name, [=](RunContext& run, Worker& worker) {
        const Epilogue epilogue{nullptr, nullptr, run.floats(gate), ceiling,
                                ActivationKind::linear};
        depthwise_gather(op, run.floats(dy), run.floats(w), epilogue, run.floats(y), worker);
      });
    }
    default: {
      const DepthwiseBackwardWeights op = make_depthwise_backward_weights(shape, isa());
      const BufferId x = in(0), dy = in(1), partial = workspace(op.workspace_floats());
      return add_step("conv2d_backward_weights", node.name, [=](RunContext& run, Worker& worker) {
        depthwise_backward_weights(op, run.floats(x), run.floats(dy), run.floats(y),
                                   run.floats(partial), worker);
      });
    }
  }
}

}  // namespace pycnn
