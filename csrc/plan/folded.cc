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
    const double scale = s.gamma[k] / std::sqrt(double{s.var[k]} + s.epsilon);
    const double bias = s.bias == nullptr ? 0.0 : double{s.bias[k]};
    scale_[static_cast<std::size_t>(k)] = scale;
    this->bias()[k] = static_cast<float>(s.beta[k] + (bias - s.mean[k]) * scale);
  }
  scale_weights(layout_, s.w, scale_.data(), kernel());
}

}  // namespace pycnn
