// SPDX-License-Identifier: Apache-2.0
#include "plan/folded.h"

#include <cmath>

#include "base/float_mode.h"

namespace pycnn {

FoldedWeights::FoldedWeights(const FoldSource& source, const PackedWeights& layout, MemoryMode mode)
    : source_(source),
      layout_(layout),
      kernel_(float_bytes(layout.count()), mode),
      bias_(float_bytes(layout.K), mode),
      scale_(static_cast<std::size_t>(layout.K)) {}

std::size_t FoldedWeights::bytes() const {
  return float_bytes(layout_.count() + layout_.K) + scale_.size() * sizeof(double);
}

void FoldedWeights::refresh(std::uint64_t version) noexcept {
  if (version_.load(std::memory_order_acquire) == version) return;
  // Plans of other batch sizes may be starting.
  const Entry folding(folding_, Access::exclusive, "fold");
  if (version_.load(std::memory_order_relaxed) == version) return;
  fold();
  version_.store(version, std::memory_order_release);
}

void FoldedWeights::fold() noexcept {
  const FoldSource& s = source_;
  const FloatMode mode;
  for (dim_t k = 0; k < layout_.K; ++k) {
    const double gamma = s.gamma == nullptr ? 1.0 : double{s.gamma[k]};
    const double beta = s.beta == nullptr ? 0.0 : double{s.beta[k]};
    const double mean = s.mean == nullptr ? 0.0 : double{s.mean[k]};
    const double scale = gamma / std::sqrt(double{s.var[k]} + s.epsilon);
    const double bias = s.bias == nullptr ? 0.0 : double{s.bias[k]};
    scale_[static_cast<std::size_t>(k)] = scale;
    this->bias()[k] = static_cast<float>(beta + (bias - mean) * scale);
  }
  scale_weights(layout_, s.w, scale_.data(), kernel());
}

}  // namespace pycnn
