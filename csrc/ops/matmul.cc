// SPDX-License-Identifier: Apache-2.0
#include "ops/matmul.h"

#include <algorithm>
#include <cassert>
#include <utility>

#include "kernels/eltwise/eltwise.h"
#include "kernels/reduce/reduce.h"

namespace pycnn {
namespace {

constexpr dim_t kTaskTiles = 9;            // a task's rows, in register tiles
constexpr dim_t kTaskTilesOfLong = 36;     // where b is packed again for each task
constexpr dim_t kPackFloats = 128 * 1024;  // 512 KB: b as packed for a task stays in L2
constexpr dim_t kDepth = 1024;             // divides a section
constexpr dim_t kEnoughTasks = 16;
constexpr dim_t kTaskMacs = 32 * 1024;  // smaller tasks are not cut
constexpr dim_t kDotColumns = 16;
constexpr dim_t kRowColumns = 256;  // of b, read together where its rows are summed
static_assert(kSectionTerms % kDepth == 0);

constexpr dim_t kTermFloats = sizeof(WeightedTerm) / sizeof(float);

// The leading axes of the result, outermost first; axes that both operands walk alike are joined.
void append_axes(Matmul& op, const Shape& a, const Shape& b) {
  const int rank = std::max(a.rank(), b.rank());
  dim_t a_pitch = op.M * op.K, b_pitch = op.K * op.N;
  std::array<Matmul::Axis, kMaxRank> inner_first;
  int count = 0;
  for (int axis = -3; axis >= -rank; --axis) {
    const dim_t m = -axis <= a.rank() ? a[axis] : 1, n = -axis <= b.rank() ? b[axis] : 1;
    const Matmul::Axis next{std::max(m, n), m == 1 ? 0 : a_pitch, n == 1 ? 0 : b_pitch};
    a_pitch *= m, b_pitch *= n;
    if (next.count == 1) continue;
    Matmul::Axis* last = count > 0 ? &inner_first[static_cast<std::size_t>(count - 1)] : nullptr;
    if (last != nullptr && next.a == last->a * last->count && next.b == last->b * last->count) {
      last->count *= next.count;
    } else {
      inner_first[static_cast<std::size_t>(count++)] = next;
    }
  }
  op.rank = count;
  std::reverse_copy(inner_first.begin(), inner_first.begin() + count, op.axes.begin());
}

void swap_operands(Matmul& op) {
  std::swap(op.M, op.N);
  op.transpose_a = !std::exchange(op.transpose_b, !op.transpose_a);
  for (Matmul::Axis& axis : op.axes) std::swap(axis.a, axis.b);
  op.swapped = !op.swapped;
}

// A vector is a row, by which a or b may be meant. How its sums are made is chosen before items are
// joined: rows of several against one b are those of one item.
void choose_form(Matmul& op) {
  if (op.N == 1 && op.M > 1) swap_operands(op);
  if (op.M == 1) {
    op.transpose_a = false;
    op.transpose_b |= op.N == 1;
    op.dots = op.transpose_b;
  }
  while (op.rank > 0 && !op.transpose_a) {
    const Matmul::Axis& last = op.axes[static_cast<std::size_t>(op.rank - 1)];
    if (last.b != 0 || last.a != op.M * op.K) break;
    op.M *= last.count;
    --op.rank;
  }
  for (int i = 0; i < op.rank; ++i) op.items *= op.axes[static_cast<std::size_t>(i)].count;
}

void choose_blocks(Matmul& op) {
  op.depth = std::min(op.K, kDepth);
  const auto halve = [&](dim_t& extent, dim_t unit) {
    while (extent > unit && op.tasks() < kEnoughTasks &&
           op.rows * op.columns * op.K >= 2 * kTaskMacs) {
      extent = round_up(ceil_div(extent, 2), unit);
    }
  };
  const auto balanced = [](dim_t total, dim_t most, dim_t unit) {
    return std::min(total, round_up(ceil_div(total, ceil_div(total, most)), unit));
  };
  if (op.sums_rows()) {
    op.columns = op.N;
    return halve(op.columns, kRowColumns);
  }
  const dim_t nr = op.dots ? kDotColumns : op.tile->nr;
  op.columns = balanced(op.N, std::max(nr, kPackFloats / op.depth / nr * nr), nr);
  op.rows = balanced(op.M, (op.depth < op.K ? kTaskTilesOfLong : kTaskTiles) * op.tile->mr, 1);
  halve(op.columns, nr);
  halve(op.rows, op.tile->mr);
}

// What a task computes.
struct Block {
  dim_t a, b, y;  // where the item's matrices begin
  dim_t m0, m1, n0, n1;
};

// Neighbouring tasks read the same part of b.
Block block_of(const Matmul& op, dim_t task) noexcept {
  const dim_t row_blocks = ceil_div(op.M, op.rows), column_blocks = ceil_div(op.N, op.columns);
  const dim_t m0 = task % row_blocks * op.rows, n0 = task / row_blocks % column_blocks * op.columns;
  dim_t item = task / (row_blocks * column_blocks);
  Block block{0,
              0,
              item * op.M * op.N,
              m0,
              std::min(m0 + op.rows, op.M),
              n0,
              std::min(n0 + op.columns, op.N)};
  for (int i = op.rank - 1; i >= 0; --i) {
    const Matmul::Axis& axis = op.axes[static_cast<std::size_t>(i)];
    const dim_t index = item % axis.count;
    item /= axis.count;
    block.a += index * axis.a;
    block.b += index * axis.b;
  }
  return block;
}

// One thread's tasks.
class Products {
 public:
  Products(const Matmul& op, const float* a, const float* b, float* y, float* scratch)
      : op_(op), a_(a), b_(b), y_(y), packed_b_(scratch) {}

