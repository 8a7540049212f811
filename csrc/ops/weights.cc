// SPDX-License-Identifier: Apache-2.0
#include "ops/weights.h"

#include <algorithm>
#include <cassert>

#include "kernels/brgemm/brgemm.h"

namespace pycnn {
namespace {

// visit(packed index, hwio index or -1 in the zero columns)
template <class Visit>
void for_each_weight(const PackedWeights& w, Visit visit) {
  const dim_t Kg = w.K / w.G, rows = w.R * w.S * (w.C / w.G);
  dim_t packed = 0;
  if (w.depthwise()) {
    for (; packed < w.count(); ++packed) visit(packed, packed);
    return;
  }
  for (dim_t g = 0; g < w.G; ++g) {
    for (dim_t kb = 0; kb < w.blocks(); ++kb) {
      for (dim_t row = 0; row < rows; ++row) {
        for (dim_t j = 0; j < w.nr; ++j, ++packed) {
          const dim_t k = kb * w.nr + j;
          visit(packed, k < Kg ? row * w.K + g * Kg + k : dim_t{-1});
        }
      }
    }
  }
}

constexpr dim_t kTaskRows = 512;

// visit(packed index, hwio index, channels) for each row of up to nr channels, on all threads.
template <class Visit>
void for_each_row(const PackedWeights& w, Worker& worker, Visit visit) noexcept {
  if (w.depthwise()) {
    const dim_t tasks = ceil_div(w.count(), kTaskRows);
    return worker.parallel_for(tasks, [&](dim_t begin, dim_t end) noexcept {
      const dim_t first = begin * kTaskRows;
      visit(first, first, std::min(w.count(), end * kTaskRows) - first);
    });
  }
  const dim_t Kg = w.K / w.G, rows = w.R * w.S * (w.C / w.G), all = w.G * w.blocks() * rows;
  worker.parallel_for(ceil_div(all, kTaskRows), [&](dim_t begin, dim_t end) noexcept {
    for (dim_t i = begin * kTaskRows; i < std::min(all, end * kTaskRows); ++i) {
      const dim_t k = i / rows % w.blocks() * w.nr, g = i / (rows * w.blocks());
      visit(i * w.nr, i % rows * w.K + g * Kg + k, std::min(w.nr, Kg - k));
    }
  });
}

}  // namespace

PackedWeights make_packed_weights(dim_t R, dim_t S, dim_t C, dim_t K, dim_t G, Isa isa) {
  assert(R >= 1 && S >= 1 && G >= 1 && C % G == 0 && K % G == 0);
  const PackedWeights w{R, S, C, K, G, select_brgemm(K / G, isa).nr};
  // Nothing that is made of the layout overflows, though the last block of columns is filled up.
  (void)(Checked(G) * w.blocks() * w.nr * R * S * (C / G));
  return w;
}

void pack_weights(const PackedWeights& layout, const float* hwio, float* packed) noexcept {
  for_each_weight(layout,
                  [&](dim_t i, dim_t source) { packed[i] = source < 0 ? 0 : hwio[source]; });
}

void unpack_weights(const PackedWeights& layout, const float* packed, float* hwio) noexcept {
  for_each_weight(layout, [&](dim_t i, dim_t target) {
    if (target >= 0) hwio[target] = packed[i];
  });
}

void pack_weights(const PackedWeights& layout, const float* hwio, float* packed,
                  Worker& worker) noexcept {
  const bool padded = layout.has_padding();
  for_each_row(layout, worker, [&](dim_t i, dim_t source, dim_t count) noexcept {
    std::copy_n(hwio + source, count, packed + i);
    if (padded) std::fill(packed + i + count, packed + i + layout.nr, 0.0f);
  });
}

void unpack_weights(const PackedWeights& layout, const float* packed, float* hwio,
                    Worker& worker) noexcept {
  for_each_row(layout, worker, [&](dim_t i, dim_t target, dim_t count) noexcept {
    std::copy_n(packed + i, count, hwio + target);
  });
}

void clear_padding(const PackedWeights& layout, float* packed, Worker& worker) noexcept {
  if (!layout.has_padding()) return;
  const bool clear = packed[layout.count() - 1] == 0;
  worker.barrier();  // the others look before anything is written
  if (clear) return;
  const dim_t used = layout.K / layout.G % layout.nr, rows = layout.block_floats() / layout.nr;
  const dim_t all = layout.G * rows;
  worker.parallel_for(ceil_div(all, kTaskRows), [&](dim_t begin, dim_t end) noexcept {
    for (dim_t i = begin * kTaskRows; i < std::min(all, end * kTaskRows); ++i) {
      const dim_t block = i / rows * layout.blocks() + layout.blocks() - 1;
      float* row = packed + (block * rows + i % rows) * layout.nr;
      std::fill(row + used, row + layout.nr, 0.0f);
    }
  });
}

void scale_weights(const PackedWeights& layout, const float* packed, const double* scale,
                   float* scaled) noexcept {
  for_each_weight(layout, [&](dim_t i, dim_t source) {
    scaled[i] = source < 0 ? 0 : static_cast<float>(packed[i] * scale[source % layout.K]);
  });
}

}  // namespace pycnn
