// SPDX-License-Identifier: Apache-2.0
// Expressions made ready: where inputs are read, which slots instructions use, what runs in chains.
#include <algorithm>
#include <cassert>

#include "ops/evaluator.h"

namespace pycnn {
namespace {

// Inputs of more elements lie beyond the caches of a core. Costly functions leave gaps there that a
// processor's own prefetching, which sees a page at most, does not fill; cheap ones leave none.
constexpr dim_t kFarElements = dim_t{1} << 20;

// The axes of an input seen from the output, neighbours merged that are walked as one.
InputAccess make_access(const MapInput& input, const Shape& shape) {
  InputAccess access{.dtype = input.dtype};
  dim_t stride = 1;
  std::vector<InputAccess::Axis> inner_first;
  for (int axis = 1; axis <= shape.rank(); ++axis) {
    const dim_t extent = shape[-axis], own = axis <= input.shape.rank() ? input.shape[-axis] : 1;
    assert(own == extent || own == 1);
    const InputAccess::Axis seen{extent, own == 1 ? 0 : stride};
    stride *= own;
    if (extent == 1) continue;
    InputAccess::Axis* last = inner_first.empty() ? nullptr : &inner_first.back();
    if (last != nullptr && seen.stride == last->stride * last->extent) {
      last->extent *= extent;
    } else {
      inner_first.push_back(seen);
    }
  }
  access.axes.assign(inner_first.rbegin(), inner_first.rend());
  const std::size_t axes = access.axes.size();
  const bool repeated = axes == 0 || (axes == 1 && access.axes[0].stride == 0);
  const bool rows = axes == 2 && access.axes[0].stride == 0 && access.axes[1].stride == 1;
  if (repeated) {
    access.kind = InputAccess::Kind::scalar;
  } else if (axes == 1 && input.dtype == DType::f32) {
    access.kind = InputAccess::Kind::direct;
  } else if (axes == 2 && access.axes[0].stride == 1 && access.axes[1].stride == 0 &&
             input.dtype == DType::f32) {
    access.kind = InputAccess::Kind::repeat;
  } else if (rows && access.axes[1].extent < kBlock) {
    access.kind = InputAccess::Kind::pattern;
  } else {
    access.kind = InputAccess::Kind::walk;
  }
  return access;
}

BlockProgram::Filled make_filled(const Operand& operand, const Shape& shape) {
  BlockProgram::Filled filled{operand};
  if (!operand.is(OperandKind::iota)) return filled;
  const int axis = static_cast<int>(operand.index);
  filled.extent = shape[axis];
  for (int inner = axis + 1; inner < shape.rank(); ++inner) filled.stride *= shape[inner];
  return filled;
}

struct ChainRow {
  Function function;
  std::size_t place;  // of the chain's value among the operands
  ChainFunction link;
};
constexpr ChainRow kChainRows[] = {
    {Function::add, 0, ChainFunction::add},
    {Function::add, 1, ChainFunction::add},
    {Function::subtract, 0, ChainFunction::subtract},
    {Function::subtract, 1, ChainFunction::subtract_from},
    {Function::multiply, 0, ChainFunction::multiply},
    {Function::multiply, 1, ChainFunction::multiply},
    {Function::divide, 0, ChainFunction::divide},
    {Function::divide, 1, ChainFunction::divide_into},
    {Function::maximum, 0, ChainFunction::maximum},
    {Function::maximum, 1, ChainFunction::maximum_of},
    {Function::minimum, 0, ChainFunction::minimum},
    {Function::minimum, 1, ChainFunction::minimum_of},
    {Function::square, 0, ChainFunction::square},
    {Function::sqrt, 0, ChainFunction::sqrt},
    {Function::negative, 0, ChainFunction::negative},
};
const ChainRow* chain_row(Function function, std::size_t place) {
  for (const ChainRow& row : kChainRows) {
    if (row.function == function && row.place == place) return &row;
  }
  return nullptr;
}

// Which instructions run together: each names the one behind it in its chain, the only reader of
// its result. A chain runs where its last instruction stands.
class Chains {
 public:
  explicit Chains(const Expression& expression)
      : code_(expression.code), next_(code_.size(), kNone), place_(code_.size()) {
    std::vector<int> reads(code_.size());
    for_each_operand(expression, [&](const Operand& operand) {
      if (operand.is(OperandKind::result)) ++reads[operand.index];
    });
    for (std::size_t i = 0; i < code_.size(); ++i) {
      for (std::size_t k = 0; k < code_[i].arity(); ++k) {
        const Operand& operand = code_[i].operands[k];
        const bool extends = operand.is(OperandKind::result) && reads[operand.index] == 1 &&
                             is_cheap(operand.index) && chain_row(code_[i].function, k);
        if (!extends) continue;
        next_[operand.index] = i;
        place_[i] = k;
        break;
      }
    }
  }

