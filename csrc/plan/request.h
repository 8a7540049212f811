// SPDX-License-Identifier: Apache-2.0
// What a run is asked, and what its steps read while they run.
#pragma once

#include <array>
#include <cassert>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/gate.h"
#include "base/id.h"
#include "base/rng.h"
#include "base/types.h"

namespace pycnn {

struct BufferKind {
  static constexpr char kName[] = "buffer";
};
using BufferId = Id<BufferKind>;
constexpr BufferId kNoBuffer;

constexpr std::size_t kMaxArrays = 16;

struct InputArray {
  const void* data = nullptr;
  DType dtype = DType::f32;  // the graph's, or u8 for an input of f32: 0 ... 255
};

struct RunRequest {
  std::array<InputArray, kMaxArrays> inputs{};  // whole arrays; rows or start choose the samples
  std::array<void*, kMaxArrays> outputs{};      // whole arrays, written from row `start`, or null
  const std::int64_t* rows = nullptr;  // which samples make the batch; null: start, start + 1, ...
  std::vector<std::int64_t> own_rows;  // where rows may point
  dim_t start = 0;
  float learning_rate = 0;
  std::uint64_t seed = 0;
  std::optional<std::uint32_t> step;  // from 1; nothing: the one after the optimizer's last
  bool check_finite = true;           // else numbers that are not finite stop no step
  bool (*interrupted)() = nullptr;    // asked every few milliseconds; true: stop before any update
};

// What steps read while they run: where each buffer is, and what this run was asked.
struct RunContext {
  std::vector<std::byte*> memory;       // by BufferId::entry(); null for none
  const RunRequest* request = nullptr;  // of this run
  std::array<bool, kMaxArrays> lent{};  // inputs that are read in the caller's memory
  RandomState random;
  bool weights_changed = true;      // since the plan's last complete run
  std::int64_t kernels_packed = 0;  // of transposed convolutions, in all runs so far
  bool failed = false;  // set by a check step: where asked, the steps after it are skipped
  const std::string* overflowing = nullptr;  // whose update would not be finite
  std::optional<Entry> updating = {};        // of the fork gate, from before the first update on

  float* floats(BufferId id) const { return reinterpret_cast<float*>(bytes(id)); }
  std::uint8_t* indices(BufferId id) const { return reinterpret_cast<std::uint8_t*>(bytes(id)); }
  std::byte* bytes(BufferId id) const {
    assert(id.entry() < memory.size());
    return memory[id.entry()];
  }
};

}  // namespace pycnn
