// SPDX-License-Identifier: Apache-2.0
#include "plan/memory.h"

#include <algorithm>
#include <cassert>
#include <numeric>

#include "base/checked.h"

namespace pycnn {
namespace {

constexpr std::size_t kAlignment = 64;

std::size_t aligned(std::size_t bytes) { return bytes_rounded_up(bytes, kAlignment); }

std::size_t sum(std::size_t a, std::size_t b) { return (Checked(a) + Checked(b)).bytes(); }

bool overlap(const Lifetime& a, const Lifetime& b) {
  return a.first <= b.last && b.first <= a.last;
}

}  // namespace

ArenaLayout place(const std::vector<Lifetime>& buffers) {
  std::vector<std::size_t> order(buffers.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return buffers[a].bytes > buffers[b].bytes;
  });
  ArenaLayout layout;
  layout.offsets.resize(buffers.size());
  std::vector<std::size_t> placed;  // sorted by offset
  for (const std::size_t i : order) {
    assert(0 <= buffers[i].first && buffers[i].first <= buffers[i].last);
    const std::size_t bytes = aligned(buffers[i].bytes);
    std::size_t offset = 0;
    for (const std::size_t j : placed) {
      if (!overlap(buffers[i], buffers[j])) continue;
      if (sum(offset, bytes) <= layout.offsets[j]) break;
      offset = std::max(offset, sum(layout.offsets[j], aligned(buffers[j].bytes)));
    }
    layout.offsets[i] = offset;
    layout.bytes = std::max(layout.bytes, sum(offset, bytes));
    const auto at = std::upper_bound(
        placed.begin(), placed.end(), offset,
        [&](std::size_t value, std::size_t j) { return value < layout.offsets[j]; });
    placed.insert(at, i);
  }
  int steps = 0;
  for (const Lifetime& b : buffers) steps = std::max(steps, b.last + 1);
  std::vector<std::ptrdiff_t> change(static_cast<std::size_t>(steps) + 1);
  for (const Lifetime& b : buffers) {
    change[static_cast<std::size_t>(b.first)] += static_cast<std::ptrdiff_t>(aligned(b.bytes));
    change[static_cast<std::size_t>(b.last) + 1] -= static_cast<std::ptrdiff_t>(aligned(b.bytes));
  }
  std::ptrdiff_t live = 0;
  for (const std::ptrdiff_t delta : change) {
    live += delta;
    layout.lower_bound = std::max(layout.lower_bound, static_cast<std::size_t>(live));
  }
  return layout;
}

}  // namespace pycnn
