// SPDX-License-Identifier: Apache-2.0
#include "kernels/brgemm/families.h"

namespace pycnn {

const BrgemmFamily& brgemm_family(Isa isa) {
  switch (isa) {
#if defined(PYCNN_HAVE_AVX512)
    case Isa::avx512:
      return kBrgemmAvx512;
#endif
#if defined(PYCNN_HAVE_AVX2)
    case Isa::avx2:
      return kBrgemmAvx2;
#endif
    default:
      return kBrgemmScalar;
  }
}

const BrgemmTile& select_brgemm(dim_t n, Isa isa) {
  const BrgemmFamily& family = brgemm_family(isa);
  const BrgemmTile* best = family.tiles;
  double best_value = 0;
  for (int i = 0; i < family.count; ++i) {
    const BrgemmTile& tile = family.tiles[i];
    // Vectors past n are skipped, so a partial last block costs its vectors, not the whole tile.
    const dim_t vectors = (n + tile.lanes - 1) / tile.lanes;
    const double value =
        tile.efficiency * static_cast<double>(n) / static_cast<double>(vectors * tile.lanes);
    const bool partial = n % tile.nr != 0;  // the last block runs with fewer sums in flight
    const double adjusted = partial && n > tile.nr ? value * 0.97 : partial ? value * 0.9 : value;
    if (adjusted > best_value) {
      best = &tile;
      best_value = adjusted;
    }
  }
  return *best;
}

}  // namespace pycnn
