// SPDX-License-Identifier: Apache-2.0
// What to compute: values (shaped, named) and the nodes that make them, in topological order.
// Knows nothing of kernels, memory or threads. Bad arguments are refused here, by name.
#pragma once

#include <map>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "base/error.h"
#include "base/id.h"
#include "graph/attrs.h"

namespace pycnn {

struct ValueKind {
  static constexpr char kName[] = "value";
};
struct NodeKind {
  static constexpr char kName[] = "node";
};
using ValueId = Id<ValueKind>;
using NodeId = Id<NodeKind>;
constexpr ValueId kNoValue;

enum class OpKind : std::uint8_t {
  input,
  parameter,
  constant,
  slot,  // what an optimizer keeps for a parameter
  conv2d,
  conv2d_backward_data,
  conv2d_backward_weights,
  conv2d_transpose,
  dense,
  dense_backward_data,
  dense_backward_weights,
  matmul,         // of the last two axes
  bias_backward,  // sum over all axes but the last
  max_pool2d,
  max_pool2d_backward,
  avg_pool2d,
  avg_pool2d_backward,
  global_avg_pool2d,
  global_avg_pool2d_backward,
  reshape,  // flatten and its gradient: the same memory
  stop_gradient,
  add,
  concatenate,
  slice_channels,  // some of the last axis
  slice_channels_backward,
  slice,  // some of every axis
  slice_backward,
  transpose,
  pad,
  pad_backward,  // of mirrored pixels; that of a constant is a slice
  resize,        // images
  resize_backward,
  gather,
  gather_backward,
  upsample2d,  // nearest
  upsample2d_backward,
  map,     // an expression over elements
  reduce,  // one over some axes
  activation,
  activation_backward,
  softmax,
  softmax_backward,
  dropout,
  dropout_backward,
  batch_norm_training,
  batch_norm_inference,
  batch_norm_backward,
  loss,
  loss_backward,
  metric,
  sgd,
  adam,
  moving_average,
  assign,  // these write parameters and slots; they run after every other node of a step
  count_
};
const char* name_of(OpKind op);

struct Value {
  Shape shape;
  DType dtype = DType::f32;
  std::string name;
  NodeId producer;
};

struct Inferred;  // op.h

struct Node {
  OpKind op = OpKind::input;
  Attrs attrs = {};
  std::vector<ValueId> inputs = {};  // kNoValue marks an absent optional input
  std::vector<ValueId> outputs = {};
  std::string name = {};  // of the layer that made it
  dim_t macs =
      0;  // multiply-accumulates per sample (convolutions, dense, matmul and their backwards)
  double taps = 0;  // that pools read per sample, at most

  template <class T>
  const T& attrs_as() const {
    return std::get<T>(attrs);
  }
};

class Graph {
 public:
  // Inputs whose shape leads with kBatch are given by samples, others as a whole. Parameters have
  // no batch. Names of both are unique.
  ValueId input(const std::string& name, const Shape& shape, DType dtype = DType::f32);
  ValueId parameter(const std::string& name, const Shape& shape, bool trainable,
                    DType dtype = DType::f32);
  // Checks the arguments, infers the outputs' shapes, appends the node; returns its first output
  // (kNoValue for updates, which have none). Optional inputs may be kNoValue
  // or, at the end, left out.
  ValueId add(OpKind op, Attrs attrs, std::vector<ValueId> inputs, const std::string& name = "");

  const IdVector<NodeId, Node>& nodes() const { return nodes_; }
  const IdVector<ValueId, Value>& values() const { return values_; }
  const Node& node(NodeId id) const;     // throws Error(value) for an id this graph does not have
  const Value& value(ValueId id) const;  // likewise
  bool contains(ValueId id) const { return values_.contains(id); }
  const Shape& shape(ValueId id) const { return value(id).shape; }
  ValueId parameter_named(const std::string& name) const;  // kNoValue where there is none
  const Node& producer(ValueId id) const { return node(value(id).producer); }

  ValueId slot_named(ValueId parameter, const std::string& name) const;  // likewise
  bool is_updated_by(OpKind op, ValueId state) const;

  void mark_output(ValueId id);  // kept by every plan, readable after a run; in call order
  const std::vector<ValueId>& outputs() const { return outputs_; }

  // Takes back the nodes that were added during its life, unless they are all there.
  class Addition {
   public:
    explicit Addition(Graph& graph)
        : graph_(graph), nodes_(graph.nodes_.size()), values_(graph.values_.size()) {}
    ~Addition() {
      if (complete_) return;
      graph_.nodes_.cut(nodes_);
      graph_.values_.cut(values_);
    }
    Addition(const Addition&) = delete;
    Addition& operator=(const Addition&) = delete;
    void complete() { complete_ = true; }

   private:
    Graph& graph_;
    const std::size_t nodes_, values_;
    bool complete_ = false;
  };

 private:
  ValueId append(Node node, const Inferred& inferred);
  void note_state(const Node& node, ValueId first);

  IdVector<NodeId, Node> nodes_;
  IdVector<ValueId, Value> values_;
  std::vector<ValueId> outputs_;
  std::unordered_map<std::string, ValueId> named_;  // inputs and parameters
  std::map<std::pair<std::size_t, std::string>, ValueId> slots_;
  std::set<std::pair<std::size_t, OpKind>> updates_;  // of which state
};

// Appends a loss node and returns its value. A cross-entropy of probabilities that a softmax or a
// sigmoid made is taken of their logits, as Keras on TensorFlow does: there it is never clipped, so
// a saturated output still has a gradient.
ValueId append_loss(Graph& graph, LossAttrs attrs, ValueId y_true, ValueId y_pred,
                    const std::string& name = "");

// Appends the backward nodes of `loss` (the output of a loss node) and returns d loss / d wrt,
// kNoValue where loss does not depend on it; all of them or, where it throws, none. Gradients of a
// value used several times are added from its last use to its first. y_true counts as a constant.
std::vector<ValueId> append_gradients(Graph& graph, ValueId loss, const std::vector<ValueId>& wrt);

}  // namespace pycnn
