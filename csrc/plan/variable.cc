// SPDX-License-Identifier: Apache-2.0
#include "plan/variable.h"

#include <algorithm>
#include <cstring>

namespace pycnn {
namespace {

std::uint64_t next_version() {
  static std::atomic<std::uint64_t> last{0};
  return last.fetch_add(1, std::memory_order_relaxed) + 1;
}

std::size_t bytes_of(const Shape& shape, DType dtype, const std::optional<PackedWeights>& layout) {
  return bytes_of(layout ? layout->count() : shape.count(), dtype);
}

DType checked(DType dtype) {
  PYCNN_CHECK(dtype == DType::f32, ErrorKind::dtype, "variable: expected float32, got ",
              name_of(dtype));
  return dtype;
}

}  // namespace

Tensor::Tensor(const Shape& shape, DType dtype, const std::optional<PackedWeights>& layout,
               MemoryMode mode)
    : shape_(shape),
      dtype_(dtype),
      layout_(layout),
      storage_(bytes_of(shape, dtype, layout), mode) {
  clear();
}

std::vector<float> Tensor::get() const {
  if (!layout_) return std::vector<float>(data(), data() + count());
  std::vector<float> values(static_cast<std::size_t>(shape_.count()));
  unpack_weights(*layout_, data(), values.data());
  return values;
}

void Tensor::set(const float* values) {
  forget();
  if (layout_) {
    pack_weights(*layout_, values, data());
  } else {
    std::copy(values, values + count(), data());
  }
}

void Tensor::clear() {
  std::memset(data(), 0, bytes_of(shape_, dtype_, layout_));
  bound = 0;
  is_negative = false;
}

Variable::Variable(const Shape& shape, const Shape& graph_shape, DType dtype,
                   const std::optional<PackedWeights>& layout, Isa isa, MemoryMode mode)
    : values_(shape, checked(dtype), layout, mode),
      graph_shape_(graph_shape),
      isa_(isa),
      mode_(mode),
      version_(next_version()) {
  PYCNN_CHECK_SHAPE(shape.count() == graph_shape.count(), "variable: ", shape.text(),
                    " cannot be seen as ", graph_shape.text());
}

std::vector<float> Variable::get() const {
  const JointEntry reading(*gate_, Access::shared, "variable");
  return values_.get();
}

void Variable::set(const float* values) {
  const JointEntry writing(*gate_, Access::exclusive, "variable");
  values_.set(values);
  changed();
}

void Variable::changed() { version_.store(next_version(), std::memory_order_release); }

// Not at every call: as many calls as there are variables would take the square of their number.
void OptimizerState::drop_gone() {
  if (++made_ <= slots_.size() / 2) return;
  made_ = 0;
  std::erase_if(slots_, [](const auto& entry) { return entry.second.variable.expired(); });
}

Tensor& OptimizerState::slot(const std::shared_ptr<Variable>& variable, const std::string& name) {
  const Entry making(making_, Access::exclusive, "optimizer");
  auto owner = slots_.find(variable.get());
  if (owner == slots_.end() || owner->second.variable.lock() != variable) {
    drop_gone();
    owner = slots_.insert_or_assign(variable.get(), Slots{variable, {}}).first;
  }
  Slots& slots = owner->second;
  const auto known = slots.by_name.find(name);
  if (known != slots.by_name.end()) return known->second;
  return slots.by_name
      .try_emplace(name, variable->shape(), DType::f32, variable->layout(), variable->mode())
      .first->second;
}

std::vector<std::string> OptimizerState::slots_of(const Variable& variable) const {
  const Entry looking(making_, Access::shared, "slots");
  std::vector<std::string> names;
  const auto known = slots_.find(&variable);
  if (known == slots_.end() || known->second.variable.lock().get() != &variable) return names;
  for (const auto& [name, slot] : known->second.by_name) names.push_back(name);
  return names;
}

std::vector<float> OptimizerState::get(const std::shared_ptr<Variable>& variable,
                                       const std::string& name) {
  const JointEntry reading(*gate_, Access::shared, "optimizer");
  return slot(variable, name).get();
}

void OptimizerState::set(const std::shared_ptr<Variable>& variable, const std::string& name,
                         const float* values) {
  const JointEntry writing(*gate_, Access::exclusive, "optimizer");
  slot(variable, name).set(values);
}

}  // namespace pycnn
