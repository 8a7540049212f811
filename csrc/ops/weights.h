// SPDX-License-Identifier: Apache-2.0
// How convolution and dense weights lie in memory between steps: the B operand of the brgemm
// kernel.
//   packed[g][kb][r][s][c][nr], output channel k = kb * nr + j of group g, zeros where k >= K / G.
// Depthwise weights stay as they are, [r][s][k].
// Gradients and optimizer state lie the same way: updates are elementwise and never repack.
#pragma once

#include "base/arch.h"
#include "base/parallel.h"
#include "base/shape.h"

namespace pycnn {

struct PackedWeights {
  dim_t R = 1, S = 1, C = 1, K = 1, G = 1;  // C, K of the whole layer
  dim_t nr = 1;

  bool operator==(const PackedWeights&) const = default;
  dim_t blocks() const { return ceil_div(K / G, nr); }  // per group
  dim_t block_floats() const { return R * S * (C / G) * nr; }
  bool depthwise() const { return is_depthwise(C, K, G); }
  dim_t count() const { return depthwise() ? R * S * K : G * blocks() * block_floats(); }
  bool has_padding() const { return !depthwise() && K / G % nr != 0; }
  bool is_padding(dim_t i) const {
    return has_padding() && i / block_floats() % blocks() * nr + i % nr >= K / G;
  }
};
PackedWeights make_packed_weights(dim_t R, dim_t S, dim_t C, dim_t K, dim_t G, Isa isa);

// hwio[R][S][C/G][K]
void pack_weights(const PackedWeights& layout, const float* hwio, float* packed) noexcept;
void unpack_weights(const PackedWeights& layout, const float* packed, float* hwio) noexcept;
// The same on all threads.
void pack_weights(const PackedWeights& layout, const float* hwio, float* packed,
                  Worker& worker) noexcept;
void unpack_weights(const PackedWeights& layout, const float* packed, float* hwio,
                    Worker& worker) noexcept;
// Writes the zeros again that an elementwise function of packed weights has changed, which has made
// the same of all of them.
void clear_padding(const PackedWeights& layout, float* packed, Worker& worker) noexcept;
// scaled[..][k] = packed[..][k] * scale[k], rounded once; the zero columns stay zero.
void scale_weights(const PackedWeights& layout, const float* packed, const double* scale,
                   float* scaled) noexcept;

}  // namespace pycnn
