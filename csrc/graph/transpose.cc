// SPDX-License-Identifier: Apache-2.0
// transpose: the axes in another order, y.shape[i] = x.shape[axes[i]]. The batch axis stays first.
#include <array>

#include "graph/check.h"
#include "graph/rules.h"

namespace pycnn {
namespace {

Inferred infer_transpose(const Graph& graph, const Node& node) {
  const ValueId v = node.inputs[0];
  const DType dtype = check_movable(graph, node, "x", v);
  const Shape& x = graph.shape(v);
  const Integers& axes = node.attrs_as<TransposeAttrs>().axes;
  PYCNN_CHECK_SHAPE(x.rank() >= 1, "transpose: x must have an axis, got ", x.text());
  check_per_axis(node, "axes", axes.size(), x);
  std::array<bool, kMaxRank> seen{};
  std::vector<dim_t> dims;
  for (const dim_t axis : axes.numbers()) {
    PYCNN_CHECK_VALUE(axis < x.rank() && !seen[static_cast<std::size_t>(axis)],
                      "transpose: axes must be a permutation of 0..", x.rank() - 1, ", got ", axis,
                      axis < x.rank() ? " twice" : " among them");
    seen[static_cast<std::size_t>(axis)] = true;
    dims.push_back(x[static_cast<int>(axis)]);
  }
  PYCNN_CHECK_VALUE(!x.has_batch() || axes[0] == 0,
                    "transpose: axes must begin with 0, the batch axis, got ", axes[0]);
  return {.shapes = {Shape(dims)}, .dtypes = {dtype}};
}

void transpose_gradient(GradientTape& tape, const Node& node, ValueId dy) {
  const ValueId x = node.inputs[0];
  if (!tape.needs(x)) return;
  const Integers& axes = node.attrs_as<TransposeAttrs>().axes;
  std::array<dim_t, kMaxRank> inverse{};
  for (std::size_t i = 0; i < axes.size(); ++i) {
    inverse[static_cast<std::size_t>(axes[i])] = static_cast<dim_t>(i);
  }
  const TransposeAttrs back{Integers({inverse.data(), axes.size()})};
  tape.accumulate(x, tape.graph().add(OpKind::transpose, back, {dy}, node.name));
}

}  // namespace

std::span<const OpDefinition> transpose_ops() {
  static const OpDefinition rows[] = {
      {.kind = OpKind::transpose,
       .name = "transpose",
       .inputs = {{"x", Presence::required, std::nullopt}},
       .attrs = TransposeAttrs{},
       .infer = infer_transpose,
       .gradient = transpose_gradient},
  };
  return rows;
}

}  // namespace pycnn
