// SPDX-License-Identifier: Apache-2.0
#include "ops/evaluator.h"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <limits>

namespace pycnn {
namespace {

float load(const void* data, DType dtype, dim_t i) noexcept {
  switch (dtype) {
    case DType::i32:
      return static_cast<float>(static_cast<const std::int32_t*>(data)[i]);
    case DType::u8:
      return static_cast<float>(static_cast<const std::uint8_t*>(data)[i]);
    case DType::f32:
    case DType::bf16:
      break;
  }
  return static_cast<const float*>(data)[i];
}

template <class T>
void convert(const T* x, float* y, dim_t count) noexcept {
  for (dim_t i = 0; i < count; ++i) y[i] = static_cast<float>(x[i]);
}

void load_run(const void* data, DType dtype, dim_t first, float* y, dim_t count) noexcept {
  switch (dtype) {
    case DType::i32:
      return convert(static_cast<const std::int32_t*>(data) + first, y, count);
    case DType::u8:
      return convert(static_cast<const std::uint8_t*>(data) + first, y, count);
    case DType::f32:
    case DType::bf16:
      break;
  }
  const float* from = static_cast<const float*>(data) + first;
  std::copy(from, from + count, y);
}

// What is read next comes while this block is computed.
constexpr dim_t kFetchAhead = 2 * kBlock, kLineFloats = 16;
void fetch(const float* x, dim_t count) noexcept {
  for (dim_t i = 0; i < count; i += kLineFloats) __builtin_prefetch(x + i);
}

// Whole numbers as the functions to_int32 and to_uint8 leave them; others as these would.
std::int32_t to_int32(float x) noexcept {
  constexpr float kLimit = 2147483648.0f;
  if (x != x) return 0;
  if (x >= kLimit) return 2147483520;  // the largest float below
  if (x < -kLimit) return std::numeric_limits<std::int32_t>::min();
  return static_cast<std::int32_t>(x);
}
std::uint8_t to_uint8(float x) noexcept {
  return static_cast<std::uint8_t>(std::clamp(to_int32(x), 0, 255));
}

}  // namespace

dim_t BlockProgram::scratch_floats() const {
  dim_t floats = kMostLanes * first_filled();
  for (const InputAccess& access : inputs) {
    if (access.kind == InputAccess::Kind::pattern)
      floats += round_up(access.axes.back().extent, kMostLanes) + kBlock;
  }
  return floats + kBlock * (first_result() - static_cast<dim_t>(numbers.size()));
}

Evaluator::Evaluator(const BlockProgram& program, const ExpressionRun& run, float* scratch) noexcept
    : program_(program),
      run_(run),
      numbers_(scratch),
      blocks_(numbers_ + kMostLanes * program.first_filled()),
      patterns_(blocks_ +
                kBlock * (program.first_result() - static_cast<dim_t>(program.numbers.size()))) {
  for (int slot = 0; slot < program.first_number(); ++slot) lay_out(slot);
  for (int slot = program.first_number(); slot < program.first_filled(); ++slot) {
    repeat(slot,
           run_number(program.numbers[static_cast<std::size_t>(slot - program.first_number())]));
  }
  for (int slot = program.first_filled(); slot < program.first_result(); ++slot) {
    slots_[static_cast<std::size_t>(slot)] = {owned_block(slot), false};
  }
}

float* Evaluator::owned_block(int slot) const {
  const auto numbers = static_cast<int>(program_.numbers.size());
  return blocks_ + kBlock * (slot < program_.first_number() ? slot : slot - numbers);
}

void Evaluator::repeat(int slot, float value) noexcept {
  float* number = number_of(slot);
  std::fill(number, number + kMostLanes, value);
  slots_[static_cast<std::size_t>(slot)] = {number, true};
}

float Evaluator::run_number(const Operand& operand) const noexcept {
  switch (operand.kind) {
    case OperandKind::learning_rate:
      return run_.learning_rate;
    case OperandKind::step:
      return static_cast<float>(run_.random.step);
    case OperandKind::batch:
      return program_.batch;
    default:
      return operand.value;
  }
}

// What stays the same for all blocks.
void Evaluator::lay_out(int slot) noexcept {
  const auto i = static_cast<std::size_t>(slot);
  const InputAccess& access = program_.inputs[i];
  if (access.kind == InputAccess::Kind::scalar) repeat(slot, load(run_.inputs[i], access.dtype, 0));
  if (access.kind != InputAccess::Kind::pattern) return;
  const dim_t period = access.axes.back().extent, length = period + kBlock;
  load_run(run_.inputs[i], access.dtype, 0, patterns_, period);
  for (dim_t at = period; at < length; at += period) {
    std::copy_n(patterns_, std::min(period, length - at), patterns_ + at);
  }
  pattern_[i] = patterns_;
  patterns_ += round_up(period, kMostLanes) + kBlock;
}

void Evaluator::read(int slot, dim_t first, dim_t count) noexcept {
  const auto i = static_cast<std::size_t>(slot);
  const InputAccess& access = program_.inputs[i];
  const auto* floats = static_cast<const float*>(run_.inputs[i]);
  BlockOperand& operand = slots_[i];
  switch (access.kind) {
    case InputAccess::Kind::scalar:
      return;
    case InputAccess::Kind::direct:
      operand = {floats + first, false};
      if (program_.fetches_ahead) fetch(floats + first + kFetchAhead, count);
      return;
    case InputAccess::Kind::pattern:
      operand = {pattern_[i] + first % access.axes.back().extent, false};
      return;
    case InputAccess::Kind::repeat: {
      const dim_t length = access.axes[1].extent;
      if (first % length + count <= length) return repeat(slot, floats[first / length]);
      operand = {owned_block(slot), false};
      return program_.kernels->repeat_each(floats, first, length, owned_block(slot), count);
    }
    case InputAccess::Kind::walk:
      break;
  }
  const InputAccess::Axis inner = access.axes.back();
  const auto offset_of = [&](dim_t row) {
    dim_t offset = 0;
    for (std::size_t a = access.axes.size() - 1; a-- > 0; row /= access.axes[a].extent) {
      offset += row % access.axes[a].extent * access.axes[a].stride;
    }
    return offset;
  };
  dim_t row = first / inner.extent, at = first % inner.extent;
  if (at + count <= inner.extent) {  // one run
    const dim_t offset = offset_of(row) + at * inner.stride;
    if (inner.stride == 0) return repeat(slot, load(run_.inputs[i], access.dtype, offset));
    if (access.dtype == DType::f32) {
      operand = {floats + offset, false};
      return;
    }
  }
  float* to = owned_block(slot);
  operand = {to, false};
  for (dim_t done = 0; done < count; ++row, at = 0) {
    const dim_t n = std::min(inner.extent - at, count - done);
    const dim_t offset = offset_of(row) + at * inner.stride;
    if (inner.stride == 0) {
      std::fill_n(to + done, n, load(run_.inputs[i], access.dtype, offset));
    } else {
      load_run(run_.inputs[i], access.dtype, offset, to + done, n);
    }
    done += n;
  }
}

void Evaluator::fill(int slot, const BlockProgram::Filled& filled, dim_t first,
                     dim_t count) noexcept {
  float* to = owned_block(slot);
  if (filled.operand.is(OperandKind::uniform)) {
    const auto draw = [&](dim_t from, float* y, dim_t n) {
      program_.kernels->uniform(run_.random.seed, filled.operand.index, run_.random.step, from, y,
                                n);
    };
    const dim_t before = first % kUniformAlign;
    if (before == 0) return draw(first, to, count);
    float wider[kUniformAlign + kBlock];  // rows of folds begin anywhere
    draw(first - before, wider, before + count);
    std::copy_n(wider + before, count, to);
    return;
  }
  dim_t place = first / filled.stride % filled.extent, left = filled.stride - first % filled.stride;
  for (dim_t done = 0; done < count; left = filled.stride) {
    const dim_t n = std::min(left, count - done);
    std::fill_n(to + done, n, static_cast<float>(place));
    done += n;
    place = place + 1 == filled.extent ? 0 : place + 1;
  }
}

const float* Evaluator::result(std::size_t r, dim_t count) noexcept {
  const BlockOperand& operand = slots_[static_cast<std::size_t>(program_.results[r].slot)];
  if (!operand.repeated) return operand.data;
  float* to = owned_block(program_.first_result() - 1 - static_cast<int>(r));
  std::fill_n(to, count, operand.data[0]);
  return to;
}

void Evaluator::store(std::size_t r, dim_t first, dim_t count, void* y) noexcept {
  const BlockOperand& x = slots_[static_cast<std::size_t>(program_.results[r].slot)];
  const dim_t step = x.repeated ? 0 : 1;
  switch (program_.results[r].dtype) {
    case DType::i32: {
      auto* to = static_cast<std::int32_t*>(y) + first;
      for (dim_t i = 0; i < count; ++i) to[i] = to_int32(x.data[i * step]);
      return;
    }
    case DType::u8: {
      auto* to = static_cast<std::uint8_t*>(y) + first;
      for (dim_t i = 0; i < count; ++i) to[i] = to_uint8(x.data[i * step]);
      return;
    }
    case DType::f32:
    case DType::bf16:
      break;
  }
  float* to = static_cast<float*>(y) + first;
  if (x.repeated) {
    std::fill_n(to, count, x.data[0]);
  } else if (to != x.data) {
    std::memcpy(to, x.data, static_cast<std::size_t>(count) * sizeof(float));
  }
}

void Evaluator::run(const BlockProgram::Call& call, dim_t count) noexcept {
  const auto operand = [&](int slot) { return slots_[static_cast<std::size_t>(slot)]; };
  float* y = const_cast<float*>(operand(call.y).data);
  if (call.links.empty()) {
    BlockOperand x[kMaxArity];
    for (int k = 0; k < call.arity; ++k) x[k] = operand(call.x[static_cast<std::size_t>(k)]);
    return call.kernel(y, x, count);
  }
  int length = 0;
  for (const BlockProgram::Link& link : call.links) {
    links_[static_cast<std::size_t>(length++)] = {link.function, operand(link.x)};
  }
  program_.kernels->chain(y, operand(call.x[0]), links_.data(), length, count);
}

void Evaluator::evaluate(dim_t first, dim_t count, void* const* y) noexcept {
  assert(0 < count && (count <= kBlock || program_.is_one_call()));
  const BlockProgram& p = program_;
  for (int slot = 0; slot < p.first_number(); ++slot) read(slot, first, count);
  for (std::size_t i = 0; i < p.filled.size(); ++i) {
    fill(p.first_filled() + static_cast<int>(i), p.filled[i], first, count);
  }
  for (std::size_t r = 0; r < p.results.size(); ++r) {
    if (!p.results[r].is_in_place) continue;
    slots_[static_cast<std::size_t>(p.results[r].slot)] = {static_cast<float*>(y[r]) + first,
                                                           false};
  }
  for (const BlockProgram::Call& call : p.code) run(call, count);
  if (y == nullptr) return;
  for (std::size_t r = 0; r < p.results.size(); ++r) {
    if (!p.results[r].is_in_place) store(r, first, count, y[r]);
  }
}

}  // namespace pycnn
