// SPDX-License-Identifier: Apache-2.0
#include "simd/avx512.h"

#include "kernels/brgemm/brgemm.h"
#include "kernels/brgemm/generic.h"

namespace pycnn {
namespace {

// 32 registers: up to 28 sums. 14x32 streams B from L2 at 9 bytes a cycle; 14x16 is load-bound.
constexpr BrgemmTile kTiles[] = {
    make_tile<F32x16, 14, 2>("brgemm_f32_14x32_avx512"),
    make_tile<F32x16, 14, 1>("brgemm_f32_14x16_avx512"),
    make_tile<F32x16, 9, 3>("brgemm_f32_9x48_avx512"),
};

}  // namespace

const BrgemmFamily brgemm_avx512 = {kTiles, 3, pack_panels<F32x16>};

}  // namespace pycnn
