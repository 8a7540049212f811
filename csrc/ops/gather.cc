// SPDX-License-Identifier: Apache-2.0
#include "ops/gather.h"

#include <algorithm>
#include <array>
#include <cassert>

#include "base/shape.h"
#include "kernels/eltwise/eltwise.h"

namespace pycnn {
namespace {

constexpr dim_t kBlock = 8192;  // floats in a task, as in elementwise ops
constexpr dim_t kTerms = 256;   // that are summed at once; longer sums are sums of such sums
constexpr dim_t kFewRows = 64;  // fewer rows of dx are cut into columns, too
constexpr dim_t kColumnBlock = 64;

bool is_inside(std::int32_t index, dim_t extent) { return index >= 0 && index < extent; }

// The picks of each index, in order: order[begin[i]] ... order[begin[i + 1] - 1].
void sort_picks(const Gather& op, const std::int32_t* indices, std::int32_t* begin,
                std::int32_t* order) noexcept {
  std::fill_n(begin, op.extent + 1, 0);
  for (dim_t p = 0; p < op.picks; ++p) {
    if (is_inside(indices[p], op.extent)) ++begin[indices[p] + 1];
  }
  for (dim_t i = 0; i < op.extent; ++i) begin[i + 1] += begin[i];
  for (dim_t p = 0; p < op.picks; ++p) {
    if (is_inside(indices[p], op.extent)) order[begin[indices[p]]++] = static_cast<std::int32_t>(p);
  }
  // Each begin is now where the next one starts.
  std::copy_backward(begin, begin + op.extent, begin + op.extent + 1);
  begin[0] = 0;
}

}  // namespace

Gather make_gather(dim_t outer, dim_t extent, dim_t picks, dim_t run, Isa isa) {
  assert(outer >= 0 && extent >= 1 && picks >= 0 && run >= 1);
  assert(std::max(extent, picks) <= kMaxExtent);
  return {outer, extent, picks, run, &eltwise_kernels(isa)};
}

void gather_forward(const Gather& op, const float* x, const std::int32_t* indices, float missing,
                    float* y, Worker& worker) noexcept {
  const dim_t rows = op.outer * op.picks, block = std::max<dim_t>(1, kBlock / op.run);
  worker.parallel_for(ceil_div(rows, block), [&](dim_t begin, dim_t end) noexcept {
    for (dim_t row = begin * block; row < std::min(end * block, rows); ++row) {
      const std::int32_t index = indices[row % op.picks];
      float* out = y + row * op.run;
      if (!is_inside(index, op.extent)) {
        std::fill_n(out, op.run, missing);
      } else {
        const float* in = x + (row / op.picks * op.extent + index) * op.run;
        op.kernels->copy_rows(in, 0, out, 0, 1, op.run);
      }
    }
  });
}

void gather_backward(const Gather& op, const float* dy, const std::int32_t* indices, float* dx,
                     std::int32_t* workspace, Worker& worker) noexcept {
  std::int32_t* const order = workspace + op.extent + 1;
  worker.single([&] { sort_picks(op, indices, workspace, order); });
  const dim_t rows = op.outer * op.extent, width = rows < kFewRows ? kColumnBlock : op.run;
  const dim_t cuts = ceil_div(op.run, width), terms = std::max<dim_t>(1, op.picks / op.extent);
  const dim_t block = std::max<dim_t>(1, kBlock / std::min(op.run, width) / terms);
  worker.parallel_for(ceil_div(rows, block) * cuts, [&](dim_t begin, dim_t end) noexcept {
    std::array<WeightedTerm, kTerms> term;
    for (dim_t task = begin; task < end; ++task) {
      const dim_t first = task / cuts * block, column = task % cuts * width;
      const dim_t columns = std::min(width, op.run - column);
      for (dim_t row = first; row < std::min(first + block, rows); ++row) {
        const dim_t index = row % op.extent, stop = workspace[index + 1];
        const float* in = dy + row / op.extent * op.picks * op.run + column;
        dim_t k = workspace[index];
        bool adds = false;
        do {
          const dim_t count = std::min(kTerms, stop - k);
          for (dim_t i = 0; i < count; ++i) {
            term[static_cast<std::size_t>(i)] = {dim_t{order[k + i]} * op.run, 1.0f};
          }
          op.kernels->weighted_sum(term.data(), count, in, dx + row * op.run + column, columns,
                                   adds);
          k += count, adds = true;
        } while (k < stop);
      }
    }
  });
}

}  // namespace pycnn
