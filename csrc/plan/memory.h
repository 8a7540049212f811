// SPDX-License-Identifier: Apache-2.0
// Places buffers with known lifetimes in one arena.
#pragma once

#include <cstddef>
#include <vector>

namespace pycnn {

// A buffer lives from the step that first writes it to the step that last reads it, both included.
struct Lifetime {
  std::size_t bytes = 0;
  int first = 0, last = 0;
};

struct ArenaLayout {
  std::vector<std::size_t> offsets;
  std::size_t bytes = 0;        // of the arena
  std::size_t lower_bound = 0;  // the largest sum of live buffers at any step
};

// Greedy by size: each buffer, largest first, at the lowest offset free during its whole life.
ArenaLayout place(const std::vector<Lifetime>& buffers);

}  // namespace pycnn
