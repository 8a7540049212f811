// SPDX-License-Identifier: Apache-2.0
#include "ops/batchnorm.h"

#include <cmath>

#include "ops/row_tiles.h"

namespace pycnn {
namespace {

struct Moments {
  Sums mean{}, m2{};  // m2: sum of squared deviations from mean
};

// Chan's formula, chunk after chunk. A chunk's mean was rounded; m1, the sum of deviations from it,
// corrects for that.
Moments combine_moments(const RowReduction& op, float* workspace, dim_t c, dim_t count) {
  assert(count <= kCombineBlock && c + count <= op.C);
  Moments all;
  double n = 0;
  for (dim_t chunk = 0; chunk < op.chunks(); ++chunk) {
    const double rows =
        static_cast<double>(std::min(op.chunk_rows, op.rows - chunk * op.chunk_rows));
    const float* mean = partial(op, workspace, 0, chunk) + c;
    const float* m1 = partial(op, workspace, 1, chunk) + c;
    const float* m2 = partial(op, workspace, 2, chunk) + c;
    const double inverse = 1 / rows, share = rows / (n + rows), cross = n * share;
    for (dim_t i = 0; i < count; ++i) {
      const double shift = m1[i] * inverse, delta = mean[i] + shift - all.mean[i];
      all.mean[i] += delta * share;
      all.m2[i] += std::max(m2[i] - m1[i] * shift, 0.0) + delta * delta * cross;
    }
    n += rows;
  }
  return all;
}

float or_else(const float* values, dim_t c, float absent) {
  return values != nullptr ? values[c] : absent;
}

}  // namespace

BatchNorm make_batch_norm(dim_t rows, dim_t C, float epsilon, Isa isa) {
  assert(epsilon >= 0);
  return {make_row_reduction(rows, C, isa), epsilon};
}

void batch_norm_training_forward(const BatchNorm& op, const float* x, const float* gamma,
                                 const float* beta, float* y, float* mean, float* var,
                                 float* workspace, Worker& worker) noexcept {
  assert(x != nullptr && y != nullptr);
  assert(mean != nullptr && var != nullptr);
  const RowReduction& rows = op.reduction;
  for_tiles(rows, worker, [&](const Tile& tile) noexcept {
    float* parts[kPartials];
    for (int k = 0; k < kPartials; ++k) {
      parts[k] = partial(rows, workspace, k, tile.chunk) + tile.channel;
    }
    rows.kernels->column_moments(x + tile.at, rows.C, tile.rows, tile.C, parts[0], parts[1],
                                 parts[2]);
  });
  float* const scale = coefficient(rows, workspace, 0);
  float* const shift = coefficient(rows, workspace, 1);
  for_channels(rows, worker, [&](dim_t first, dim_t count) noexcept {
    const Moments all = combine_moments(rows, workspace, first, count);
    for (dim_t i = 0; i < count; ++i) {
      const dim_t c = first + i;
      const double variance = all.m2[i] / static_cast<double>(rows.rows);
      const double factor = or_else(gamma, c, 1) / std::sqrt(variance + op.epsilon);
      mean[c] = static_cast<float>(all.mean[i]);
      var[c] = static_cast<float>(variance);
      scale[c] = static_cast<float>(factor);
      // y is taken from x - mean[c]; what rounding took off the mean goes here.
      shift[c] = static_cast<float>(or_else(beta, c, 0) - (all.mean[i] - mean[c]) * factor);
    }
  });
  for_rows(rows, worker, [&](dim_t i, dim_t count) noexcept {
    rows.kernels->normalize(x + i, mean, scale, shift, y + i, count, rows.C);
  });
}

void batch_norm_inference_forward(const BatchNorm& op, const float* x, const float* gamma,
                                  const float* beta, const float* mean, const float* var, float* y,
                                  float* workspace, Worker& worker) noexcept {
  assert(x != nullptr && var != nullptr && y != nullptr);
  const RowReduction& rows = op.reduction;
  float* const scale = coefficient(rows, workspace, 0);
  float* const zeros = coefficient(rows, workspace, 1);
  for_channels(rows, worker, [&](dim_t first, dim_t count) noexcept {
    for (dim_t c = first; c < first + count; ++c) {
      scale[c] = static_cast<float>(or_else(gamma, c, 1) / std::sqrt(double{var[c]} + op.epsilon));
      zeros[c] = 0;
    }
  });
  const float* const center = mean != nullptr ? mean : zeros;
  const float* const shift = beta != nullptr ? beta : zeros;
  for_rows(rows, worker, [&](dim_t i, dim_t count) noexcept {
    rows.kernels->normalize(x + i, center, scale, shift, y + i, count, rows.C);
  });
}

// With r = 1/sqrt(var + epsilon), n rows, S = sum dy, T = sum dy*(x - mean):
// dbeta = S, dgamma = r*T, dx = gamma*r*dy - gamma*r^3*T/n * (x - mean) - gamma*r*S/n
void batch_norm_backward(const BatchNorm& op, const float* x, const float* gamma, const float* mean,
                         const float* var, const float* dy, float* dx, float* dgamma, float* dbeta,
                         float* workspace, Worker& worker) noexcept {
  assert(x != nullptr && mean != nullptr && var != nullptr && dy != nullptr);
  assert(dx != nullptr && dgamma != nullptr && dbeta != nullptr && dx != x);
  const RowReduction& rows = op.reduction;
  for_tiles(rows, worker, [&](const Tile& tile) noexcept {
    rows.kernels->column_gradients(x + tile.at, dy + tile.at, rows.C, tile.rows, tile.C,
                                   mean + tile.channel,
                                   partial(rows, workspace, 0, tile.chunk) + tile.channel,
                                   partial(rows, workspace, 1, tile.chunk) + tile.channel);
  });
  float* const k1 = coefficient(rows, workspace, 0);
  float* const k2 = coefficient(rows, workspace, 1);
  float* const k3 = coefficient(rows, workspace, 2);
  for_channels(rows, worker, [&](dim_t first, dim_t count) noexcept {
    const Sums sum_dy = sum_of_chunks(rows, workspace, 0, first, count);
    const Sums sum_dyx = sum_of_chunks(rows, workspace, 1, first, count);
    const double inverse = 1.0 / static_cast<double>(rows.rows);
    for (dim_t i = 0; i < count; ++i) {
      const dim_t c = first + i;
      const double r = 1 / std::sqrt(double{var[c]} + op.epsilon),
                   factor = or_else(gamma, c, 1) * r;
      dbeta[c] = static_cast<float>(sum_dy[i]);
      dgamma[c] = static_cast<float>(sum_dyx[i] * r);
      k1[c] = static_cast<float>(factor);
      k2[c] = static_cast<float>(-factor * r * r * sum_dyx[i] * inverse);
      k3[c] = static_cast<float>(-factor * sum_dy[i] * inverse);
    }
  });
  for_rows(rows, worker, [&](dim_t i, dim_t count) noexcept {
    rows.kernels->normalize_gradient(x + i, dy + i, mean, k1, k2, k3, dx + i, count, rows.C);
  });
}

}  // namespace pycnn
