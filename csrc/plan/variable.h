// SPDX-License-Identifier: Apache-2.0
// Weights and the state that optimizers keep for them, in the layout the kernels read. A variable
// belongs to the layer that made it, a slot to the optimizer; plans only point at them, and share
// them. Both lie alike: updates are elementwise and never repack.
#pragma once

#include <atomic>
#include <cassert>
#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/arch.h"
#include "base/gate.h"
#include "base/shape.h"
#include "ops/weights.h"
#include "plan/storage.h"

namespace pycnn {

// Numbers that lie as `layout` says, or as their shape where there is none. Of float32 so far: no
// kernel reads weights of another type.
class Tensor {
 public:
  Tensor(const Shape& shape, DType dtype, const std::optional<PackedWeights>& layout,
         MemoryMode mode);

  const Shape& shape() const { return shape_; }
  DType dtype() const { return dtype_; }
  const std::optional<PackedWeights>& layout() const { return layout_; }
  dim_t count() const { return layout_ ? layout_->count() : shape_.count(); }  // in memory
  float* data() const {
    assert(dtype_ == DType::f32);
    return reinterpret_cast<float*>(storage_.data());
  }

  std::vector<float> get() const;  // in the user's layout (HWIO)
  void set(const float* values);
  void clear();  // all zero

  // What is known of the elements: none is larger, and whether any may be below zero.
  float bound = std::numeric_limits<float>::infinity();
  bool is_negative = true;
  void forget() {
    bound = std::numeric_limits<float>::infinity();
    is_negative = true;
  }

 private:
  Shape shape_;
  DType dtype_;
  std::optional<PackedWeights> layout_;
  Storage storage_;
};

class Variable {
 public:
  // Graphs may know it by another shape of as many elements: the kernel (S, C, K) of a convolution
  // along rows as (1, S, C, K). Throws Error(dtype) for a type that weights cannot have.
  Variable(const Shape& shape, const Shape& graph_shape, DType dtype,
           const std::optional<PackedWeights>& layout, Isa isa,
           MemoryMode mode = MemoryMode::planned);

  const Shape& shape() const { return values_.shape(); }
  const Shape& graph_shape() const { return graph_shape_; }
  DType dtype() const { return values_.dtype(); }
  const std::optional<PackedWeights>& layout() const { return values_.layout(); }
  Isa isa() const { return isa_; }
  MemoryMode mode() const { return mode_; }
  Tensor& values() { return values_; }
  const std::shared_ptr<JointGate>& gate() const { return gate_; }

  std::vector<float> get() const;
  void set(const float* values);

  // Larger after every change, and never the same for two changes in the process: what is derived
  // from several variables is out of date where the largest of their versions has changed.
  std::uint64_t version() const { return version_.load(std::memory_order_acquire); }
  void changed();

 private:
  Tensor values_;
  Shape graph_shape_;
  Isa isa_;
  MemoryMode mode_;
  std::atomic<std::uint64_t> version_;
  std::shared_ptr<JointGate> gate_ = std::make_shared<JointGate>();
};

// The slots ("velocity", "m", "v") of the variables that one optimizer trains, and how many steps
// it has taken. Slots of a variable that is gone are dropped.
class OptimizerState {
 public:
  // The slot, made with zeros when first asked for. It stays where it is as long as the variable.
  Tensor& slot(const std::shared_ptr<Variable>& variable, const std::string& name);
  std::vector<std::string> slots_of(const Variable& variable) const;  // that were asked for so far
  std::vector<float> get(const std::shared_ptr<Variable>& variable, const std::string& name);
  void set(const std::shared_ptr<Variable>& variable, const std::string& name, const float* values);

  std::uint32_t iterations() const { return iterations_.load(); }
  void set_iterations(std::uint32_t steps) { iterations_.store(steps); }
  const std::shared_ptr<JointGate>& gate() const { return gate_; }

 private:
  struct Slots {
    std::weak_ptr<Variable> variable;
    std::map<std::string, Tensor> by_name;
  };
  void drop_gone();

  std::map<const Variable*, Slots> slots_;
  std::size_t made_ = 0;  // of them, since those of variables that are gone were dropped
  mutable Gate making_;
  std::atomic<std::uint32_t> iterations_{0};
  std::shared_ptr<JointGate> gate_ = std::make_shared<JointGate>();
};

}  // namespace pycnn
