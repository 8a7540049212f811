// SPDX-License-Identifier: Apache-2.0
#include "kernels/brgemm/brgemm.h"
#include "kernels/brgemm/generic.h"
#include "simd/vec.h"

namespace pycnn {
namespace {

// 6x2 sums + 2 of B + 1 of A fill the 16 registers of baseline x86-64.
constexpr BrgemmTile kTiles[] = {
    make_tile<Portable<4>, 6, 2>("brgemm_f32_6x8_scalar"),
    make_tile<Portable<4>, 8, 1>("brgemm_f32_8x4_scalar"),
};

}  // namespace

const BrgemmFamily brgemm_scalar = {kTiles, 2, pack_panels<Portable<4>>};

}  // namespace pycnn
