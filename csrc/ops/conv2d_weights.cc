// SPDX-License-Identifier: Apache-2.0
// backward_weights. Both operands are packed per task and block of output rows: x as panels
// [panel][row][column][channels of a tile], zero-padded, so a tap is only an offset; dy as
// [k block][row][q][nr]. The kernel then sums over all rows of the block without leaving registers.
#include <algorithm>
#include <cassert>

#include "ops/conv2d.h"

namespace pycnn {
namespace {

constexpr dim_t kEnoughTasks = 16;
constexpr dim_t kFlatRow = 64;               // pixels in a row of a 1x1 layer seen as rows
constexpr dim_t kBlockPixels = 192;          // products summed between loads and stores of a tile
constexpr dim_t kScratchFloats = 72 * 1024;  // packed operands stay in L2
constexpr dim_t kChunkPixels = 512;   // a chunk smaller than this is not worth its partial sums
constexpr dim_t kAliasFloats = 1024;  // pixels 4 KB apart share a set of L1

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

// One block of output rows [first, last), all `pixels` long, packed in this worker's scratch.
struct PackedBlock {
  const float* x;  // of panel 0; x itself where it is not packed
  float *dy, *dy_row;
  dim_t *x_offset, *dy_offset;  // [R][block_rows]
  dim_t first = 0, last = 0, pixels = 0;
  Ahead ahead{};
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

// The panels of a task: how many, how they lie, what they hold; pixels only of a flat layer.
struct Panels {
  dim_t count, pitch, columns, channels, pixels;
};

// All columns from the first that an output reads to the last, zeros where outside the image.
void pack_row(const Op& op, const Panels& panels, const float* row, float* out) {
  const dim_t columns = panels.columns, width = op.panel;
  const dim_t first = -op.shape.pad.left, left = std::clamp<dim_t>(-first, 0, columns);
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
  for (dim_t i = 0; i < s.Q() * s.S; ++i) {
    const dim_t column = i / s.S * s.stride.w - s.pad.left + i % s.S * s.dilation.w;
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
  const Panels panels{t.panel1 - t.panel0, op.x_pitch(), columns, channels, block.pixels};
  auto* out = const_cast<float*>(block.x);
  const auto pack = [&](dim_t n, dim_t h, float* to) {
    const float* row = x + n * op.x_image + h * op.x_row + t.g * Cg + c0;
    (op.read_w.apart ? pack_taps : pack_row)(op, panels, row, to);
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
      max_pool2d_backward_row(*op.unpool, arg + image, dy + image, row % P, block.dy_row);
      source = block.dy_row;
    }
    op.pack_panels({source + k0, s.K, block.dy + (row - block.first) * Q * nr, op.dy_pitch(),
                    block.pixels, channels, nr});
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

// Lists where the rows of the block that have tap row r lie; returns how many there are.
dim_t list_rows(const Op& op, const PackedBlock& block, dim_t r) {
  const Conv2dShape& s = op.shape;
  const dim_t x_pitch = op.columns() * op.panel, dy_pitch = s.Q() * op.weights.nr;
  dim_t* x_offset = block.x_offset + r * op.block_rows;
  dim_t* dy_offset = block.dy_offset + r * op.block_rows;
  dim_t count = 0, x_row = 0, dy_row = 0;
  for_each_image(s, block.first, block.last, [&](const ImageRows& image) {
    for (dim_t p = image.p0; p < image.p1; ++p, ++dy_row) {
      const dim_t h = p * s.stride.h - s.pad.top + r * s.dilation.h;
      if (h < 0 || h >= s.H) continue;
      x_offset[count] = op.direct         ? image.n * op.x_image + h * op.x_row
                        : op.read_h.apart ? (dy_row * s.R + r) * x_pitch
                                          : (x_row + h - image.h0) * x_pitch;
      dy_offset[count++] = dy_row * dy_pitch;
    }
    x_row += image.h1 - image.h0;
  });
  return count;
}

// All tiles of dw[kb][r]: rows of C are (s, c).
void multiply_tap_row(const Op& op, const Task& t, PackedBlock& block, dim_t r, dim_t count,
                      dim_t kb, Beta beta, float* dw) {
  const Conv2dShape& s = op.shape;
  const dim_t Cg = s.C / s.G, nr = op.weights.nr;
  BrgemmArgs args{};
  args.a_offset = block.x_offset + r * op.block_rows;
  args.b_offset = block.dy_offset + r * op.block_rows;
  args.b = block.dy + (kb - t.kb0) * op.dy_pitch();
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
  if (op.merged()) {  // (s, c) lie side by side in the panel
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
      multiply(a + tap * op.read_w.tap_step * op.panel, m, tap * Cg + c0);
    }
  }
}

void run_task(const Op& op, dim_t index, const float* x, const float* dy, const std::uint8_t* arg,
              float* dw, Worker& worker) noexcept {
  const Task t = task_of(op, index);
  const dim_t first = op.rows() * t.chunk / op.chunks, last = op.rows() * (t.chunk + 1) / op.chunks;
  assert(first < last && t.panel0 < t.panel1 && t.kb0 < t.kb1 && t.g < op.shape.G);
  PackedBlock block = scratch_block(op, t, x, worker);
  Beta beta = Beta::zero;
  for (dim_t row = first; row < last; row = block.last, beta = Beta::one) {
    block.first = row;
    block.last = std::min(last, row + op.block_rows);
    block.pixels = row_pixels(op, row);
    if (row_pixels(op, block.last - 1) != block.pixels) --block.last;
    assert(block.first < block.last);
    if (!op.direct) pack_x(op, t, block, x);
    pack_dy(op, t, block, dy, arg);
    block.ahead = after(op, t, block, x, dy);
    for (dim_t r = 0; r < op.shape.R; ++r) {
      const dim_t count = list_rows(op, block, r);
      for (dim_t kb = t.kb0; kb < t.kb1; ++kb) {
        multiply_tap_row(op, t, block, r, count, kb, beta, dw);
      }
    }
  }
}

void choose_blocking(Op& op) {
  const Conv2dShape& s = op.shape;
  const dim_t Cg = s.C / s.G, blocks = op.weights.blocks(), nr = op.weights.nr;
  op.panel = Cg <= op.tile->mr ? Cg : ceil_div(Cg, ceil_div(Cg, op.tile->mr));
  const dim_t kchannels = op.weights.count() > 256 * 1024 ? 64 : 256;  // fewer passes over x
  op.kgroup = std::clamp<dim_t>(kchannels / nr, 1, blocks);
  const dim_t ktasks = s.G * ceil_div(blocks, op.kgroup);
  const dim_t cgroups = std::clamp<dim_t>(kEnoughTasks / ktasks, 1, std::max<dim_t>(1, Cg / 32));
  op.cgroup = ceil_div(op.panels(), std::min(cgroups, op.panels()));
  op.chunks = 1;
  while (op.tasks() < kEnoughTasks && op.rows() >= 2 * op.chunks &&
         op.rows() * s.Q() >= 2 * op.chunks * kChunkPixels) {
    op.chunks *= 2;
  }
  const Axis h = forward_axis(s.H, s.P(), s.R, s.stride.h, s.dilation.h, s.pad.top);
  const Axis w = forward_axis(s.W, s.Q(), s.S, s.stride.w, s.dilation.w, s.pad.left);
  op.read_w = copied_axis(w, s.Q());
  const auto too_large = [&] {
    op.read_h = copied_axis(h, op.block_rows);
    return op.scratch_floats() > kScratchFloats;
  };
  op.block_rows = std::clamp<dim_t>(ceil_div(kBlockPixels, s.Q()), 1, op.rows());
  while (too_large() && op.block_rows > 1) op.block_rows = ceil_div(op.block_rows, 2);
}

}  // namespace

dim_t Conv2dBackwardWeights::input_rows() const {
  if (read_h.apart) return block_rows * shape.R;
  const dim_t images = (block_rows + shape.P() - 2) / shape.P() + 1;  // touched at most
  const dim_t extent = kernel_extent(shape.R, shape.dilation.h);
  return std::min(images * shape.H, (block_rows - 1) * shape.stride.h + images * extent);
}

dim_t Conv2dBackwardWeights::scratch_floats() const {
  const Checked offsets = 2 * 2 * Checked(shape.R) * block_rows;  // two lists of 8-byte offsets
  const dim_t dy_row = unpool ? shape.Q() * shape.K : 0;
  const Checked pitch = Checked(input_rows()) * columns() * panel + kPanelSlack;
  const Checked x = direct ? 0 : pitch * cgroup;
  return (offsets + x + Checked(kgroup) * dy_pitch() + kPanelSlack + dy_row).value();
}

Conv2dBackwardWeights make_conv2d_backward_weights(const Conv2dShape& shape, Size2d pool, Isa isa) {
  Conv2dBackwardWeights op;
  const Conv2dShape whole = cropped_to_windows(shape, pool);
  op.unpool = pool_of_output(whole, pool, isa);
  op.crop = make_kernel_crop(whole, isa);
  if (!op.crop.any()) op.widening = widen_backward_weights(whole, isa);
  op.shape = widened(cropped(whole, op.crop), op.widening.columns);
  Conv2dShape& s = op.shape;
  if (is_flat(s, pool)) {
    op.flat_pixels = s.N * s.H * s.W;
    s.W = std::min(kFlatRow, op.flat_pixels);
    s.H = ceil_div(op.flat_pixels, s.W);
    s.N = 1;
  }
  op.x_image = s.H * s.W * s.C;
  op.x_row = s.W * s.C;
  op.x_pixel = s.C;
  if (s.R == 1 && s.S == 1 && !s.pad.any() && !op.unpool) {  // the pixels between are not read
    op.direct = s.C * s.stride.w % kAliasFloats != 0;
    op.x_row *= s.stride.h;
    op.x_pixel *= s.stride.w;
    s.H = s.P();
    s.W = s.Q();
    s.stride = {};
  }
  op.weights = make_packed_weights(s.R, s.S, s.C, s.K, s.G, isa);
  op.tile = &select_brgemm(s.K / s.G, isa);
  op.sum = make_elementwise(op.weights.count(), isa);
  op.pack_panels = brgemm_family(isa).pack_panels;
  choose_blocking(op);
  return op;
}

void conv2d_backward_weights(const Conv2dBackwardWeights& op, const float* x, const float* dy,
                             const std::uint8_t* arg, float* dw, float* workspace,
                             Worker& worker) noexcept {
  const dim_t count = op.weights.count();
  assert(x != nullptr && dy != nullptr && dw != nullptr && (!op.unpool || arg != nullptr));
  assert(workspace != nullptr || !op.partial());
  worker.parallel_for(op.tasks(), [&](dim_t begin, dim_t end) noexcept {
    for (dim_t task = begin; task < end; ++task) {
      const dim_t chunk = task_of(op, task).chunk;
      run_task(op, task, x, dy, arg, op.partial() ? workspace + chunk * count : dw, worker);
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