  void run(dim_t task) noexcept {
    const Block block = block_of(op_, task);
    if (op_.sums_rows()) return sum_rows(block);
    if (op_.dots) return dots(block);
    multiply(block);
  }

 private:
  float* copied_a() const noexcept { return packed_b_ + op_.b_floats(); }
  float* section() const noexcept { return copied_a() + op_.a_floats(); }

  void multiply(const Block& block) noexcept {
    const dim_t n = block.n1 - block.n0, m = block.m1 - block.m0;
    float* const y = y_ + block.y + block.m0 * op_.N + block.n0;
    for (dim_t k0 = 0; k0 < op_.K; k0 += op_.depth) {
      const dim_t k1 = std::min(k0 + op_.depth, op_.K);
      pack_b(block, k0, k1 - k0);
      const Beta beta = k0 % kSectionTerms > 0 ? Beta::one : Beta::zero;
      if (k0 < kSectionTerms) {
        multiply_packed(block, k0, k1 - k0, beta, y, op_.N);
        continue;
      }
      multiply_packed(block, k0, k1 - k0, beta, section(), n);
      if (k1 % kSectionTerms == 0 || k1 == op_.K)
        op_.kernels->add_rows(section(), n, y, op_.N, m, n);
    }
  }

  // y = the sum of b's rows, each times an element of a
  void sum_rows(const Block& block) noexcept {
    auto* const terms = reinterpret_cast<WeightedTerm*>(packed_b_);
    for (dim_t k0 = 0; k0 < op_.K; k0 += kSectionTerms) {
      const dim_t count = std::min(op_.K - k0, kSectionTerms);
      for (dim_t k = 0; k < count; ++k) terms[k] = {k * op_.N, a_[block.a + k0 + k]};
      op_.kernels->weighted_sum(terms, count, b_ + block.b + k0 * op_.N + block.n0,
                                y_ + block.y + block.n0, block.n1 - block.n0, k0 > 0);
    }
  }

  // Each element by itself, from rows of a and of b.
  void dots(const Block& block) noexcept {
    for (dim_t k0 = 0; k0 < op_.K; k0 += kSectionTerms) {
      const dim_t k = std::min(op_.K - k0, kSectionTerms);
      const float *a = a_ + block.a + k0, *b = b_ + block.b + block.n0 * op_.K + k0;
      for (dim_t m = block.m0; m < block.m1; ++m) {
        op_.reduce->dots(b, op_.K, block.n1 - block.n0, k, a + m * op_.K,
                         y_ + block.y + m * op_.N + block.n0, k0 > 0);
      }
    }
  }

  // Rows k0 ... of the block's columns, in panels of a tile's width.
  void pack_b(const Block& block, dim_t k0, dim_t k) noexcept {
    const dim_t nr = op_.tile->nr, n = block.n1 - block.n0;
    const float* from =
        b_ + block.b + (op_.transpose_b ? block.n0 * op_.K + k0 : k0 * op_.N + block.n0);
    if (from == packed_from_ && n == packed_columns_ && op_.depth == op_.K) return;
    packed_from_ = from, packed_columns_ = n;
    if (!op_.transpose_b) return op_.pack_panels({from, op_.N, packed_b_, k * nr, k, n, nr});
    float* to = packed_b_;
    for (dim_t j = 0; j < n; j += nr, from += nr * op_.K, to += k * nr) {
      const dim_t width = std::min(nr, n - j);
      op_.kernels->transpose(from, op_.K, to, nr, width, k, false);
      for (dim_t i = 0; width < nr && i < k; ++i)
        std::fill_n(to + i * nr + width, nr - width, 0.0f);
    }
  }

