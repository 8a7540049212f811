// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "kernels/brgemm/brgemm.h"

namespace pycnn {

namespace {

// Cycles per k step of m x n sums, on a core that starts two FMAs and two loads a cycle and has a
// sum ready after four.
double tile_cycles(dim_t m, dim_t vectors) {
  const auto rows = static_cast<double>(m), v = static_cast<double>(vectors);
  return std::max({rows * v / 2, (rows + v) / 2, 4.0});
}

// For n columns; a last block uses only the vectors it needs.
double block_cycles(const BrgemmTile& tile, dim_t m, dim_t n) {
  const dim_t rest = (n % tile.nr + tile.lanes - 1) / tile.lanes;
  return static_cast<double>(n / tile.nr) * tile_cycles(m, tile.nr / tile.lanes) +
         (rest > 0 ? tile_cycles(m, rest) : 0);
}

}  // namespace

const BrgemmTile& select_brgemm(dim_t n, Isa isa) {
  const BrgemmFamily& family = brgemm_family(isa);
  const BrgemmTile* best = nullptr;
  double least = 0;
  for (int i = 0; i < family.count; ++i) {
    const BrgemmTile& tile = family.tiles[i];
    const double cycles = block_cycles(tile, tile.mr, n) / tile.mr;
    if (best == nullptr || cycles < least || (cycles == least && tile.nr < best->nr)) {
      best = &tile;
      least = cycles;
    }
  }
  return *best;
}

double brgemm_cycles(dim_t rows, dim_t n, Isa isa) {
  const BrgemmTile& tile = select_brgemm(n, isa);
  const dim_t tiles = (rows + tile.mr - 1) / tile.mr, m = (rows + tiles - 1) / tiles;
  return static_cast<double>(tiles) * block_cycles(tile, m, n);
}

dim_t widest_brgemm(Isa isa) {
  const BrgemmFamily& family = brgemm_family(isa);
  dim_t widest = 0;
  for (int i = 0; i < family.count; ++i) widest = std::max<dim_t>(widest, family.tiles[i].nr);
  return widest;
}

}  // namespace pycnn
