// SPDX-License-Identifier: Apache-2.0
// What to compute: values (shaped, named) and the nodes that make them, in topological order.
// Knows nothing of kernels, memory or threads. Bad arguments are refused here, by name.
#pragma once

#include <string>
#include <unordered_map>
#include <variant>
#include <vector>

#include "base/error.h"
#include "base/id.h"
#include "base/shape.h"
#include "base/types.h"

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
  conv2d,
  conv2d_backward_data,
  conv2d_backward_weights,
  conv2d_transpose,
  dense,
  dense_backward_data,
  dense_backward_weights,
  bias_backward,  // sum over all axes but the last
  max_pool2d,
  max_pool2d_backward,
  avg_pool2d,
  avg_pool2d_backward,
  global_avg_pool2d,
  global_avg_pool2d_backward,
  reshape,  // flatten and its gradient: the same memory
  add,
  concatenate,     // along the last axis
  slice_channels,  // some of the last axis
  slice_channels_backward,
  upsample2d,  // nearest
  upsample2d_backward,
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
  moving_average,  // write parameters; run after every other node of a step
  count_
};
const char* name_of(OpKind op);

// act, pool and norm_epsilon of conv2d and dense are set by plan/fuse only
struct Conv2dAttrs {
  Size2d stride, dilation;
  Pad2d pad;
  dim_t groups = 1;
  ActivationKind act = ActivationKind::linear;
  Size2d pool{0, 0};            // windows of a max pooling that follows; {0, 0}: none
  Size2d output_padding{0, 0};  // of conv2d_transpose, see TransposedPadding
  float norm_epsilon = 0;       // of a batch norm folded into the weights
};
struct DenseAttrs {
  ActivationKind act = ActivationKind::linear;
  float norm_epsilon = 0;
};
struct Pool2dAttrs {
  Size2d window, stride;
  Pad2d pad;
};
struct Upsample2dAttrs {
  Size2d factor;
};
struct SliceAttrs {
  dim_t first = 0, count = 1;  // channels
};
struct ActivationAttrs {
  ActivationKind kind = ActivationKind::linear;
  float alpha = 0;
};
struct DropoutAttrs {
  float rate = 0;
  std::uint32_t stream = 0;  // of random numbers; the seed and the step come at run time
};
struct BatchNormAttrs {
  float epsilon = 1e-3f;
};
struct MovingAverageAttrs {
  float momentum = 0.99f;
};
struct LossAttrs {
  LossKind kind = LossKind::mean_squared_error;
  bool from_logits = false;
};
struct MetricAttrs {
  MetricKind kind = MetricKind::accuracy;
  float threshold = 0.5f;
};
struct SgdAttrs {
  float momentum = 0, weight_decay = 0;
  bool nesterov = false;
};
struct AdamAttrs {
  float beta_1 = 0.9f, beta_2 = 0.999f, epsilon = 1e-7f, weight_decay = 0;
};
using Attrs = std::variant<std::monostate, Conv2dAttrs, DenseAttrs, Pool2dAttrs, Upsample2dAttrs,
                           SliceAttrs, ActivationAttrs, DropoutAttrs, BatchNormAttrs,
                           MovingAverageAttrs, LossAttrs, MetricAttrs, SgdAttrs, AdamAttrs>;

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
  std::string name = {};   // of the layer that made it
  bool trainable = false;  // parameters only
  dim_t macs = 0;   // multiply-accumulates per sample (convolutions, dense and their backwards)
  double taps = 0;  // that pools read per sample, at most

  template <class T>
  const T& attrs_as() const {
    return std::get<T>(attrs);
  }
};

class Graph {
 public:
  // Shapes of inputs lead with kBatch, those of parameters do not. Names of both are unique.
  ValueId input(const std::string& name, const Shape& shape, DType dtype = DType::f32);
  ValueId parameter(const std::string& name, const Shape& shape, bool trainable);
  // Checks the arguments, infers the outputs' shapes, appends the node; returns its first output
  // (kNoValue for optimizers and moving averages, which have none).
  ValueId add(OpKind op, Attrs attrs, const std::vector<ValueId>& inputs,
              const std::string& name = "");

  const IdVector<NodeId, Node>& nodes() const { return nodes_; }
  const IdVector<ValueId, Value>& values() const { return values_; }
  const Node& node(NodeId id) const;     // throws Error(value) for an id this graph does not have
  const Value& value(ValueId id) const;  // likewise
  bool contains(ValueId id) const { return values_.contains(id); }
  const Shape& shape(ValueId id) const { return value(id).shape; }
  ValueId parameter_named(const std::string& name) const;  // kNoValue where there is none
  const Node& producer(ValueId id) const { return node(value(id).producer); }

  void mark_output(ValueId id);  // kept by every plan, readable after a run; in call order
  const std::vector<ValueId>& outputs() const { return outputs_; }

  // For plan/fuse.cc: a value whose node now computes something of another shape.
  void set_shape(ValueId id, const Shape& shape) { values_[id].shape = shape; }

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
  ValueId append_named(Node node, const Shape& shape, DType dtype);

  IdVector<NodeId, Node> nodes_;
  IdVector<ValueId, Value> values_;
  std::vector<ValueId> outputs_;
  std::unordered_map<std::string, ValueId> named_;  // inputs and parameters
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
