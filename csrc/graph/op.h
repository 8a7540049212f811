// SPDX-License-Identifier: Apache-2.0
// One row per op: all that others need to know of it. The rows of a family are in its file, next to
// the rules they name; everything that treats ops alike (checks, fusion, memory, the binding,
// files) is written over the rows.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>
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

// Checks ranks, sizes and how attributes meet. Number and types of inputs, and the attributes'
// bounds, have been checked.
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

// What callers left to the op, see build.h.
struct Open {
  std::optional<Padding::Mode> padding;  // "valid" or "same" instead of pixels
  std::vector<std::string> absent = {};  // of the attributes that are completed

  bool lacks(const std::string& name) const {
    return std::find(absent.begin(), absent.end(), name) != absent.end();
  }
};
// Fills in what is open from the inputs' shapes.
using ResolveFn = void (*)(const Graph& graph, Node& node, const Open& open);

enum class Presence : std::uint8_t {
  required,
  optional,
  shape_only,           // its value is not read
  optional_shape_only,  // likewise, and it may be absent
  repeated,             // two or more of them, the op's only argument
  any_number,           // likewise, one or none too
};

struct Argument {
  const char* name = "";
  Presence presence = Presence::required;
  std::optional<DType> dtype = DType::f32;  // nothing: the op's rule checks it

  constexpr bool is_optional() const {
    return presence == Presence::optional || presence == Presence::optional_shape_only;
  }
  constexpr bool is_read() const {
    return presence != Presence::shape_only && presence != Presence::optional_shape_only;
  }
};

// A list that a constant row can hold.
template <class T, std::size_t kMost>
class ShortList {
 public:
  constexpr ShortList(std::initializer_list<T> items) {
    for (const T& item : items) items_[size_++] = item;
  }
  constexpr std::size_t size() const { return size_; }
  constexpr const T& operator[](std::size_t i) const { return items_[i]; }
  constexpr const T* begin() const { return items_.data(); }
  constexpr const T* end() const { return items_.data() + size_; }

 private:
  std::array<T, kMost> items_{};
  std::size_t size_ = 0;
};

// Does the op take a list of inputs, as its only argument?
constexpr bool is_list(Presence presence) {
  return presence == Presence::repeated || presence == Presence::any_number;
}

enum class Role : std::uint8_t {
  value,
  update,  // writes the state that is its first input, after all else of a step; no outputs
};

struct OpDefinition {
  OpKind kind;
  const char* name;
  ShortList<Argument, 5> inputs;
  Attrs attrs = {};  // the defaults; nodes carry this alternative
  Role role = Role::value;
  int results = 1;  // outputs that callers are told of; others serve the gradient
  // The input whose memory the first output may take, element by element; kAnyInput: of one that
  // is as large.
  int in_place = -1;
  bool is_view = false;  // the first output is the first input's memory
  int kernel = -1;       // the input that is packed weights, where it is a parameter
  InferFn infer = nullptr;
  GradientFn gradient = nullptr;  // none: not differentiable, an Error names the op
  ResolveFn resolve = nullptr;    // none: nothing can be left open
};

constexpr int kAnyInput = -2;

const OpDefinition& definition(OpKind kind);
const OpDefinition& op_named(const std::string& name);  // throws Error(value) for an unknown name
std::span<const OpDefinition> op_definitions();         // in the order of OpKind

// The slots that an optimizer writes besides its parameter, "" for none.
std::array<std::string_view, 2> own_slots(OpKind op);

inline bool is_update(OpKind op) { return definition(op).role == Role::update; }
// False for an input that the node only asks for its shape.
inline bool reads(const Node& node, std::size_t input) {
  const auto& inputs = definition(node.op).inputs;
  return inputs[std::min(input, inputs.size() - 1)].is_read();
}

}  // namespace pycnn
