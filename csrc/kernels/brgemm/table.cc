// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

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

namespace {

// Cycles per k step and row of C for a block of `vectors` vectors, on a core that starts two FMAs
// and two loads a cycle and has sums ready after four.
double step_cycles(const BrgemmTile& tile, dim_t vectors) {
  const auto m = static_cast<double>(tile.mr), v = static_cast<double>(vectors);
  return std::max({m * v / 2, (m + v) / 2, 4.0}) / m;
}

}  // namespace

const BrgemmTile& select_brgemm(dim_t n, Isa isa) {
  const BrgemmFamily& family = brgemm_family(isa);
  const BrgemmTile* best = nullptr;
  double best_cycles = 0;
  for (int i = 0; i < family.count; ++i) {
    const BrgemmTile& tile = family.tiles[i];
    const dim_t rest =
        (n % tile.nr + tile.lanes - 1) / tile.lanes;  // vectors of a last, short block
    const double full = static_cast<double>(n / tile.nr) * step_cycles(tile, tile.nr / tile.lanes);
    const double cycles = full + (rest > 0 ? step_cycles(tile, rest) : 0);
    if (best == nullptr || cycles < best_cycles) {
      best = &tile;
      best_cycles = cycles;
    }
  }
  return *best;
}

}  // namespace pycnn
