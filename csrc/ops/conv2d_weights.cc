// SPDX-License-Identifier: Apache-2.0
// backward_weights. Both operands are packed per task and block of output rows: x as panels
// [panel][row][column][channels of a tile], zero-padded, so a tap is only an offset; dy as
// [k block][row][q][nr]. The kernel then sums over all rows of the block without leaving registers.
#include <algorithm>
#include <cassert>

#include "kernels/eltwise/eltwise.h"
#include "kernels/reduce/reduce.h"
#include "ops/conv2d.h"

namespace pycnn {
namespace {

using Op = Conv2dBackwardWeights;

struct Task {
  dim_t chunk, g, panel0, panel1, kb0, kb1;
};

Task task_of(const Op& op, dim_t task) {
  const dim_t cgroups = ceil_div(op.panels(), op.cgroup);
  const dim_t kgroups = ceil_div(op.weights.blocks(), op.kgroup);
  const dim_t kg = task % kgroups, cg = task / kgroups % cgroups;
  const dim_t g = task / (kgroups * cgroups) % op.shape.G;
  return {task / (kgroups * cgroups * op.shape.G),
          g,
          cg * op.cgroup,
          std::min(op.panels(), (cg + 1) * op.cgroup),
          kg * op.kgroup,
          std::min(op.weights.blocks(), (kg + 1) * op.kgroup)};
}

// Output rows [p0, p1) of image n, and the input rows [h0, h1) they read.
struct ImageRows {
  dim_t n, p0, p1, h0, h1;
};

// visit(rows) for each image that the output rows [first, last) of the batch touch
template <class Visit>
void for_each_image(const Conv2dShape& s, dim_t first, dim_t last, Visit visit) {
  const dim_t P = s.P();
  for (dim_t row = first; row < last;) {
    const dim_t n = row / P, p0 = row % P, p1 = std::min(P, p0 + last - row);
    const dim_t h0 = p0 * s.stride.h - s.pad.top;
    const dim_t h1 = (p1 - 1) * s.stride.h - s.pad.top + kernel_extent(s.R, s.dilation.h);
    visit(ImageRows{n, p0, p1, std::clamp<dim_t>(h0, 0, s.H), std::clamp<dim_t>(h1, 0, s.H)});
    row += p1 - p0;
  }
}

dim_t row_pixels(const Op& op, dim_t row) {  // only the last row of a flat layer is short
  const dim_t Q = op.shape.Q();
  return op.flat_pixels > 0 ? std::min(Q, op.flat_pixels - row * Q) : Q;
}

// What the next block reads, fetched in lines while this one is multiplied.
struct Ahead {
  const float *x, *dy;
  dim_t x_lines, dy_lines;

