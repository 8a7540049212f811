// SPDX-License-Identifier: Apache-2.0
// The kernel and bias of a conv2d or dense with the batch norm after it folded in:
//   w'[.., k] = w[.., k] * scale[k],  b'[k] = beta[k] + (b[k] - mean[k]) * scale[k],
//   scale[k] = gamma[k] / sqrt(var[k] + epsilon),
// computed in double and rounded once, in the engine's floating-point mode. Against the two steps
// apart, y moves by less than 2^-22 * (sum |x * w * scale| + |b * scale| + |mean * scale| + |beta|)
// beside the errors of the two sums. A scale that is not finite makes its channel not finite, as it
// does apart.
#pragma once

#include <atomic>
#include <cstdint>
#include <vector>

#include "base/gate.h"
#include "ops/weights.h"
#include "plan/storage.h"

namespace pycnn {

struct FoldSource {  // of parameters; null where absent, w and var never
  const float *w, *bias, *gamma, *beta, *mean, *var;
  float epsilon;
  bool operator==(const FoldSource&) const = default;
};

// Shared by the plans of a model, whatever their batch size.
class FoldedWeights {
 public:
  FoldedWeights(const FoldSource& source, const PackedWeights& layout, MemoryMode mode);

  const FoldSource& source() const { return source_; }
  const PackedWeights& layout() const { return layout_; }
  float* kernel() const { return reinterpret_cast<float*>(kernel_.data()); }
  float* bias() const { return reinterpret_cast<float*>(bias_.data()); }
  std::size_t bytes() const;

  // Folds again unless that was done for this version of the parameters. Allocates nothing.
  void refresh(std::uint64_t version) noexcept;

 private:
  void fold() noexcept;

  FoldSource source_;
  PackedWeights layout_;
  Storage kernel_, bias_;
  std::vector<double> scale_;
  std::atomic<std::uint64_t> version_{0};
  Gate folding_;
};

}  // namespace pycnn
