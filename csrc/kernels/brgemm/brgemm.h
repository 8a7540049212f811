// SPDX-License-Identifier: Apache-2.0
// The engine's one matrix kernel: batch-reduce GEMM on a register tile.
//
//   C[m x n] = beta * C + sum over i < count of A_i[m x k] * B_i[k x n],  then the epilogue.
//
// Row-major; lda, ldc in elements. B comes packed: rows of nr floats, zero beyond the matrix's n.
//   rows:    A_i[i][j] = (a + a_offset[i])[i * lda + j]; the B_i follow each other in one stream
//   columns: A_i[i][j] = (a + a_offset[i])[j * lda + i]; B_i = b + b_offset[i]   (outer products)
// Every element of C is one chain of fused multiply-adds in the order of (i, k): no tile size,
// thread count or batch size changes a bit. Nothing outside the m x n tile of C and the k x m of A
// is touched.
#pragma once

#include <cassert>

#include "base/arch.h"
#include "kernels/epilogue.h"

namespace pycnn {

enum class Beta : int { zero, one };

struct BrgemmArgs {
  const float* a;
  const dim_t* a_offset;
  dim_t lda;
  const float* b;
  const dim_t* b_offset;  // columns only
  float* c;
  dim_t ldc;
  dim_t count, k, n;  // n <= nr columns of C are stored
  Beta beta;
  Epilogue epilogue;
  const float* next;  // fetched into L2, a line per k step: any address, or null
};

using BrgemmFn = void (*)(const BrgemmArgs& args) noexcept;

// Cuts the channels of pixels into panels: dst[panel * panel_stride + pixel * width + j] =
// src[pixel * src_stride + panel * width + j], zero where panel * width + j >= channels.
// width is at most 4 vectors. May write kPanelSlack floats beyond a panel's last pixel.
struct PackArgs {
  const float* src;
  dim_t src_stride;
  float* dst;
  dim_t panel_stride;
  dim_t pixels, channels, width;
};
using PackPanelsFn = void (*)(const PackArgs& args) noexcept;
constexpr dim_t kPanelSlack = 16;
constexpr dim_t kLine = 16;  // floats in a cache line

struct BrgemmTile {
  const char* name;
  int mr, nr;               // the largest m, and the width of a packed B row
  int lanes;                // floats in a vector
  const BrgemmFn* rows;     // rows[(vectors - 1) * mr + m - 1], vectors = ceil(n / lanes)
  const BrgemmFn* columns;  // the same for column order

  BrgemmFn rows_kernel(dim_t m, dim_t n) const { return rows[index(m, n)]; }
  BrgemmFn columns_kernel(dim_t m, dim_t n) const { return columns[index(m, n)]; }

 private:
  dim_t index(dim_t m, dim_t n) const {
    assert(1 <= m && m <= mr && 1 <= n && n <= nr);
    return ((n + lanes - 1) / lanes - 1) * mr + m - 1;
  }
};

struct BrgemmFamily {
  const BrgemmTile* tiles;
  int count;
  PackPanelsFn pack_panels;
};
extern const BrgemmFamily brgemm_scalar, brgemm_avx2, brgemm_avx512;
const BrgemmFamily& brgemm_family(Isa isa);

// The tile with the least estimated time for an n-column result; the narrowest of equals.
const BrgemmTile& select_brgemm(dim_t n, Isa isa);
// Estimated cycles per k step of a rows x n result with that tile.
double brgemm_cycles(dim_t rows, dim_t n, Isa isa);
dim_t widest_brgemm(Isa isa);  // the largest nr of a tile

}  // namespace pycnn
