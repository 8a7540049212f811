// SPDX-License-Identifier: Apache-2.0
// Memory of plans and parameters: ordinary, or for tests each block against an inaccessible page.
#pragma once

#include <string>
#include <variant>

#include "base/buffer.h"

namespace pycnn {

enum class MemoryMode { planned, guard_end, guard_begin };
MemoryMode memory_mode(const std::string& name);  // throws Error for an unknown name

// Zero-filled where planned; filled with NaN where guarded, so that reading before writing shows.
class Storage {
 public:
  Storage(std::size_t bytes, MemoryMode mode);
  std::byte* data() const;

 private:
  std::variant<Buffer, GuardedBuffer> memory_;
};

}  // namespace pycnn