  // c = beta * c + the block's rows times what is packed of b
  void multiply_packed(const Block& block, dim_t k0, dim_t k, Beta beta, float* c,
                       dim_t ldc) noexcept {
    const dim_t height = op_.tile_rows(), origin = 0;
    BrgemmArgs args{};
    args.a_offset = args.b_offset = &origin;
    args.ldc = ldc;
    args.count = 1;
    args.k = k;
    args.beta = beta;
    // Columns of a transposed a are rows of what lies there: the kernel reads both.
    const dim_t row = op_.transpose_a ? 1 : op_.K, column = op_.transpose_a ? op_.M : 1;
    const float *from = a_ + block.a + block.m0 * row + k0 * column, *ahead = next_b(block);
    args.lda = std::max(row, column);
    if (op_.copies_a()) args.lda = op_.copied_pitch();
    for (dim_t i = block.m0; i < block.m1; i += height, from += height * row, c += height * ldc) {
      const dim_t m = std::min(height, block.m1 - i);
      args.a = from;
      if (op_.copies_a()) {
        op_.kernels->copy_rows(from, op_.K, copied_a(), op_.copied_pitch(), m, k);
        args.a = copied_a();
      }
      const bool follows = !op_.transpose_a && op_.depth == op_.K;  // the next tile
      args.next = follows ? from + m * op_.K : nullptr;
      multiply_tile(m, block.n1 - block.n0, args, c, ahead);
    }
  }

  void multiply_tile(dim_t m, dim_t n, BrgemmArgs args, float* c, const float*& ahead) noexcept {
    const BrgemmTile& tile = *op_.tile;
    args.b = packed_b_;
    for (dim_t j = 0; j < n; j += tile.nr, args.b += args.k * tile.nr, args.next = ahead) {
      args.c = c + j;
      args.n = std::min<dim_t>(tile.nr, n - j);
      (op_.transpose_a ? tile.columns_kernel(m, args.n) : tile.rows_kernel(m, args.n))(args);
      if (j > 0 && ahead != nullptr) ahead += args.k * kLine;
    }
  }

  // The matrix after this one, to be fetched meanwhile; null where another task reads this one.
  const float* next_b(const Block& block) const noexcept {
    const bool whole = op_.rows == op_.M && op_.columns == op_.N;
    return whole && op_.items > 1 ? b_ + block.b + op_.K * op_.N : nullptr;
  }

  const Matmul& op_;
  const float *const a_, *const b_;
  float* const y_;
  float* const packed_b_;               // what else a thread needs lies behind it
  const float* packed_from_ = nullptr;  // what packed_b_ holds, where all of K fits
  dim_t packed_columns_ = 0;
};

}  // namespace

dim_t Matmul::scratch_floats() const {
  if (dots) return 0;
  if (sums_rows()) return std::min(K, kSectionTerms) * kTermFloats;
  const Checked section = K > kSectionTerms ? Checked(rows) * columns : 0;
  return (Checked(b_floats()) + a_floats() + section).value();
}

Matmul make_matmul(const Shape& a, bool transpose_a, const Shape& b, bool transpose_b, Isa isa) {
  assert(a.rank() >= 2 && b.rank() >= 2);
  Matmul op{.M = a[transpose_a ? -1 : -2],
            .N = b[transpose_b ? -2 : -1],
            .K = a[transpose_a ? -2 : -1],
            .transpose_a = transpose_a,
            .transpose_b = transpose_b,
            .pack_panels = brgemm_family(isa).pack_panels,
            .kernels = &eltwise_kernels(isa),
            .reduce = &reduce_kernels(isa)};
  assert(b[transpose_b ? -1 : -2] == op.K);
  append_axes(op, a, b);
  choose_form(op);
  op.tile = &select_brgemm(op.N, isa);
  choose_blocks(op);
  return op;
}

void matmul(const Matmul& op, const float* a, const float* b, float* y, Worker& worker) noexcept {
  assert(a != nullptr && b != nullptr && y != nullptr && y != a && y != b);
  if (op.swapped) std::swap(a, b);
  Products products(op, a, b, y, worker.scratch_floats());
  worker.parallel_for(op.tasks(), [&](dim_t begin, dim_t end) noexcept {
    for (dim_t task = begin; task < end; ++task) products.run(task);
  });
}

}  // namespace pycnn
