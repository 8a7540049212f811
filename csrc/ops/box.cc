// SPDX-License-Identifier: Apache-2.0
#include "ops/box.h"

#include <algorithm>
#include <cassert>
#include <cstdlib>

#include "kernels/eltwise/eltwise.h"

namespace pycnn {
namespace {

constexpr dim_t kBlock = 8192;        // floats in a task, as in elementwise ops
constexpr dim_t kStreamed = 1 << 20;  // larger boxes are not kept in caches
constexpr dim_t kTile = 16;  // a side of what is transposed at once: cache lines of 16 floats

using Counts = std::array<dim_t, BoxCopy::kMost>;

// Drops axes of one element and joins those that stay together; `from` and `to` as in BoxCopy.
void append_axes(BoxCopy& op, std::span<const BoxAxis> axes) noexcept {
  for (BoxAxis axis : axes) {
    if (axis.count == 1) continue;
    if (axis.to < 0) {
      op.from += (axis.count - 1) * axis.from, op.to += (axis.count - 1) * axis.to;
      axis.from = -axis.from, axis.to = -axis.to;
    }
    BoxAxis* outer = op.rank == 0 ? nullptr : &op.axes[static_cast<std::size_t>(op.rank - 1)];
    if (outer != nullptr && outer->from == axis.from * axis.count &&
        outer->to == axis.to * axis.count) {
      *outer = {outer->count * axis.count, axis.from, axis.to};
    } else {
      op.axes[static_cast<std::size_t>(op.rank++)] = axis;
    }
  }
}

BoxCopy collapsed(std::span<const BoxAxis> axes, dim_t from, dim_t to,
                  const EltwiseKernels* kernels) noexcept {
  BoxCopy op{.from = from, .to = to, .kernels = kernels};
  append_axes(op, axes);
  const auto push = [&](BoxAxis axis) { op.axes[static_cast<std::size_t>(op.rank++)] = axis; };
  const auto last = [&] { return op.axes[static_cast<std::size_t>(op.rank - 1)]; };
  if (op.rank == 0 || last().from != 1 || last().to != 1) push({1, 1, 1});
  if (op.rank == 1) {
    const BoxAxis run = last();
    op.axes[0] = {1, run.count, run.count};
    push(run);
  }
  op.near = op.rank - 2;
  for (int i = op.near - 1; i >= 0; --i) {
    const auto at = static_cast<std::size_t>(i), near = static_cast<std::size_t>(op.near);
    if (std::abs(op.axes[at].from) < std::abs(op.axes[near].from)) op.near = i;
  }
  return op;
}

// Elements along each axis that a task has: of the two closest, then as the memory of y.
Counts blocks_of(const BoxCopy& op) noexcept {
  Counts block;
  block.fill(1);
  dim_t left = kBlock;
  const auto take = [&](int axis, dim_t most) {
    dim_t& taken = block[static_cast<std::size_t>(axis)];
    if (taken != 1) return;
    taken = std::clamp<dim_t>(op.axes[static_cast<std::size_t>(axis)].count, 1,
                              std::max<dim_t>(1, std::min(left, most)));
    left /= taken;
  };
  take(op.rank - 1, left);
  if (op.near != op.rank - 2) {
    dim_t side = kTile;  // what is streamed leaves at once: long reads are all that counts
    while (!op.streams && 4 * side * side <= left) side *= 2;
    take(op.near, left / side);
    take(op.rank - 2, left);
  }
  for (int axis = op.rank - 2; axis >= 0; --axis) take(axis, left);
  return block;
}

// Single elements, of two axes; steps of 1 make rows of y from columns of x.
void copy_plane(const BoxCopy& op, const BoxAxis& near, dim_t nears, const BoxAxis& row, dim_t rows,
                const float* x, float* y) noexcept {
  if (near.from == 1 && row.to == 1) {
    return op.kernels->transpose(x, row.from, y, near.to, rows, nears, op.streams);
  }
  for (dim_t i0 = 0; i0 < nears; i0 += kTile) {
    for (dim_t j0 = 0; j0 < rows; j0 += kTile) {
      const dim_t i1 = std::min(i0 + kTile, nears), j1 = std::min(j0 + kTile, rows);
      for (dim_t i = i0; i < i1; ++i) {
        for (dim_t j = j0; j < j1; ++j) {
          y[i * near.to + j * row.to] = x[i * near.from + j * row.from];
        }
      }
    }
  }
}

void copy_part(const BoxCopy& op, const Counts& counts, int axis, const float* x,
               float* y) noexcept {
  const auto at = static_cast<std::size_t>(axis), near = static_cast<std::size_t>(op.near);
  const BoxAxis& here = op.axes[at];
  if (axis < op.rank - 2) {
    if (axis == op.near) return copy_part(op, counts, axis + 1, x, y);
    for (dim_t i = 0; i < counts[at]; ++i) {
      copy_part(op, counts, axis + 1, x + i * here.from, y + i * here.to);
    }
    return;
  }
  const bool apart = op.near != axis;
  const BoxAxis plane = apart ? op.axes[near] : BoxAxis{};
  const dim_t nears = apart ? counts[near] : 1, run = counts[at + 1];
  if (run == 1) return copy_plane(op, plane, nears, here, counts[at], x, y);
  for (dim_t i = 0; i < nears; ++i) {
    op.kernels->copy_rows(x + i * plane.from, here.from, y + i * plane.to, here.to, counts[at],
                          run);
  }
}

Counts counts_of(const BoxCopy& op) noexcept {
  Counts counts;
  std::ranges::transform(op.axes, counts.begin(), &BoxAxis::count);
  return counts;
}

dim_t elements_of(const BoxCopy& op) noexcept {
  dim_t product = 1;
  for (int a = 0; a < op.rank; ++a) product *= op.axes[static_cast<std::size_t>(a)].count;
  return product;
}

// What of y lies before and between the runs of the box that begins at `at`, from `end` on, where
// what is filled or will be copied ends. Returns the new end.
dim_t fill_gaps(const BoxCopy& op, int axis, dim_t at, dim_t end, float fill, float* y) noexcept {
  const BoxAxis& here = op.axes[static_cast<std::size_t>(axis)];
  if (axis == op.rank - 1) {
    std::fill_n(y + end, at - end, fill);
    return at + here.count;
  }
  for (dim_t i = 0; i < here.count; ++i) {
    end = fill_gaps(op, axis + 1, at + i * here.to, end, fill, y);
  }
  return end;
}

// What of the box lies in y's part of one task, `to` from its first float. No element, maybe.
BoxCopy part_of(const BoxPlace& op, dim_t task) noexcept {
  std::array<BoxAxis, kMaxRank> axes;
  const auto split = static_cast<std::size_t>(op.split), rank = static_cast<std::size_t>(op.rank);
  dim_t from = op.from, to = 0, pitch = 1;
  for (std::size_t a = rank - 1; a > split; --a) {
    const PlaceAxis& axis = op.axes[a];
    axes[a] = {axis.count, axis.from, axis.step * pitch};
    to += axis.first * pitch;
    pitch *= axis.extent;
  }
  for (std::size_t a = split + 1; a-- > 0;) {
    const PlaceAxis& axis = op.axes[a];
    const dim_t block = a == split ? op.block : 1, cuts = ceil_div(axis.extent, block);
    const dim_t begin = task % cuts * block, end = std::min(begin + block, axis.extent);
    task /= cuts;
    const auto before = [&](dim_t index) {  // elements of the box
      return std::min(ceil_div(std::max<dim_t>(index - axis.first, 0), axis.step), axis.count);
    };
    axes[a] = {before(end) - before(begin), axis.from, axis.step * pitch};
    if (axes[a].count == 0) return {.axes = {BoxAxis{0, 0, 0}}, .rank = 1};
    from += before(begin) * axis.from;
    if (a == split) to += (axis.first + before(begin) * axis.step - begin) * pitch;
  }
  return collapsed({axes.data(), rank}, from, to, op.kernels);
}

}  // namespace

BoxCopy make_box_copy(std::span<const BoxAxis> axes, dim_t from, dim_t to, Isa isa) {
  assert(axes.size() <= std::size_t{kMaxRank});
  BoxCopy op = collapsed(axes, from, to, &eltwise_kernels(isa));
  op.streams = elements_of(op) >= kStreamed;
  return op;
}

void copy_box(const BoxCopy& op, const float* x, float* y, Worker& worker) noexcept {
  assert(x != nullptr && y != nullptr && x != y);
  const Counts block = blocks_of(op);
  dim_t tasks = 1;
  for (int a = 0; a < op.rank; ++a) {
    const auto at = static_cast<std::size_t>(a);
    tasks *= ceil_div(op.axes[at].count, block[at]);
  }
  worker.parallel_for(tasks, [&](dim_t begin, dim_t end) noexcept {
    for (dim_t task = begin; task < end; ++task) {
      Counts counts;
      dim_t rest = task, from = op.from, to = op.to;
      for (int a = op.rank - 1; a >= 0; --a) {
        const auto at = static_cast<std::size_t>(a);
        const BoxAxis& axis = op.axes[at];
        const dim_t cuts = ceil_div(axis.count, block[at]), first = rest % cuts * block[at];
        counts[at] = std::min(block[at], axis.count - first);
        from += first * axis.from, to += first * axis.to;
        rest /= cuts;
      }
      copy_part(op, counts, 0, x + from, y + to);
    }
  });
}

BoxPlace make_box_place(std::span<const PlaceAxis> axes, Isa isa) {
  assert(axes.size() <= std::size_t{kMaxRank});
  BoxPlace op{.kernels = &eltwise_kernels(isa)};
  for (PlaceAxis axis : axes) {
    if (axis.step < 0) {
      axis.first += (axis.count - 1) * axis.step;
      op.from += (axis.count - 1) * axis.from;
      axis.step = -axis.step, axis.from = -axis.from;
    }
    assert(axis.first >= 0 && axis.first + (axis.count - 1) * axis.step < axis.extent);
    op.axes[static_cast<std::size_t>(op.rank++)] = axis;
  }
  op.split = op.rank - 1;
  const auto split = [&]() -> const PlaceAxis& {
    return op.axes[static_cast<std::size_t>(op.split)];
  };
  for (; op.split > 0 && split().extent <= kBlock / op.inner; --op.split)
    op.inner *= split().extent;
  op.block = std::clamp<dim_t>(kBlock / op.inner, 1, split().extent);
  return op;
}

void place_box(const BoxPlace& op, float fill, const float* x, float* y, Worker& worker) noexcept {
  assert(x != nullptr && y != nullptr && x != y);
  const PlaceAxis& split = op.axes[static_cast<std::size_t>(op.split)];
  const dim_t cuts = ceil_div(split.extent, op.block);
  dim_t tasks = cuts;
  for (int a = 0; a < op.split; ++a) tasks *= op.axes[static_cast<std::size_t>(a)].extent;
  worker.parallel_for(tasks, [&](dim_t begin, dim_t end) noexcept {
    for (dim_t task = begin; task < end; ++task) {
      const dim_t first = task % cuts * op.block;
      const dim_t count = std::min(op.block, split.extent - first) * op.inner;
      float* part = y + (task / cuts * split.extent + first) * op.inner;
      const BoxCopy box = part_of(op, task);
      const bool scattered = box.axes[static_cast<std::size_t>(box.rank - 1)].count <= 1;
      const dim_t filled = scattered ? 0 : fill_gaps(box, 0, box.to, 0, fill, part);
      std::fill_n(part + filled, count - filled, fill);
      if (elements_of(box) > 0) copy_part(box, counts_of(box), 0, x + box.from, part + box.to);
    }
  });
}

}  // namespace pycnn
