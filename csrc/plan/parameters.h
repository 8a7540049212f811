// SPDX-License-Identifier: Apache-2.0
// The parameters of a network and their optimizer state, in the layout the kernels read. Shared by
// the plans of one model; parameters are known by name.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/arch.h"
#include "graph/graph.h"
#include "ops/weights.h"
#include "plan/folded.h"
#include "plan/storage.h"

namespace pycnn {

struct ParameterSpec {
  std::string name;
  Shape shape;
  bool trainable = false;
  bool read = false;  // by anything but updates
  // Kernels of conv2d and dense; others lie as their shape says.
  std::optional<PackedWeights> packed;
  dim_t count() const { return packed ? packed->count() : shape.count(); }  // floats in memory
};

// How a parameter lies, from the nodes that read it; throws where two of them disagree.
ParameterSpec parameter_spec(const Graph& graph, const Node& node, Isa isa);

class Parameters {
 public:
  Parameters(const Graph& graph, Isa isa, MemoryMode mode = MemoryMode::planned);

  Isa isa() const { return isa_; }
  const std::vector<ParameterSpec>& specs() const { return specs_; }
  int index_of(const std::string& name) const;  // throws Error(value) for an unknown name

  // slot "" is the parameter itself; "velocity", "m", "v" are made, zero, when first asked for.
  float* data(int index, const std::string& slot = "");
  std::vector<float> get(int index, const std::string& slot);  // in the user's layout (HWIO)
  void set(int index, const std::string& slot, const float* values);

  // Counts changes, so that what is derived from the values knows when it is out of date.
  std::uint64_t version() const { return version_.load(std::memory_order_acquire); }
  void changed() { version_.fetch_add(1, std::memory_order_acq_rel); }
  // The folded weights of this source, made when first asked for and kept while a plan holds them.
  std::shared_ptr<FoldedWeights> folded(const FoldSource& source, const PackedWeights& layout);

 private:
  Isa isa_;
  MemoryMode mode_;
  std::vector<ParameterSpec> specs_;
  std::map<std::string, std::vector<Storage>> slots_;
  std::atomic<std::uint64_t> version_{1};
  std::vector<std::weak_ptr<FoldedWeights>> folded_;
};

}  // namespace pycnn
