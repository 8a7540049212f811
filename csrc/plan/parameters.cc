// SPDX-License-Identifier: Apache-2.0
#include "plan/parameters.h"

#include <algorithm>
#include <utility>

#include "graph/op.h"

namespace pycnn {
namespace {

// The packed layout that `node` wants its input `w` in, if any.
std::optional<PackedWeights> wanted_layout(const Graph& graph, const Node& node, ValueId w,
                                           Isa isa) {
  const int kernel = definition(node.op).kernel;
  if (kernel < 0 || node.inputs[static_cast<std::size_t>(kernel)] != w) return std::nullopt;
  const auto* conv = std::get_if<Conv2dAttrs>(&node.attrs);
  return kernel_layout(graph.shape(w), conv != nullptr ? conv->groups : 1, isa);
}

}  // namespace

PackedWeights kernel_layout(const Shape& kernel, dim_t groups, Isa isa) {
  PYCNN_CHECK_SHAPE(kernel.rank() == 2 || kernel.rank() == 4,
                    "kernel: expected shape (C, K) or (R, S, C/groups, K), got ", kernel.text());
  const dim_t K = kernel[-1];
  PYCNN_CHECK_VALUE(groups >= 1 && groups <= K && K % groups == 0,
                    "kernel: groups must divide the filters (", K, "), got ", groups);
  if (kernel.rank() == 2) return make_packed_weights(1, 1, kernel[0], kernel[1], 1, isa);
  return make_packed_weights(kernel[0], kernel[1], kernel[2] * groups, kernel[3], groups, isa);
}

std::vector<ParameterSpec> parameter_specs(const Graph& graph, Isa isa) {
  std::vector<ParameterSpec> specs;
  IdVector<ValueId, std::optional<std::size_t>> place(graph.values().size());  // among them
  for (const Node& node : graph.nodes()) {
    if (node.op == OpKind::parameter) {
      const ValueId value = node.outputs[0];
      place[value] = specs.size();
      specs.push_back({node.name, graph.shape(value), graph.value(value).dtype, {}});
    }
    for (const ValueId input : node.inputs) {
      if (!input.has_value() || !place[input]) continue;
      ParameterSpec& spec = specs[*place[input]];
      const std::optional<PackedWeights> wanted = wanted_layout(graph, node, input, isa);
      if (!wanted) continue;
      PYCNN_CHECK_VALUE(!spec.packed || *spec.packed == *wanted, "parameter ", spec.name,
                        ": used with ", spec.packed ? spec.packed->G : 1, " and with ", wanted->G,
                        " groups");
      spec.packed = wanted;
    }
  }
  return specs;
}

Parameters::Parameters(const Graph& graph, Isa isa, MemoryMode mode) : isa_(isa) {
  PYCNN_CHECK_VALUE(is_supported(isa), "isa: this CPU or build has no ", name_of(isa));
  std::vector<std::string> names;
  std::vector<std::shared_ptr<Variable>> variables;
  for (const ParameterSpec& spec : parameter_specs(graph, isa)) {
    names.push_back(spec.name);
    variables.push_back(
        std::make_shared<Variable>(spec.shape, spec.shape, spec.dtype, spec.packed, isa, mode));
  }
  adopt(std::move(names), std::move(variables));
}

Parameters::Parameters(std::vector<std::string> names,
                       std::vector<std::shared_ptr<Variable>> variables)
    : isa_(variables.empty() ? default_isa() : variables.front()->isa()) {
  PYCNN_CHECK_VALUE(names.size() == variables.size(), "parameters: ", names.size(), " names for ",
                    variables.size(), " variables");
  for (std::size_t i = 0; i < variables.size(); ++i) {
    PYCNN_CHECK_VALUE(variables[i]->isa() == isa_, "parameter ", names[i], ": its variable is for ",
                      name_of(variables[i]->isa()), ", others are for ", name_of(isa_));
  }
  adopt(std::move(names), std::move(variables));
}

void Parameters::adopt(std::vector<std::string> names,
                       std::vector<std::shared_ptr<Variable>> variables) {
  std::vector<std::shared_ptr<JointGate>> gates{own_state_->gate()};
  for (std::size_t i = 0; i < names.size(); ++i) {
    PYCNN_CHECK_VALUE(index_.emplace(names[i], i).second, "parameters: the name '", names[i],
                      "' is given twice");
    gates.push_back(variables[i]->gate());
  }
  JointGate::join(gates, "parameters");
  gate_ = gates.front();
  names_ = std::move(names);
  variables_ = std::move(variables);
}

const std::shared_ptr<Variable>& Parameters::variable(const std::string& name) const {
  const auto found = index_.find(name);
  PYCNN_CHECK_VALUE(found != index_.end(), "parameters: no parameter is named '", name, "'");
  return variables_[found->second];
}

std::uint64_t Parameters::version() const {
  std::uint64_t newest = 0;
  for (const auto& variable : variables_) newest = std::max(newest, variable->version());
  return newest;
}

std::shared_ptr<FoldedWeights> Parameters::folded(const FoldSource& source,
                                                  const PackedWeights& layout) {
  const Entry folding(folding_, Access::exclusive, "parameters");
  auto [held, end] = folded_.equal_range(source.w);
  while (held != end) {
    const std::shared_ptr<FoldedWeights> known = held->second.lock();
    if (known != nullptr && known->source() == source && known->layout() == layout) return known;
    held = known == nullptr ? folded_.erase(held) : std::next(held);
  }
  auto made = std::make_shared<FoldedWeights>(source, layout, variables_.front()->mode());
  folded_.emplace(source.w, made);
  return made;
}

}  // namespace pycnn
