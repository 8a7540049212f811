// SPDX-License-Identifier: Apache-2.0
// Kernels that reduce columns or rows. Pointers need no more than float alignment; nothing outside
// the given rows is read or written.
// Columns of x[rows][ldx], C <= kMaxColumns of them; sums are single precision, so callers pass
// chunks of rows and combine them in double:
//   column_sum        sum[c] = sum_r x[r][c]
//   column_moments    mean[c] = sum[c] / rows; d = x[r][c] - mean[c]; m1[c] = sum_r d,
//                     m2[c] = sum_r d*d
//   column_gradients  sum_dy[c] = sum_r dy[r][c]; sum_dyx[c] = sum_r dy[r][c] * (x[r][c] - mean[c])
// Dense x[rows][C], y (dx) may be any input:
//   normalize           y = (x - mean[c]) * scale[c] + shift[c]
//   normalize_gradient  dx = k1[c]*dy + k2[c]*(x - mean[c]) + k3[c]
// Rows of x[rows][classes]:
//   dots              y[row] = sum over i < count of x[row][i] * v[i]; added to y where `adds`.
//                     The sum's order depends on nothing but the count
//   softmax           y = exp(x - max) / sum(exp(x - max)); y may be x
//   softmax_gradient  dx = y * (dy - sum(dy * y)); dx may be y or dy
//   loss              loss[row], formulas in loss.h of this folder; y_true int32[rows] where sparse
//   loss_gradient     dx = scale * d loss[row] / d y_pred; dx may be y_pred
#pragma once

#include "base/types.h"

namespace pycnn {

enum class Isa : int;

constexpr dim_t kMaxColumns = 512;
constexpr int kLossKinds = 4;  // LossKind has this many values

struct ReduceKernels {
  using Loss = void (*)(const void* y_true, const float* y_pred, float* loss, dim_t rows,
                        dim_t classes) noexcept;
  using LossGradient = void (*)(const void* y_true, const float* y_pred, float scale, float* dx,
                                dim_t rows, dim_t classes) noexcept;

  void (*column_sum)(const float* x, dim_t ldx, dim_t rows, dim_t C, float* sum) noexcept;
  void (*column_moments)(const float* x, dim_t ldx, dim_t rows, dim_t C, float* mean, float* m1,
                         float* m2) noexcept;
  void (*column_gradients)(const float* x, const float* dy, dim_t ldx, dim_t rows, dim_t C,
                           const float* mean, float* sum_dy, float* sum_dyx) noexcept;
  void (*normalize)(const float* x, const float* mean, const float* scale, const float* shift,
                    float* y, dim_t rows, dim_t C) noexcept;
  void (*normalize_gradient)(const float* x, const float* dy, const float* mean, const float* k1,
                             const float* k2, const float* k3, float* dx, dim_t rows,
                             dim_t C) noexcept;
  void (*dots)(const float* x, dim_t ldx, dim_t rows, dim_t count, const float* v, float* y,
               bool adds) noexcept;
  void (*softmax)(const float* x, float* y, dim_t rows, dim_t classes) noexcept;
  void (*softmax_gradient)(const float* y, const float* dy, float* dx, dim_t rows,
                           dim_t classes) noexcept;
  Loss loss[kLossKinds][2];  // by LossKind and from_logits
  LossGradient loss_gradient[kLossKinds][2];
  dim_t (*arg_max)(const float* x, dim_t count) noexcept;  // the first maximum, or the first NaN
  float (*max_abs)(const float* x, dim_t count) noexcept;  // the largest |x|; NaN if any is NaN
  // Is each of the first `count` floats of `rows` rows neither infinite nor NaN?
  bool (*all_finite)(const float* x, dim_t rows, dim_t pitch, dim_t count) noexcept;
};

extern const ReduceKernels reduce_scalar, reduce_avx2, reduce_avx512;

const ReduceKernels& reduce_kernels(Isa isa);

}  // namespace pycnn
