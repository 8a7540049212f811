// SPDX-License-Identifier: Apache-2.0
// matmul: a (..., M, K), b (..., K, N) -> y (..., M, N), either stored with its last two axes
// swapped; the leading axes are broadcast.
#include <array>

#include "graph/check.h"
#include "graph/rules.h"

namespace pycnn {
namespace {

// The axes before the matrices.
Shape leading_axes(const Node& node, const char* argument, const Shape& x) {
  PYCNN_CHECK_SHAPE(x.rank() >= 2, name_of(node.op), ": ", argument,
                    " must have two axes or more, got ", x.text());
  PYCNN_CHECK_SHAPE(!x.has_batch() || x.rank() >= 3, name_of(node.op), ": ", argument,
                    " must have the batch axis before its last two, got ", x.text());
  return Shape(x.dims().first(x.dims().size() - 2));
}

struct Product {
  Shape leading, y;
  dim_t K;
};

Product product_of(const Node& node, const Shape& a, const Shape& b) {
  const auto& [transpose_a, transpose_b] = node.attrs_as<MatmulAttrs>();
  const Shape a_leading = leading_axes(node, "a", a), b_leading = leading_axes(node, "b", b);
  const dim_t M = a[transpose_a ? -1 : -2], K = a[transpose_a ? -2 : -1];
  const dim_t N = b[transpose_b ? -2 : -1], b_rows = b[transpose_b ? -1 : -2];
  PYCNN_CHECK_SHAPE(b_rows == K, name_of(node.op), ": axis ", transpose_b ? -1 : -2,
                    " of b must be ", K, ", as axis ", transpose_a ? -2 : -1, " of a, got ",
                    b_rows);
  const auto leading = broadcast_shape(a_leading, b_leading);
  PYCNN_CHECK_SHAPE(leading, name_of(node.op), ": leading axes of b must broadcast with ",
                    a_leading.text(), " of a, got ", b_leading.text());
  std::vector<dim_t> dims(leading->dims().begin(), leading->dims().end());
  dims.insert(dims.end(), {M, N});
  return {*leading, Shape(dims), K};
}

Inferred infer_matmul(const Graph& graph, const Node& node) {
  const auto [leading, y, K] =
      product_of(node, graph.shape(node.inputs[0]), graph.shape(node.inputs[1]));
  return {.shapes = {y}, .macs = checked_macs(node, std::array{y.with_batch(1).count(), K})};
}

// With the factors in the order in which the gradient lies as its input does; b first, as weights
// are elsewhere.
void matmul_gradient(GradientTape& tape, const Node& node, ValueId dy) {
  Graph& graph = tape.graph();
  const ValueId a = node.inputs[0], b = node.inputs[1];
  const auto& [transpose_a, transpose_b] = node.attrs_as<MatmulAttrs>();
  const auto product = [&](ValueId left, bool turn_left, ValueId right, bool turn_right) {
    return graph.add(OpKind::matmul, MatmulAttrs{turn_left, turn_right}, {left, right}, node.name);
  };
  if (tape.needs(b)) {
    const ValueId full =
        transpose_b ? product(dy, true, a, transpose_a) : product(a, !transpose_a, dy, false);
    tape.accumulate(b, add_summed(graph, full, graph.shape(b), node.name));
  }
  if (tape.needs(a)) {
    const ValueId full =
        transpose_a ? product(b, transpose_b, dy, true) : product(dy, false, b, !transpose_b);
    tape.accumulate(a, add_summed(graph, full, graph.shape(a), node.name));
  }
}

}  // namespace

std::span<const OpDefinition> matmul_ops() {
  static const OpDefinition rows[] = {
      {.kind = OpKind::matmul,
       .name = "matmul",
       .inputs = {{"a"}, {"b"}},
       .attrs = MatmulAttrs{},
       .infer = infer_matmul,
       .gradient = matmul_gradient},
  };
  return rows;
}

}  // namespace pycnn