  bool is_last(std::size_t i) const { return next_[i] == kNone; }
  std::size_t runs_at(std::size_t i) const {
    while (!is_last(i)) i = next_[i];
    return i;
  }
  // The instructions of the chain that ends with i, in order.
  std::vector<std::size_t> members(std::size_t i) const {
    std::vector<std::size_t> chain{i};
    while (true) {
      const Operand& value = code_[chain.front()].operands[place_[chain.front()]];
      const bool continues = value.is(OperandKind::result) && next_[value.index] == chain.front();
      if (!continues) return chain;
      chain.insert(chain.begin(), value.index);
    }
  }
  std::size_t place(std::size_t i) const { return place_[i]; }  // of the value among operands

 private:
  static constexpr std::size_t kNone = kMaxInstructions;
  bool is_cheap(std::size_t i) const { return chain_row(code_[i].function, 0) != nullptr; }

  const std::vector<Instruction>& code_;
  std::vector<std::size_t> next_, place_;
};

// Gives instructions their slots. A block is free again once its last reader has run, which may
// write its own result there.
class SlotAllocation {
 public:
  SlotAllocation(BlockProgram& program, const Expression& expression,
                 const std::vector<MapOutput>& outputs)
      : program_(program),
        expression_(expression),
        chains_(expression),
        outputs_(outputs),
        slots_(expression.code.size(), -1),
        last_read_(expression.code.size()) {}

  void run() {
    find_last_reads();
    for (std::size_t i = 0; i < slots_.size(); ++i) {
      if (chains_.is_last(i)) place(i);
    }
    // Numbers that are results are repeated into blocks of their own, see Evaluator::result.
    program_.blocks += static_cast<int>(expression_.results.size());
    for (std::size_t i = 0; i < slots_.size(); ++i) {
      if (chains_.is_last(i)) add_call(i);
    }
    for (std::size_t r = 0; r < expression_.results.size(); ++r) {
      const Operand& result = expression_.results[r];
      program_.results.push_back(
          {.slot = slot_of(result),
           .dtype = outputs_.empty() ? DType::f32 : outputs_[r].dtype,
           .is_in_place = result.is(OperandKind::result) && is_final(slots_[result.index], r)});
    }
  }

 private:
  static constexpr int kFinal = 1 << 20;  // + r: the slot of result r

  bool is_final(int slot, std::size_t r) const { return slot == kFinal + static_cast<int>(r); }

  void find_last_reads() {
    for (std::size_t i = 0; i < slots_.size(); ++i) {
      const Instruction& instruction = expression_.code[i];
      for (std::size_t k = 0; k < instruction.arity(); ++k) {
        read_at(instruction.operands[k], chains_.runs_at(i));
      }
    }
    for (const Operand& result : expression_.results) read_at(result, slots_.size());
  }
  void read_at(const Operand& operand, std::size_t i) {
    if (!operand.is(OperandKind::result)) return;
    last_read_[operand.index] = std::max(last_read_[operand.index], i);
  }

  // May instruction i write result r where it belongs? Not over an input that is read later.
  bool can_be_final(std::size_t i, std::size_t r) const {
    if (outputs_.empty() || outputs_[r].dtype != DType::f32) return false;
    if (outputs_[r].in_place < 0) return true;
    const Operand taken = Operand::input(static_cast<std::size_t>(outputs_[r].in_place));
    for (std::size_t j = 0; j < slots_.size(); ++j) {
      const auto& operands = expression_.code[j].operands;
      const bool is_read = std::ranges::find(operands, taken) != operands.end();
      if (is_read && chains_.runs_at(j) > i) return false;
    }
    return std::ranges::find(expression_.results, taken) == expression_.results.end();
  }

  void place(std::size_t i) {
    for (const std::size_t m : chains_.members(i)) {
      const Instruction& instruction = expression_.code[m];
      for (std::size_t k = 0; k < instruction.arity(); ++k) release(instruction.operands[k], i);
    }
    for (std::size_t r = 0; r < expression_.results.size(); ++r) {
      if (expression_.results[r] == Operand::result(i) && can_be_final(i, r)) {
        slots_[i] = kFinal + static_cast<int>(r);
        return;
      }
    }
    if (free_.empty()) free_.push_back(program_.blocks++);
    slots_[i] = free_.back();
    free_.pop_back();
  }
  void release(const Operand& operand, std::size_t i) {
    if (!operand.is(OperandKind::result) || last_read_[operand.index] != i) return;
    const int slot = slots_[operand.index];  // -1: within a chain
    if (slot >= 0 && slot < kFinal && std::ranges::find(free_, slot) == free_.end())
      free_.push_back(slot);
  }

