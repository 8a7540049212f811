// SPDX-License-Identifier: Apache-2.0
#include "ops/weights.h"

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

void scale_weights(const PackedWeights& layout, const float* packed, const double* scale,
                   float* scaled) noexcept {
  for_each_weight(layout, [&](dim_t i, dim_t source) {
    scaled[i] = source < 0 ? 0 : static_cast<float>(packed[i] * scale[source % layout.K]);
  });
}

}  // namespace pycnn
