// SPDX-License-Identifier: Apache-2.0
#include "ops/loss.h"

#include <algorithm>
#include <atomic>
#include <cassert>

namespace pycnn {
namespace {

constexpr dim_t kMaxBlock = 16384;

// y_true from `row` on: one label per row where sparse, else a row of classes.
const void* truth(const Loss& op, const void* y_true, dim_t row) {
  assert(y_true != nullptr && 0 <= row && row < op.map.rows);
  if (op.kind == LossKind::sparse_categorical_crossentropy) {
    return static_cast<const std::int32_t*>(y_true) + row;
  }
  return static_cast<const float*>(y_true) + row * op.map.classes;
}

float mean_in_order(const float* values, dim_t count) {
  assert(count >= 1);
  double sum = 0;
  for (dim_t i = 0; i < count; ++i) sum += values[i];
  return static_cast<float>(sum / static_cast<double>(count));
}

// The score of one row, 0 to 1.
float score(const Metric& op, const void* y_true, const float* y_pred, dim_t row) {
  assert(y_true != nullptr && y_pred != nullptr);
  const dim_t classes = op.map.classes;
  const float* p = y_pred + row * classes;
  if (op.kind == MetricKind::sparse_categorical_accuracy) {
    return op.map.kernels->arg_max(p, classes) == static_cast<const std::int32_t*>(y_true)[row];
  }
  const float* t = static_cast<const float*>(y_true) + row * classes;
  if (op.kind == MetricKind::categorical_accuracy) {
    return op.map.kernels->arg_max(p, classes) == op.map.kernels->arg_max(t, classes);
  }
  dim_t right = 0;
  if (op.kind == MetricKind::binary_accuracy) {
    for (dim_t i = 0; i < classes; ++i) right += (p[i] > op.threshold ? 1.0f : 0.0f) == t[i];
  } else {
    for (dim_t i = 0; i < classes; ++i) right += p[i] == t[i];
  }
  return static_cast<float>(static_cast<double>(right) / static_cast<double>(classes));
}

// *value = max(*value, mine); NaN is the greatest of all. Its order changes no bit.
void raise(float* value, float mine) noexcept {
  const std::atomic_ref<float> shared(*value);
  float known = shared.load(std::memory_order_relaxed);
  const auto exceeds = [&] { return known == known && !(mine <= known); };
  while (exceeds() && !shared.compare_exchange_weak(known, mine, std::memory_order_relaxed)) {
  }
}

}  // namespace

Loss make_loss(dim_t rows, dim_t classes, LossKind kind, bool from_logits, Isa isa) {
  return {make_row_map(rows, classes, isa), kind, from_logits};
}

void loss_forward(const Loss& op, const void* y_true, const float* y_pred, float* value,
                  float* workspace, Worker& worker) noexcept {
  assert(y_pred != nullptr && value != nullptr && workspace != nullptr);
  const auto kernel = op.map.kernels->loss[static_cast<int>(op.kind)][op.from_logits ? 1 : 0];
  for_rows(op.map, worker, [&](dim_t row, dim_t rows) noexcept {
    kernel(truth(op, y_true, row), y_pred + row * op.map.classes, workspace + row, rows,
           op.map.classes);
  });
  worker.single([&]() noexcept { *value = mean_in_order(workspace, op.map.rows); });
}

void loss_backward(const Loss& op, const void* y_true, const float* y_pred, float* dx,
                   Worker& worker) noexcept {
  assert(y_pred != nullptr && dx != nullptr);
  const auto kernel =
      op.map.kernels->loss_gradient[static_cast<int>(op.kind)][op.from_logits ? 1 : 0];
  const float scale = 1.0f / static_cast<float>(op.map.rows);
  for_rows(op.map, worker, [&](dim_t row, dim_t rows) noexcept {
    const dim_t i = row * op.map.classes;
    kernel(truth(op, y_true, row), y_pred + i, scale, dx + i, rows, op.map.classes);
  });
}

Metric make_metric(dim_t rows, dim_t classes, MetricKind kind, float threshold, Isa isa) {
  return {make_row_map(rows, classes, isa), kind, threshold};
}

void metric_forward(const Metric& op, const void* y_true, const float* y_pred, float* value,
                    float* workspace, Worker& worker) noexcept {
  assert(value != nullptr && workspace != nullptr);
  for_rows(op.map, worker, [&](dim_t begin, dim_t rows) noexcept {
    for (dim_t row = begin; row < begin + rows; ++row) {
      workspace[row] = score(op, y_true, y_pred, row);
    }
  });
  worker.single([&]() noexcept { *value = mean_in_order(workspace, op.map.rows); });
}

void max_abs(const float* x, dim_t count, Isa isa, float* value, Worker& worker) noexcept {
  assert(count >= 0 && value != nullptr && (count == 0 || x != nullptr));
  const ReduceKernels& kernels = reduce_kernels(isa);
  worker.single([&]() noexcept { *value = 0; });
  worker.parallel_for(ceil_div(count, kMaxBlock), [&](dim_t begin, dim_t end) noexcept {
    const dim_t first = begin * kMaxBlock;
    raise(value, kernels.max_abs(x + first, std::min(end * kMaxBlock, count) - first));
  });
}

}  // namespace pycnn
