// SPDX-License-Identifier: Apache-2.0
#include "ops/fold.h"

#include <algorithm>
#include <cassert>
#include <limits>

#include "ops/evaluator.h"

namespace pycnn {
namespace {

constexpr dim_t kSectionFloats = 8192;                   // of a row
constexpr dim_t kLeastSection = 16, kMostSection = 128;  // rows of columns that are folded
constexpr dim_t kTaskFloats = 8192;
constexpr dim_t kCombineBlock = 64;  // results per task of the second pass
static_assert(kBlock % kFoldLanes == 0 && kSectionFloats % kBlock == 0);

bool is_arg(ReduceKind kind) { return kind == ReduceKind::arg_max || kind == ReduceKind::arg_min; }

// Rows that fit a block are folded several at a time; longer ones section by section.
bool has_short_rows(const Fold& op) { return op.inner == 1 && op.length <= kBlock; }

dim_t section_of(ReduceKind kind, dim_t length, dim_t inner) {
  if (is_arg(kind)) return length;
  const dim_t most = inner == 1 ? kSectionFloats
                                : std::clamp(4 * kTaskFloats / inner, kLeastSection, kMostSection);
  return std::min(length, most);
}

const FoldKernels& kernels_of(const Fold& op) {
  const auto kind = op.kind == ReduceKind::max ? 1 : op.kind == ReduceKind::min ? 2 : 0;
  return op.program.kernels->fold[kind];
}

float finished(const Fold& op, double value) noexcept {
  return static_cast<float>(op.divisor == 1 ? value : value / op.divisor);
}

// y /= divisor
void divide(const Fold& op, float* y, dim_t count) noexcept {
  if (op.divisor == 1) return;
  std::array<float, kMostLanes> divisor;
  divisor.fill(static_cast<float>(op.divisor));
  const BlockOperand operands[] = {{y, false}, {divisor.data(), true}};
  op.program.kernels->call[static_cast<std::size_t>(Function::divide)](y, operands, count);
}

double combined(const Fold& op, double a, double b) noexcept {
  if (op.kind == ReduceKind::sum) return a + b;
  if (a != a) return a;
  if (op.kind == ReduceKind::max) return b > a || b != b ? b : a;
  return b < a || b != b ? b : a;
}

// The evaluator's memory first, then that of the fold.
float* own_scratch(const Fold& op, Worker& worker) {
  return worker.scratch_floats() + op.program.scratch_floats();
}

void fold_short_rows(const Fold& op, const ExpressionRun& run, float* y, Worker& worker) noexcept {
  const dim_t rows = kBlock / op.length, blocks = ceil_div(op.outer, rows);
  const dim_t grain = ceil_div(kTaskFloats, rows * op.length);
  worker.parallel_for(ceil_div(blocks, grain), [&](dim_t begin, dim_t end) noexcept {
    Evaluator evaluator(op.program, run, worker.scratch_floats());
    const dim_t stop = std::min(op.outer, end * grain * rows);
    for (dim_t row = begin * grain * rows; row < stop; row += rows) {
      const dim_t count = std::min(rows, stop - row);
      evaluator.evaluate(row * op.length, count * op.length, nullptr);
      const float* x = evaluator.result(0, count * op.length);
      kernels_of(op).rows(x, count, op.length, y + row);
      divide(op, y + row, count);
    }
  });
}

// A section of a row: kFoldLanes running results, element i in lane i % kFoldLanes.
void fold_long_rows(const Fold& op, const ExpressionRun& run, float* parts,
                    Worker& worker) noexcept {
  worker.parallel_for(op.outer * op.sections(), [&](dim_t begin, dim_t end) noexcept {
    Evaluator evaluator(op.program, run, worker.scratch_floats());
    float* lanes = own_scratch(op, worker);
    for (dim_t task = begin; task < end; ++task) {
      const dim_t row = task / op.sections(), first = task % op.sections() * op.section;
      const dim_t stop = std::min(op.length, first + op.section);
      kernels_of(op).begin(lanes, kFoldLanes);
      for (dim_t i = first; i < stop; i += kBlock) {
        const dim_t count = std::min(kBlock, stop - i);
        evaluator.evaluate(row * op.length + i, count, nullptr);
        kernels_of(op).lanes(evaluator.result(0, count), count, lanes);
      }
      parts[task] = kernels_of(op).finish(lanes);
    }
  });
}

// Columns of a section: blocks of whole rows where these are short, else a block of columns, row
// after row.
void fold_columns(const Fold& op, const ExpressionRun& run, float* parts, Worker& worker) noexcept {
  const dim_t width = std::min(op.inner, kBlock), tiles = ceil_div(op.inner, width);
  const dim_t rows = op.inner > kBlock ? 1 : kBlock / op.inner;
  const dim_t grain = std::max<dim_t>(1, kTaskFloats / (op.section * width));
  const dim_t tasks = op.outer * op.sections() * tiles;
  worker.parallel_for(ceil_div(tasks, grain), [&](dim_t begin, dim_t end) noexcept {
    Evaluator evaluator(op.program, run, worker.scratch_floats());
    for (dim_t task = begin * grain; task < std::min(tasks, end * grain); ++task) {
      const dim_t part = task / tiles, column = task % tiles * width;
      const dim_t first = part % op.sections() * op.section;
      const dim_t stop = std::min(op.length, first + op.section);
      const dim_t columns = std::min(width, op.inner - column);
      float* y = parts + part * op.inner + column;
      kernels_of(op).begin(y, columns);
      for (dim_t row = first; row < stop; row += rows) {
        const dim_t count = std::min(rows, stop - row);
        const dim_t at = (part / op.sections() * op.length + row) * op.inner + column;
        evaluator.evaluate(at, count * columns, nullptr);
        kernels_of(op).columns(evaluator.result(0, count * columns), count, columns, y);
      }
    }
  });
}

void combine_sections(const Fold& op, const float* parts, float* y, Worker& worker) noexcept {
  const dim_t results = op.results();
  worker.parallel_for(ceil_div(results, kCombineBlock), [&](dim_t begin, dim_t end) noexcept {
    for (dim_t i = begin * kCombineBlock; i < std::min(results, end * kCombineBlock); ++i) {
      const float* part = parts + i / op.inner * op.sections() * op.inner + i % op.inner;
      double value = double{part[0]};
      for (dim_t s = 1; s < op.sections(); ++s) {
        value = combined(op, value, double{part[s * op.inner]});
      }
      y[i] = finished(op, value);
    }
  });
}

// Does x come before the best so far? A NaN is before all, and the first of equals stays.
bool is_before(bool is_max, float x, float best) noexcept {
  if (best != best) return false;
  return x != x || (is_max ? x > best : x < best);
}

// One row after the other; the best of each column so far and its place lie in scratch.
void find_places(const Fold& op, const ExpressionRun& run, std::int32_t* y,
                 Worker& worker) noexcept {
  const bool is_max = op.kind == ReduceKind::arg_max;
  const dim_t width = std::min(op.inner, kBlock), tiles = ceil_div(op.inner, width);
  const dim_t run_length = op.inner == 1 ? std::min(op.length, kBlock) : 1;
  const dim_t tasks = op.outer * tiles;
  const dim_t grain = std::max<dim_t>(1, kTaskFloats / (op.length * width));
  worker.parallel_for(ceil_div(tasks, grain), [&](dim_t begin, dim_t end) noexcept {
    Evaluator evaluator(op.program, run, worker.scratch_floats());
    float* best = own_scratch(op, worker);
    for (dim_t task = begin * grain; task < std::min(tasks, end * grain); ++task) {
      const dim_t outer = task / tiles, column = task % tiles * width;
      const dim_t columns = std::min(width, op.inner - column);
      std::int32_t* place = y + outer * op.inner + column;
      for (dim_t i = 0; i < op.length; i += run_length) {
        const dim_t count = std::min(run_length, op.length - i) * columns;
        evaluator.evaluate((outer * op.length + i) * op.inner + column, count, nullptr);
        const float* x = evaluator.result(0, count);
        for (dim_t j = 0; j < count; ++j) {
          const dim_t c = op.inner == 1 ? 0 : j, at = op.inner == 1 ? i + j : i;
          if (at > 0 && !is_before(is_max, x[j], best[c])) continue;
          best[c] = x[j];
          place[c] = static_cast<std::int32_t>(at);
        }
      }
    }
  });
}

// Neighbouring axes that are all reduced or all kept, as one; extents of 1 are neither.
struct Group {
  dim_t extent;
  bool reduced;
};
std::vector<Group> groups_of(const Shape& shape, std::span<const dim_t> axes) {
  std::vector<Group> groups;
  for (int axis = 0; axis < shape.rank(); ++axis) {
    const bool reduced = std::ranges::find(axes, dim_t{axis}) != axes.end();
    if (shape[axis] == 1) continue;
    if (!groups.empty() && groups.back().reduced == reduced) {
      groups.back().extent *= shape[axis];
    } else {
      groups.push_back({shape[axis], reduced});
    }
  }
  return groups;
}

dim_t product(std::span<const Group> groups) {
  dim_t count = 1;
  for (const Group& group : groups) count *= group.extent;
  return count;
}

}  // namespace

dim_t Fold::workspace_floats() const { return sections() == 1 ? 0 : results() * sections(); }
dim_t Fold::scratch_floats() const { return program.scratch_floats() + kBlock; }

std::vector<Fold> make_folds(ReduceKind kind, const Expression& expression, const Shape& shape,
                             std::span<const dim_t> axes, const std::vector<MapInput>& inputs,
                             dim_t batch, Isa isa) {
  const bool is_mean = kind == ReduceKind::mean;
  const Expression identity{{}, {Operand::input(0)}};
  std::vector<Group> groups = groups_of(shape, axes);
  std::vector<Fold> folds;
  double divisor = 1;
  do {
    std::size_t at = groups.size();
    while (at > 0 && !groups[at - 1].reduced) --at;
    Fold fold{.kind = is_mean ? ReduceKind::sum : kind};
    const std::span all(groups);
    if (at > 0) {
      fold.outer = product(all.first(at - 1));
      fold.length = groups[at - 1].extent;
      fold.inner = product(all.subspan(at));
    } else {
      fold.outer = product(all);  // nothing is folded
    }
    fold.section = section_of(kind, fold.length, fold.inner);
    divisor *= static_cast<double>(fold.length);
    const Shape whole{fold.outer, fold.length, fold.inner};
    fold.program = folds.empty() ? make_block_program(expression, shape, inputs, {}, batch, isa)
                                 : make_block_program(identity, whole, {{whole}}, {}, batch, isa);
    folds.push_back(std::move(fold));
    if (at > 0) groups.erase(groups.begin() + static_cast<std::ptrdiff_t>(at) - 1);
    // What was kept on both sides lies together now; so do later folds' axes.
    for (std::size_t i = 1; i < groups.size();) {
      if (groups[i].reduced != groups[i - 1].reduced) {
        ++i;
        continue;
      }
      groups[i - 1].extent *= groups[i].extent;
      groups.erase(groups.begin() + static_cast<std::ptrdiff_t>(i));
    }
  } while (std::ranges::any_of(groups, &Group::reduced));
  if (is_mean) folds.back().divisor = divisor;
  return folds;
}

void fold_forward(const Fold& op, const ExpressionRun& run, void* y, float* workspace,
                  Worker& worker) noexcept {
  assert(y != nullptr && (op.workspace_floats() == 0 || workspace != nullptr));
  if (is_arg(op.kind)) return find_places(op, run, static_cast<std::int32_t*>(y), worker);
  auto* floats = static_cast<float*>(y);
  if (has_short_rows(op)) return fold_short_rows(op, run, floats, worker);
  float* parts = op.sections() == 1 ? floats : workspace;
  if (op.inner == 1) {
    fold_long_rows(op, run, parts, worker);
  } else {
    fold_columns(op, run, parts, worker);
  }
  if (op.sections() > 1 || op.divisor != 1) combine_sections(op, parts, floats, worker);
}

}  // namespace pycnn
