// SPDX-License-Identifier: Apache-2.0
#include "simd/avx2.h"

#include "kernels/brgemm/brgemm.h"
#include "kernels/brgemm/generic.h"

namespace pycnn {
namespace {

// 16 registers: 12 sums, 1 to 3 of B, 1 of A. 12x8 needs 13 loads for 12 FMAs: for narrow results.
constexpr BrgemmTile kTiles[] = {
    make_tile<F32x8, 6, 2>("brgemm_f32_6x16_avx2"),
    make_tile<F32x8, 12, 1>("brgemm_f32_12x8_avx2"),
    make_tile<F32x8, 4, 3>("brgemm_f32_4x24_avx2"),
};

}  // namespace

const BrgemmFamily brgemm_avx2 = {kTiles, 3, pack_panels<F32x8>};

}  // namespace pycnn
