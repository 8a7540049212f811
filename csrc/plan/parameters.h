// SPDX-License-Identifier: Apache-2.0
// The variables that a graph calls its parameters, by name. Shared by the plans of one model.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/arch.h"
#include "graph/graph.h"
#include "plan/folded.h"
#include "plan/variable.h"

namespace pycnn {

struct ParameterSpec {
  std::string name;
  Shape shape;
  DType dtype = DType::f32;
  // Kernels of conv2d and dense, whoever else reads them; others lie as their shape says.
  std::optional<PackedWeights> packed;
};

// Of a kernel [R][S][C/groups][K] of conv2d, or [C][K] of dense.
PackedWeights kernel_layout(const Shape& kernel, dim_t groups, Isa isa);

// How a graph's parameters lie, from the nodes that read them, in order; throws where two of these
// disagree.
std::vector<ParameterSpec> parameter_specs(const Graph& graph, Isa isa);

class Parameters {
 public:
  // Makes a variable, zero, for each parameter of the graph.
  Parameters(const Graph& graph, Isa isa, MemoryMode mode = MemoryMode::planned);
  // Variables that exist, all for one ISA; their gates become one.
  Parameters(std::vector<std::string> names, std::vector<std::shared_ptr<Variable>> variables);

  Isa isa() const { return isa_; }
  const std::vector<std::string>& names() const { return names_; }
  const std::shared_ptr<Variable>& variable(const std::string& name) const;  // Error(value) if none
  const std::shared_ptr<JointGate>& gate() const { return gate_; }
  // Of plans that were given no other, for tests and benchmarks of the core.
  const std::shared_ptr<OptimizerState>& own_state() const { return own_state_; }

  std::uint64_t version() const;  // the largest of the variables'
  // The folded weights of this source, made when first asked for and kept while a plan holds them.
  std::shared_ptr<FoldedWeights> folded(const FoldSource& source, const PackedWeights& layout);

 private:
  void adopt(std::vector<std::string> names, std::vector<std::shared_ptr<Variable>> variables);

  Isa isa_;
  std::vector<std::string> names_;
  std::vector<std::shared_ptr<Variable>> variables_;
  std::unordered_map<std::string, std::size_t> index_;
  std::shared_ptr<JointGate> gate_;
  std::shared_ptr<OptimizerState> own_state_ = std::make_shared<OptimizerState>();
  Gate folding_;
  std::unordered_multimap<const float*, std::weak_ptr<FoldedWeights>> folded_;  // by the kernel
};

}  // namespace pycnn
