// SPDX-License-Identifier: Apache-2.0
// One row per op: its name, its attributes, how its outputs' shapes follow from its inputs, and its
// gradient rule. Each op family's file defines the functions (rules.h); op.cc lists them.
#pragma once

#include <cstddef>
#include <utility>
#include <vector>

#include "graph/graph.h"

namespace pycnn {

// What an op's rule returns: the shapes and types of its outputs, and its cost.
struct Inferred {
  std::vector<Shape> shapes;
  std::vector<DType> dtypes = {};  // empty = all f32
  dim_t macs = 0;                  // per sample
  double taps = 0;                 // likewise
};

// Checks arity, ranks, sizes, dtypes and the attributes' values.
using InferFn = Inferred (*)(const Graph& graph, const Node& node);

// Collects gradients while the graph is walked backwards.
class GradientTape {
 public:
  GradientTape(Graph& graph, IdVector<ValueId, bool> needed)
      : graph_(graph), needed_(std::move(needed)), gradients_(needed_.size()) {}

  Graph& graph() { return graph_; }
  bool needs(ValueId value) const;  // does it depend on anything asked for? false for kNoValue
  ValueId of(ValueId value) const;  // the gradient so far, or kNoValue
  void accumulate(ValueId value, ValueId gradient);  // first: take it; later: append an add node

 private:
  Graph& graph_;
  IdVector<ValueId, bool> needed_;
  IdVector<ValueId, ValueId> gradients_;
};

// dy is the gradient of node.outputs[0]. Must skip inputs the tape does not need. node is a copy:
// it stays valid while the rule appends to the graph.
using GradientFn = void (*)(GradientTape& tape, const Node& node, ValueId dy);

struct OpDefinition {
  OpKind kind;
  const char* name;
  std::size_t attrs_index;  // the alternative of Attrs that its nodes carry
  InferFn infer;            // nullptr: made by Graph::input and Graph::parameter only
  GradientFn gradient;      // nullptr: not differentiable, an Error names the op
};

const OpDefinition& definition(OpKind kind);

}  // namespace pycnn
