// SPDX-License-Identifier: Apache-2.0
// Losses per row, as in Keras 3; t = y_true, p = y_pred (x where it is logits), means over the row:
//   mean_squared_error        mean (t - p)^2
//   binary_crossentropy       -mean (t log c + (1-t) log(1-c)), c = clip(p)
//     from logits             mean (max(x, 0) - x t + log(1 + exp(-|x|)))
//   categorical_crossentropy  -sum t log c, c = clip(q), q = p / sum(p)
//     from logits             -sum t log_softmax(x)
// sparse: t is the one-hot row of a label. clip is to [1e-7, 1 - 1e-7] in float; beyond it the
// gradient is 0.
#pragma once

#include "kernels/reduce/softmax.h"

namespace pycnn {
namespace {

constexpr float kNaN = __builtin_nanf("");
constexpr float kClipLow = 1e-7f, kClipHigh = 1.0f - 1e-7f;

template <class V>
inline V clip(V p) {
  return min(V::set1(kClipHigh), max(V::set1(kClipLow), p));  // NaN stays
}
template <class V>
inline typename V::Mask is_clipped(V p) {
  return lt(p, V::set1(kClipLow)) | lt(V::set1(kClipHigh), p);
}

// The same for one number, in the same arithmetic.
template <class V>
inline float log_of(float x) {
  return reduce_max(log(V::set1(x)));
}
inline float clip(float p) { return p < kClipLow ? kClipLow : p > kClipHigh ? kClipHigh : p; }

template <class V>
struct SquaredError {
  static V value(V t, V p) { return (t - p) * (t - p); }
  static V gradient(V t, V p) { return V::set1(2.0f) * (p - t); }
};

template <class V>
struct BinaryCrossentropy {
  [[gnu::always_inline]] static V value(V t, V p) {
    const V c = clip(p), one = V::set1(1.0f);
    return V::zero() - (t * log(c) + (one - t) * log(one - c));
  }
  static V gradient(V t, V p) {
    const V g = (p - t) / (p * (V::set1(1.0f) - p));
    return select(is_clipped(p), V::zero(), g);
  }
};

template <class V>
struct BinaryLogits {
  [[gnu::always_inline]] static V value(V t, V x) {
    return max(V::zero(), x) - x * t + log1p(exp(V::zero() - abs(x)));
  }
  [[gnu::always_inline]] static V gradient(V t, V x) { return sigmoid(x) - t; }
};

template <class V, class F>
void mean_loss(const void* y_true, const float* p, float* loss, dim_t rows,
               dim_t classes) noexcept {
  const auto* t = static_cast<const float*>(y_true);
  if (classes == 1) {  // one value per row: all lanes work
    const auto value = [](V u, V v) __attribute__((always_inline)) { return F::value(u, v); };
    map<V>(value, rows, loss, t, p);
    return;
  }
  const float count = static_cast<float>(classes);
  for (dim_t row = 0; row < rows; ++row, t += classes, p += classes) {
    loss[row] = row_sum<V>(classes,
                           [&](dim_t i, auto... mask) __attribute__((always_inline)) {
                             return F::value(V::load(t + i, mask...), V::load(p + i, mask...));
                           }) /
                count;
  }
}

template <class V, class F>
void mean_loss_gradient(const void* y_true, const float* p, float scale, float* dx, dim_t rows,
                        dim_t classes) noexcept {
  const V factor = V::set1(scale / static_cast<float>(classes));
  map<V>([factor](V t, V v) __attribute__((always_inline)) { return F::gradient(t, v) * factor; },
         rows * classes, dx, static_cast<const float*>(y_true), p);
}

template <class V>
void categorical(const void* y_true, const float* p, float* loss, dim_t rows,
                 dim_t classes) noexcept {
  const auto* t = static_cast<const float*>(y_true);
  for (dim_t row = 0; row < rows; ++row, t += classes, p += classes) {
    const V sum = V::set1(row_sum<V>(p, classes));
    loss[row] = -row_sum<V>(classes, [&](dim_t i, auto... mask) __attribute__((always_inline)) {
      return V::load(t + i, mask...) * log(clip(V::load(p + i, mask...) / sum));
    });
  }
}

// dq = -t/c where not clipped; dx = (dq - sum(dq * q)) / sum(p), and dq * q = -t there.
template <class V>
void categorical_gradient(const void* y_true, const float* p, float scale, float* dx, dim_t rows,
                          dim_t classes) noexcept {
  const auto* t = static_cast<const float*>(y_true);
  for (dim_t row = 0; row < rows; ++row, t += classes, p += classes, dx += classes) {
    const V sum = V::set1(row_sum<V>(p, classes));
    const V dot =
        V::set1(row_sum<V>(classes, [&](dim_t i, auto... mask) __attribute__((always_inline)) {
          const V q = V::load(p + i, mask...) / sum;
          return select(is_clipped(q), V::zero(), V::load(t + i, mask...));
        }));
    const V factor = V::set1(scale) / sum;
    map<V>(
        [&](V u, V v) __attribute__((always_inline)) {
          const V q = v / sum;
          return (dot - select(is_clipped(q), V::zero(), u / q)) * factor;
        },
        classes, dx, t, p);
  }
}

template <class V>
inline float row_exp_sum(const float* x, V top, dim_t classes) {
  return row_sum<V>(classes, [&](dim_t i, auto... mask) __attribute__((always_inline)) {
    return exp(V::load(x + i, mask...) - top);
  });
}

template <class V>
void categorical_logits(const void* y_true, const float* x, float* loss, dim_t rows,
                        dim_t classes) noexcept {
  const auto* t = static_cast<const float*>(y_true);
  for (dim_t row = 0; row < rows; ++row, t += classes, x += classes) {
    const V top = V::set1(row_max<V>(x, classes));
    const V log_sum = V::set1(log_of<V>(row_exp_sum<V>(x, top, classes)));
    loss[row] = row_sum<V>(classes, [&](dim_t i, auto... mask) __attribute__((always_inline)) {
      return V::load(t + i, mask...) * (log_sum - (V::load(x + i, mask...) - top));
    });
  }
}

template <class V>
void categorical_logits_gradient(const void* y_true, const float* x, float scale, float* dx,
                                 dim_t rows, dim_t classes) noexcept {
  const auto* t = static_cast<const float*>(y_true);
  const V factor = V::set1(scale);
  for (dim_t row = 0; row < rows; ++row, t += classes, x += classes, dx += classes) {
    const float weight = row_sum<V>(t, classes);
    const V share = V::set1(weight / row_exp<V>(x, dx, classes));
    map<V>([&](V u, V e) { return (e * share - u) * factor; }, classes, dx, t, dx);
  }
}

// A label outside [0, classes) makes its row NaN; nothing is read or written outside the row.
inline bool inside(std::int32_t label, dim_t classes) { return label >= 0 && label < classes; }

template <class V>
void sparse(const void* y_true, const float* p, float* loss, dim_t rows, dim_t classes) noexcept {
  const auto* label = static_cast<const std::int32_t*>(y_true);
  for (dim_t row = 0; row < rows; ++row, p += classes) {
    const bool known = inside(label[row], classes);
    loss[row] = known ? -log_of<V>(clip(p[label[row]] / row_sum<V>(p, classes))) : kNaN;
  }
}

template <class V>
void sparse_gradient(const void* y_true, const float* p, float scale, float* dx, dim_t rows,
                     dim_t classes) noexcept {
  const auto* label = static_cast<const std::int32_t*>(y_true);
  for (dim_t row = 0; row < rows; ++row, p += classes, dx += classes) {
    const bool known = inside(label[row], classes);
    const float sum = row_sum<V>(p, classes), factor = known ? scale / sum : kNaN;
    const float q = known ? p[label[row]] / sum : 0.0f;
    const bool clipped = q < kClipLow || q > kClipHigh;
    // A NaN or infinite p reaches the whole row, as it does through sum(p) in the formula.
    const V fill = V::set1(clipped ? 0.0f * factor : factor);
    for_vectors<V>(classes, [&](dim_t i, auto... mask) { fill.store(dx + i, mask...); });
    if (!clipped) dx[label[row]] = (1.0f - 1.0f / q) * factor;
  }
}

template <class V>
void sparse_logits(const void* y_true, const float* x, float* loss, dim_t rows,
                   dim_t classes) noexcept {
  const auto* label = static_cast<const std::int32_t*>(y_true);
  for (dim_t row = 0; row < rows; ++row, x += classes) {
    if (!inside(label[row], classes)) {
      loss[row] = kNaN;
      continue;
    }
    const float top = row_max<V>(x, classes);
    const float sum = row_exp_sum<V>(x, V::set1(top), classes);
    loss[row] = log_of<V>(sum) - (x[label[row]] - top);
  }
}

template <class V>
void sparse_logits_gradient(const void* y_true, const float* x, float scale, float* dx, dim_t rows,
                            dim_t classes) noexcept {
  const auto* label = static_cast<const std::int32_t*>(y_true);
  for (dim_t row = 0; row < rows; ++row, x += classes, dx += classes) {
    const bool known = inside(label[row], classes);
    const float sum = row_exp<V>(x, dx, classes);  // writes dx, which map() reads
    const V share = V::set1(known ? scale / sum : kNaN);
    map<V>([share](V e) { return e * share; }, classes, dx, dx);
    if (known) dx[label[row]] -= scale;
  }
}

}  // namespace
}  // namespace pycnn
