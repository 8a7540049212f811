// SPDX-License-Identifier: Apache-2.0
#include "plan/parameters.h"

#include <algorithm>
#include <cstring>

#include "plan/fuse.h"

namespace pycnn {
namespace {

// The packed layout that `node` wants its input `w` in, if any.
std::optional<PackedWeights> wanted_layout(const Graph& graph, const Node& node, ValueId w,
                                           Isa isa) {
  const Shape& s = graph.shape(w);
  switch (node.op) {
    case OpKind::conv2d:
    case OpKind::conv2d_backward_data:
    case OpKind::conv2d_backward_weights:
    case OpKind::conv2d_transpose: {
      const dim_t G = node.attrs_as<Conv2dAttrs>().groups;
      const bool is_kernel = w == node.inputs[node.op == OpKind::conv2d_backward_weights ? 2 : 1];
      if (!is_kernel) return std::nullopt;
      return make_packed_weights(s[0], s[1], s[2] * G, s[3], G, isa);
    }
    case OpKind::dense:
    case OpKind::dense_backward_data:
    case OpKind::dense_backward_weights: {
      const bool is_kernel = w == node.inputs[node.op == OpKind::dense_backward_weights ? 2 : 1];
      if (!is_kernel) return std::nullopt;
      return make_packed_weights(1, 1, s[0], s[1], 1, isa);
    }
    default:
      return std::nullopt;
  }
}

}  // namespace

ParameterSpec parameter_spec(const Graph& graph, const Node& node, Isa isa) {
  const ValueId value = node.outputs[0];
  ParameterSpec spec{node.name, graph.shape(value), node.trainable, false, std::nullopt};
  bool read_plain = false;
  for (const Node& user : graph.nodes()) {
    if (std::find(user.inputs.begin(), user.inputs.end(), value) == user.inputs.end()) continue;
    const std::optional<PackedWeights> wanted = wanted_layout(graph, user, value, isa);
    if (wanted) {
      PYCNN_CHECK_VALUE(!spec.packed || spec.packed == wanted, "parameter ", node.name,
                        ": used with ", spec.packed ? spec.packed->G : 1, " and with ", wanted->G,
                        " groups");
      spec.packed = wanted;
    } else if (!is_update(user.op)) {
      read_plain = true;
    }
  }
  spec.read = spec.packed || read_plain;
  PYCNN_CHECK_VALUE(!(spec.packed && read_plain), "parameter ", node.name,
                    ": used both as a kernel and as an ordinary value");
  return spec;
}

Parameters::Parameters(const Graph& graph, Isa isa, MemoryMode mode) : isa_(isa), mode_(mode) {
  PYCNN_CHECK_VALUE(is_supported(isa), "isa: this CPU or build has no ", name_of(isa));
  for (const Node& node : graph.nodes()) {
    if (node.op == OpKind::parameter) specs_.push_back(parameter_spec(graph, node, isa));
  }
  for (int i = 0; i < static_cast<int>(specs_.size()); ++i) {
    std::vector<float> zeros(
        static_cast<std::size_t>(specs_[static_cast<std::size_t>(i)].shape.count()));
    set(i, "", zeros.data());
  }
}

int Parameters::index_of(const std::string& name) const {
  for (std::size_t i = 0; i < specs_.size(); ++i) {
    if (specs_[i].name == name) return static_cast<int>(i);
  }
  throw Error(ErrorKind::value, concat("parameters: no parameter is named '", name, "'"));
}

float* Parameters::data(int index, const std::string& slot) {
  std::vector<Storage>& blocks = slots_[slot];
  if (blocks.empty()) {
    for (const ParameterSpec& spec : specs_) {
      const auto bytes = static_cast<std::size_t>(spec.count()) * sizeof(float);
      blocks.emplace_back(bytes, mode_);
      std::memset(blocks.back().data(), 0, bytes);
    }
  }
  return reinterpret_cast<float*>(blocks.at(static_cast<std::size_t>(index)).data());
}

std::vector<float> Parameters::get(int index, const std::string& slot) {
  const ParameterSpec& spec = specs_.at(static_cast<std::size_t>(index));
  const float* stored = data(index, slot);
  if (!spec.packed) return std::vector<float>(stored, stored + spec.count());
  std::vector<float> values(static_cast<std::size_t>(spec.shape.count()));
  unpack_weights(*spec.packed, stored, values.data());
  return values;
}

void Parameters::set(int index, const std::string& slot, const float* values) {
  const ParameterSpec& spec = specs_.at(static_cast<std::size_t>(index));
  if (spec.packed) {
    pack_weights(*spec.packed, values, data(index, slot));
  } else {
    std::copy(values, values + spec.count(), data(index, slot));
  }
  changed();
}

std::shared_ptr<FoldedWeights> Parameters::folded(const FoldSource& source,
                                                  const PackedWeights& layout) {
  std::erase_if(folded_, [](const auto& held) { return held.expired(); });
  for (const std::weak_ptr<FoldedWeights>& held : folded_) {
    const std::shared_ptr<FoldedWeights> known = held.lock();
    if (known != nullptr && known->source() == source && known->layout() == layout) {
      return known;
    }
  }
  auto made = std::make_shared<FoldedWeights>(source, layout, mode_);
  folded_.push_back(made);
  return made;
}

}  // namespace pycnn