  const float* take(dim_t lines) {
    const bool from_x = x_lines > 0;
    if (!from_x && dy_lines <= 0) return nullptr;
    const float*& at = from_x ? x : dy;
    (from_x ? x_lines : dy_lines) -= lines;
    at += lines * kLine;
    return at - lines * kLine;
  }
};

// One block: columns [q0, q0 + pixels) of the output rows [first, last), packed in this worker's
// scratch.
struct PackedBlock {
  const float* x;  // of panel 0; x itself where it is not packed
  float *dy, *dy_row;
  dim_t *x_offset, *dy_offset;  // [R][block_rows]
  dim_t first = 0, last = 0, q0 = 0, pixels = 0;
  Ahead ahead{};
  bool rims_apart = false;  // leave out the products with zeros beside the image
};

PackedBlock scratch_block(const Op& op, const Task& t, const float* x, Worker& worker) {
  const dim_t entries = op.shape.R * op.block_rows;
  auto* offsets = reinterpret_cast<dim_t*>(worker.scratch());
  auto* packed = reinterpret_cast<float*>(offsets + 2 * entries);
  float* dy = packed + (op.direct ? 0 : op.cgroup * op.x_pitch());
  const float* source = x + t.g * (op.shape.C / op.shape.G) + t.panel0 * op.panel;
  return {op.direct ? source : packed, dy, dy + op.kgroup * op.dy_pitch() + kPanelSlack, offsets,
          offsets + entries};
}

// The panels of a task: how many, how they lie, what they hold: for outputs [q0, q0 + pixels).
struct Panels {
  dim_t count, pitch, columns, channels, q0, pixels;
};

// All columns from the first that an output reads to the last, zeros where outside the image.
void pack_row(const Op& op, const Panels& panels, const float* row, float* out) {
  const dim_t columns = panels.columns, width = op.panel;
  const dim_t first = panels.q0 * op.shape.stride.w - op.shape.pad.left;
  const dim_t left = std::clamp<dim_t>(-first, 0, columns);
  const dim_t inside = op.flat_pixels > 0
                           ? panels.pixels
                           : std::clamp<dim_t>(op.shape.W - first, left, columns) - left;
  op.pack_panels({row + (inside > 0 ? (first + left) * op.x_pixel : 0), op.x_pixel,
                  out + left * width, panels.pitch, inside, panels.channels, width});
  for (dim_t panel = 0; panel < panels.count; ++panel) {
    float* halo = out + panel * panels.pitch;
    std::fill_n(halo, left * width, 0.0f);
    std::fill(halo + (left + inside) * width, halo + columns * width, 0.0f);
  }
}

// The columns of each output's taps side by side, in order: the slack of each lies in the next.
void pack_taps(const Op& op, const Panels& panels, const float* row, float* out) {
  const Conv2dShape& s = op.shape;
  const dim_t width = op.panel;
  for (dim_t i = 0; i < panels.pixels * s.S; ++i) {
    const dim_t column = (panels.q0 + i / s.S) * s.stride.w - s.pad.left + i % s.S * s.dilation.w;
    float* const to = out + i * width;
    if (column >= 0 && column < s.W) {
      op.pack_panels(
          {row + column * op.x_pixel, op.x_pixel, to, panels.pitch, 1, panels.channels, width});
      continue;
    }
    for (dim_t panel = 0; panel < panels.count; ++panel) {
      std::fill_n(to + panel * panels.pitch, width, 0.0f);
    }
  }
}

void pack_x(const Op& op, const Task& t, const PackedBlock& block, const float* x) {
  const Conv2dShape& s = op.shape;
  const dim_t Cg = s.C / s.G, columns = op.columns(), row_floats = columns * op.panel;
  const dim_t c0 = t.panel0 * op.panel, channels = std::min(Cg, t.panel1 * op.panel) - c0;
  const Panels panels{t.panel1 - t.panel0, op.x_pitch(), columns, channels, block.q0, block.pixels};
  auto* out = const_cast<float*>(block.x);
  const auto pack = [&](dim_t n, dim_t h, float* to) {
    const float* row = x + n * op.x_image + h * op.x_row + t.g * Cg + c0;
    op.read_w.apart ? pack_taps(op, panels, row, to) : pack_row(op, panels, row, to);
  };
  for_each_image(s, block.first, block.last, [&](const ImageRows& image) {
    if (!op.read_h.apart) {
      for (dim_t h = image.h0; h < image.h1; ++h, out += row_floats) pack(image.n, h, out);
      return;
    }
    for (dim_t p = image.p0; p < image.p1; ++p) {
      for (dim_t r = 0; r < s.R; ++r, out += row_floats) {
        const dim_t h = p * s.stride.h - s.pad.top + r * s.dilation.h;
        if (h >= 0 && h < s.H) pack(image.n, h, out);
      }
    }
  });
}

void pack_dy(const Op& op, const Task& t, const PackedBlock& block, const float* dy,
             const std::uint8_t* arg) {
  const Conv2dShape& s = op.shape;
  const dim_t Kg = s.K / s.G, nr = op.weights.nr, P = s.P(), Q = s.Q();
  const dim_t k0 = t.g * Kg + t.kb0 * nr;
  const dim_t channels = std::min(Kg, t.kb1 * nr) - t.kb0 * nr;
  for (dim_t row = block.first; row < block.last; ++row) {
    const float* source = dy + row * Q * s.K;
    if (op.unpool) {
      const Pool2dShape& pooled = op.unpool->shape;
      const dim_t image = row / P * pooled.P() * pooled.Q() * pooled.C;
      if (block.q0 == 0) {  // rows in pieces come one by one: this one is still there
        max_pool2d_backward_row(*op.unpool, arg + image, dy + image, row % P, block.dy_row);
      }
      source = block.dy_row;
    }
    float* to = block.dy + (row - block.first) * op.block_columns * nr;
    op.pack_panels(
        {source + block.q0 * s.K + k0, s.K, to, op.dy_pitch(), block.pixels, channels, nr});
  }
}

// Where a task has all channels, what follows its block in memory is its next block.
Ahead after(const Op& op, const Task& t, const PackedBlock& block, const float* x,
            const float* dy) {
  const Conv2dShape& s = op.shape;
  const dim_t rows = block.last - block.first, P = s.P(), row = block.last - 1;
  const dim_t h = (row % P + 1) * s.stride.h;
  const bool all_x = (t.panel1 - t.panel0) * op.panel >= s.C;
  const bool all_dy = !op.unpool && (t.kb1 - t.kb0) * op.weights.nr >= s.K;
  return {x + row / P * op.x_image + h * op.x_row, dy + block.last * s.Q() * s.K,
          all_x ? rows * s.stride.h * op.x_row / kLine : 0,
          all_dy ? rows * s.Q() * s.K / kLine : 0};
}

// Tap rows outside of these meet no row of the image from the block's rows: no products.
struct TapRows {
  dim_t begin, end;
};
TapRows tap_rows(const Op& op, const PackedBlock& block) {
  const Conv2dShape& s = op.shape;
  const dim_t P = s.P(), first = block.first % P, last = first + (block.last - 1 - block.first);
  if (last >= P) return {0, s.R};  // rows of several images
  const dim_t lowest = first * s.stride.h - s.pad.top, highest = last * s.stride.h - s.pad.top;
  return {highest < 0 ? ceil_div(-highest, s.dilation.h) : 0,
          lowest >= s.H ? 0 : std::min(s.R, (s.H - 1 - lowest) / s.dilation.h + 1)};
}

// Lists where the rows of the block that have tap row r lie; returns how many there are.
dim_t list_rows(const Op& op, const PackedBlock& block, dim_t r) {
  const Conv2dShape& s = op.shape;
  const dim_t x_pitch = op.columns() * op.panel, dy_pitch = op.block_columns * op.weights.nr;
  dim_t* x_offset = block.x_offset + r * op.block_rows;
  dim_t* dy_offset = block.dy_offset + r * op.block_rows;
  dim_t count = 0, x_row = 0, dy_row = 0;
  for_each_image(s, block.first, block.last, [&](const ImageRows& image) {
    for (dim_t p = image.p0; p < image.p1; ++p, ++dy_row) {
      const dim_t h = p * s.stride.h - s.pad.top + r * s.dilation.h;
      if (h < 0 || h >= s.H) continue;
      x_offset[count] = op.direct ? image.n * op.x_image + h * op.x_row + block.q0 * op.x_pixel
                        : op.read_h.apart ? (dy_row * s.R + r) * x_pitch
                                          : (x_row + h - image.h0) * x_pitch;
      dy_offset[count++] = dy_row * dy_pitch;
    }
    x_row += image.h1 - image.h0;
  });
  return count;
}

// Columns of the block whose pixel of x under tap s lies in the image.
struct Columns {
  dim_t first, count;
};
Columns columns_inside(const Op& op, const PackedBlock& block, dim_t s) {
  const dim_t at = block.q0 * op.shape.stride.w - op.shape.pad.left + s * op.shape.dilation.w;
  const dim_t step = op.shape.stride.w, room = op.shape.W - at;
  const dim_t first = std::min(at < 0 ? ceil_div(-at, step) : 0, block.pixels);
  return {first,
          std::clamp<dim_t>(room <= 0 ? 0 : ceil_div(room, step), first, block.pixels) - first};
}

// Are the gradients that meet zeros beside the image finite? 0 times what is not would be NaN.
bool rims_are_finite(const Op& op, const Task& t, const PackedBlock& block) {
  if (op.flat_pixels > 0 || op.direct) return true;
  const dim_t nr = op.weights.nr, rows = block.last - block.first, pitch = op.block_columns * nr;
  const Columns left = columns_inside(op, block, 0);
  const Columns right = columns_inside(op, block, op.shape.S - 1);
  const dim_t begin = left.first, end = std::max(begin, right.first + right.count);
  if (begin == 0 && end == block.pixels) return true;
  for (dim_t kb = t.kb0; kb < t.kb1; ++kb) {
    const float* dy = block.dy + (kb - t.kb0) * op.dy_pitch();
    if (!op.reduce->all_finite(dy, rows, pitch, begin * nr) ||
        !op.reduce->all_finite(dy + end * nr, rows, pitch, (block.pixels - end) * nr)) {
      return false;
    }
  }
  return true;
}

// All tiles of dw[kb][r]: rows of C are (s, c).
void multiply_tap_row(const Op& op, const Task& t, PackedBlock& block, dim_t r, dim_t count,
                      dim_t kb, Beta beta, float* dw) {
  const Conv2dShape& s = op.shape;
  const dim_t Cg = s.C / s.G, nr = op.weights.nr;
  BrgemmArgs args{};
  args.a_offset = block.x_offset + r * op.block_rows;
  args.b_offset = block.dy_offset + r * op.block_rows;
  const float* const dy = block.dy + (kb - t.kb0) * op.dy_pitch();
  args.b = dy;
  args.lda = op.direct ? op.x_pixel : op.read_w.step * op.panel;
  args.ldc = args.n = nr;
  args.count = count;
  args.k = block.pixels;
  args.beta = beta;
  float* out =
      dw + (t.g * op.weights.blocks() + kb) * op.weights.block_floats() + r * s.S * Cg * nr;
  const auto multiply = [&](const float* a, dim_t m, dim_t row) {
    assert(0 < m && m <= op.tile->mr);
    args.a = a;
    args.c = out + row * nr;
    args.next = block.ahead.take(count * block.pixels);
    op.tile->columns_kernel(m, nr)(args);
  };
  if (op.merged() && !block.rims_apart) {  // (s, c) lie side by side in the panel
    const dim_t rows = s.S * Cg, tiles = ceil_div(rows, op.tile->mr);
    for (dim_t i = 0; i < tiles; ++i) {
      const dim_t row = rows * i / tiles;
      multiply(block.x + row, rows * (i + 1) / tiles - row, row);
    }
    return;
  }
  for (dim_t panel = t.panel0; panel < t.panel1; ++panel) {
    const float* a = block.x + (panel - t.panel0) * op.x_pitch();
    const dim_t c0 = panel * op.panel, m = std::min(op.panel, Cg - c0);
    for (dim_t tap = 0; tap < s.S; ++tap) {
      dim_t skipped = 0;
      if (block.rims_apart) {
        const Columns inside = columns_inside(op, block, tap);
        if (inside.count == 0 && beta == Beta::one) continue;
        skipped = inside.first;
        args.k = inside.count;
        args.b = dy + skipped * nr;
      }
      multiply(a + tap * op.read_w.tap_step * op.panel + skipped * args.lda, m, tap * Cg + c0);
    }
  }
}

struct Operands {
  const float *x, *dy;
  const std::uint8_t* arg;  // of the pool to undo, or null
};

// Adds the products of a block to dw, or starts it with them.
void multiply_block(const Op& op, const Task& t, PackedBlock& block, const Operands& in, Beta beta,
                    float* dw) {
  if (!op.direct) pack_x(op, t, block, in.x);
  pack_dy(op, t, block, in.dy, in.arg);
  block.rims_apart = op.mostly_outside || !rims_are_finite(op, t, block);
  if (op.block_columns == op.shape.Q()) block.ahead = after(op, t, block, in.x, in.dy);
  const TapRows read = beta == Beta::one ? tap_rows(op, block) : TapRows{0, op.shape.R};
  for (dim_t r = read.begin; r < read.end; ++r) {
    const dim_t count = list_rows(op, block, r);
    for (dim_t kb = t.kb0; kb < t.kb1; ++kb) {
      multiply_tap_row(op, t, block, r, count, kb, beta, dw);
    }
  }
}

// total += section, where the task's weights lie
void add_section(const Op& op, const Task& t, const float* section, float* total) {
  const Conv2dShape& s = op.shape;
  const dim_t Cg = s.C / s.G, nr = op.weights.nr, c0 = t.panel0 * op.panel;
  const dim_t channels = std::min(Cg, t.panel1 * op.panel) - c0, taps = s.R * s.S;
  const bool whole = channels == Cg;
  for (dim_t kb = t.kb0; kb < t.kb1; ++kb) {
    const dim_t block = (t.g * op.weights.blocks() + kb) * op.weights.block_floats();
    for (dim_t tap = 0; tap < (whole ? 1 : taps); ++tap) {
      const dim_t at = block + (tap * Cg + c0) * nr;
      op.sum.kernels->add(total + at, section + at, total + at, (whole ? taps : 1) * channels * nr);
    }
  }
}

// dw: the sum of the task's chunk; section, as large: of what comes after its first section.
void run_task(const Op& op, dim_t index, const Operands& in, float* dw, float* section,
              Worker& worker) noexcept {
  const Task t = task_of(op, index);
  const dim_t first = op.rows() * t.chunk / op.chunks, last = op.rows() * (t.chunk + 1) / op.chunks;
  assert(first < last && t.panel0 < t.panel1 && t.kb0 < t.kb1 && t.g < op.shape.G);
  PackedBlock block = scratch_block(op, t, in.x, worker);
  float* sum = dw;
  dim_t summed = 0;  // pixels in this section
  for (dim_t row = first; row < last; row = block.last) {
    block.first = row;
    block.last = std::min(last, row + op.block_rows);
    assert(block.first < block.last);
    const dim_t length = row_pixels(op, row);
    if (row_pixels(op, block.last - 1) != length) --block.last;
    for (block.q0 = 0; block.q0 < length; block.q0 += block.pixels) {
      block.pixels = std::min(op.block_columns, length - block.q0);
      const dim_t more = (block.last - row) * block.pixels;
      if (summed > 0 && summed + more > kSectionTerms) {
        if (sum == section) add_section(op, t, section, dw);
        sum = section;
        summed = 0;
      }
      multiply_block(op, t, block, in, summed > 0 ? Beta::one : Beta::zero, sum);
      summed += more;
    }
  }
  if (sum == section) add_section(op, t, section, dw);
}

}  // namespace

void conv2d_backward_weights(const Conv2dBackwardWeights& op, const float* x, const float* dy,
                             const std::uint8_t* arg, float* dw, float* workspace,
                             Worker& worker) noexcept {
  const dim_t count = op.weights.count();
  assert(x != nullptr && dy != nullptr && dw != nullptr && (!op.unpool || arg != nullptr));
  assert(workspace != nullptr || !op.partial());
  worker.parallel_for(op.tasks(), [&](dim_t begin, dim_t end) noexcept {
    for (dim_t task = begin; task < end; ++task) {
      const dim_t at = task_of(op, task).chunk * count;
      float* section = op.sections() ? workspace + op.partial_floats() + at : nullptr;
      run_task(op, task, {x, dy, arg}, op.partial() ? workspace + at : dw, section, worker);
    }
  });
  if (!op.partial()) return;
  const bool wide = op.widening.columns > 1, crops = op.crop.any();
  add_chunks(op.sum, workspace, op.chunks, wide || crops ? workspace : dw, worker);
  if (crops) uncrop_gradient(op.crop, workspace, dw, worker);
  if (!wide) return;
  worker.parallel_for(1,
                      [&](dim_t, dim_t) noexcept { narrow_gradient(op.widening, workspace, dw); });
}

}  // namespace pycnn
