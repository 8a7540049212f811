// SPDX-License-Identifier: Apache-2.0
// How the caller's arrays come in and go out.
#include <algorithm>
#include <cstring>

#include "plan/lowering.h"

namespace pycnn {
namespace {

void cast_bytes(const std::byte* from, float* to, dim_t count) noexcept {
  for (dim_t i = 0; i < count; ++i) to[i] = static_cast<float>(std::to_integer<int>(from[i]));
}

}  // namespace

// Copies the batch's rows of the caller's arrays, unless they are lent; bytes become floats here
// and no earlier.
void Lowering::lower_input(const Node& node, int position) {
  const ValueId v = node.outputs[0];
  const BufferId to = buffer_of(v);
  const DType dtype = graph_.value(v).dtype;
  if (!graph_.shape(v).has_batch()) return lower_whole_input(node, position);
  const std::size_t row_bytes = row_bytes_of(v);
  const dim_t row_count = static_cast<dim_t>(row_bytes / sizeof(float)), rows = batch_;
  const auto slot = static_cast<std::size_t>(position);
  // Not labels: they are checked before they are used as an index, and might change between.
  if (dtype == DType::f32) schedule_.lendable.push_back({to, slot, row_bytes});
  add_step(node, [=](RunContext& run, Worker& worker) {
    if (run.lent[slot]) return;
    const RunRequest& asked = *run.request;
    const InputArray& given = asked.inputs[slot];
    const bool casts = given.dtype != dtype;
    const std::size_t given_bytes = casts ? static_cast<std::size_t>(row_count) : row_bytes;
    worker.parallel_for(rows, [&](dim_t begin, dim_t end) noexcept {
      for (dim_t i = begin; i < end; ++i) {
        const dim_t row = asked.rows != nullptr ? asked.rows[i] : asked.start + i;
        const std::byte* from = static_cast<const std::byte*>(given.data) + row * given_bytes;
        if (casts) {
          cast_bytes(from, run.floats(to) + i * row_count, row_count);
        } else {
          std::memcpy(run.bytes(to) + static_cast<std::size_t>(i) * row_bytes, from, row_bytes);
        }
      }
    });
  });
}

// One that has no samples.
void Lowering::lower_whole_input(const Node& node, int position) {
  const ValueId v = node.outputs[0];
  const BufferId to = buffer_of(v);
  const std::size_t bytes = bytes_of(v);
  const dim_t count = count_of(v);
  const DType dtype = graph_.value(v).dtype;
  const auto slot = static_cast<std::size_t>(position);
  if (dtype == DType::f32) schedule_.lendable.push_back({to, slot, 0});
  add_step(node, [=](RunContext& run, Worker& worker) {
    if (run.lent[slot]) return;
    worker.single([&] {
      const InputArray& given = run.request->inputs[slot];
      if (given.dtype != dtype) {
        cast_bytes(static_cast<const std::byte*>(given.data), run.floats(to), count);
      } else {
        std::memcpy(run.bytes(to), given.data, bytes);
      }
    });
  });
}

// Copies a result to the caller's array, rows start, start + 1, ... or, where it has no samples, as
// a whole. Scalars and kernels are fetched in other ways.
void Lowering::lower_output(ValueId v, int position) {
  if (schedule_.shapes[v].rank() == 0 || schedule_.layout[v]) return;
  const BufferId from = buffer_of(v);
  if (!graph_.shape(v).has_batch()) {
    const std::size_t bytes = bytes_of(v);
    const auto slot = static_cast<std::size_t>(position);
    const auto copy = [=](RunContext& run, Worker& worker) {
      void* to = run.request->outputs[slot];
      if (to != nullptr) worker.single([&] { std::memcpy(to, run.bytes(from), bytes); });
    };
    schedule_.steps.push_back({.op = "output", .name = graph_.value(v).name, .run = copy});
    return;
  }
  const std::size_t row_bytes = row_bytes_of(v);
  const dim_t rows = batch_;
  const auto slot = static_cast<std::size_t>(position);
  const auto copy = [=](RunContext& run, Worker& worker) {
    auto* to = static_cast<std::byte*>(run.request->outputs[slot]);
    if (to == nullptr) return;
    worker.parallel_for(rows, [&](dim_t begin, dim_t end) noexcept {
      std::memcpy(to + static_cast<std::size_t>(run.request->start + begin) * row_bytes,
                  run.bytes(from) + static_cast<std::size_t>(begin) * row_bytes,
                  static_cast<std::size_t>(end - begin) * row_bytes);
    });
  };
  schedule_.steps.push_back({.op = "output", .name = graph_.value(v).name, .run = copy});
}

// Of the candidates, those that no step writes to and that callers cannot ask for after the run.
void Lowering::keep_lendable() {
  IdVector<BufferId, bool> taken(schedule_.buffers.size());
  const auto take = [&](ValueId v) {
    if (buffer_of(v).has_value()) taken[buffer_of(v)] = true;
  };
  for (const ValueId v : graph_.outputs()) take(v);
  for (const FusedNode& node : nodes_) {
    if (node.op != OpKind::input && !definition(node.op).is_view)
      std::ranges::for_each(node.outputs, take);
  }
  std::erase_if(schedule_.lendable, [&](const LendableInput& i) { return taken[i.buffer]; });
}

}  // namespace pycnn