  int slot_of(const Operand& operand) const {
    switch (operand.kind) {
      case OperandKind::input:
        return static_cast<int>(operand.index);
      case OperandKind::result: {
        const int slot = slots_[operand.index];
        return slot < kFinal ? program_.first_block() + slot
                             : program_.first_result() + slot - kFinal;
      }
      case OperandKind::iota:
      case OperandKind::uniform: {
        const auto found =
            std::ranges::find(program_.filled, operand, &BlockProgram::Filled::operand);
        return program_.first_filled() + static_cast<int>(found - program_.filled.begin());
      }
      default: {
        const auto found = std::ranges::find(program_.numbers, operand);
        return program_.first_number() + static_cast<int>(found - program_.numbers.begin());
      }
    }
  }

  void add_call(std::size_t i) {
    const std::vector<std::size_t> chain = chains_.members(i);
    const Instruction& instruction = expression_.code[chain[0]];
    BlockProgram::Call call{
        .kernel = program_.kernels->call[static_cast<std::size_t>(instruction.function)],
        .y = slot_of(Operand::result(i)),
        .arity = static_cast<int>(instruction.arity())};
    for (std::size_t k = 0; k < instruction.arity(); ++k) {
      call.x[k] = slot_of(instruction.operands[k]);
    }
    if (chain.size() > 1) {
      call.arity = 0;
      call.x[0] = slot_of(instruction.operands[chains_.place(chain[0])]);
      for (const std::size_t m : chain) call.links.push_back(link_of(m));
    }
    program_.code.push_back(call);
  }
  BlockProgram::Link link_of(std::size_t i) const {
    const Instruction& instruction = expression_.code[i];
    const std::size_t place = chains_.place(i);
    const ChainFunction function = chain_row(instruction.function, place)->link;
    if (instruction.arity() == 1) return {function, 0};
    return {function, slot_of(instruction.operands[1 - place])};
  }

  BlockProgram& program_;
  const Expression& expression_;
  const Chains chains_;
  const std::vector<MapOutput>& outputs_;
  std::vector<int> slots_;              // of each instruction: a block, or kFinal + r
  std::vector<std::size_t> last_read_;  // by which instruction
  std::vector<int> free_;
};

}  // namespace

bool BlockProgram::is_one_call() const {
  const auto in_place = [](const InputAccess& access) {
    return access.kind == InputAccess::Kind::direct || access.kind == InputAccess::Kind::scalar;
  };
  return code.size() == 1 && results.size() == 1 && results[0].is_in_place && filled.empty() &&
         std::ranges::all_of(inputs, in_place);
}

BlockProgram make_block_program(const Expression& expression, const Shape& shape,
                                const std::vector<MapInput>& inputs,
                                const std::vector<MapOutput>& outputs, dim_t batch, Isa isa) {
  assert(outputs.empty() || outputs.size() == expression.results.size());
  BlockProgram program;
  program.batch = static_cast<float>(batch);
  program.kernels = &expression_kernels(isa);
  for (const MapInput& input : inputs) program.inputs.push_back(make_access(input, shape));
  for_each_operand(expression, [&](const Operand& operand) {
    const bool filled = operand.is(OperandKind::iota) || operand.is(OperandKind::uniform);
    if (operand.is(OperandKind::input) || operand.is(OperandKind::result)) return;
    if (filled) {
      if (std::ranges::find(program.filled, operand, &BlockProgram::Filled::operand) ==
          program.filled.end()) {
        program.filled.push_back(make_filled(operand, shape));
      }
    } else if (std::ranges::find(program.numbers, operand) == program.numbers.end()) {
      program.numbers.push_back(operand);
    }
  });
  SlotAllocation(program, expression, outputs).run();
  program.fetches_ahead = shape.count() >= kFarElements &&
                          std::ranges::any_of(expression.code, [](const Instruction& instruction) {
                            return chain_row(instruction.function, 0) == nullptr;
                          });
  assert(static_cast<std::size_t>(program.first_result()) + kMaxResults <= kMaxSlots);
  return program;
}

}  // namespace pycnn
