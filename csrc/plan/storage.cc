// SPDX-License-Identifier: Apache-2.0
#include "plan/storage.h"

#include <cstring>
#include <string>

#include "base/error.h"

namespace pycnn {

MemoryMode memory_mode(const std::string& name) {
  if (name == "planned") return MemoryMode::planned;
  if (name == "guard_end") return MemoryMode::guard_end;
  if (name == "guard_begin") return MemoryMode::guard_begin;
  throw Error(ErrorKind::value,
              concat("memory: expected planned, guard_end or guard_begin, got '", name, "'"));
}

Storage::Storage(std::size_t bytes, MemoryMode mode) {
  if (mode == MemoryMode::planned) {
    memory_ = Buffer(bytes);
    return;
  }
  memory_.emplace<GuardedBuffer>(bytes,
                                 mode == MemoryMode::guard_end ? GuardSide::end : GuardSide::begin);
  std::memset(data(), 0xFF, bytes);
}

std::byte* Storage::data() const {
  return std::visit([](const auto& memory) { return memory.data(); }, memory_);
}

}  // namespace pycnn
