// SPDX-License-Identifier: Apache-2.0
// Losses and metrics over rows of `classes` outputs. Formulas and clipping as in Keras 3.
// SPMD functions, see ops/elementwise.h.
#pragma once

#include "base/types.h"
#include "ops/row_map.h"

namespace pycnn {

struct Loss {
  RowMap map;
  LossKind kind = LossKind::mean_squared_error;
  bool from_logits = false;
  dim_t workspace_floats() const { return map.rows; }
};
Loss make_loss(dim_t rows, dim_t classes, LossKind kind, bool from_logits, Isa isa);

// y_true: float[rows][classes], or int32[rows] for sparse_categorical_crossentropy.
// *value = mean loss; rows are summed in double, in order.
void loss_forward(const Loss& op, const void* y_true, const float* y_pred, float* value,
                  float* workspace, Worker& worker) noexcept;
// dx[row][class] = gradient of the mean loss with respect to y_pred; dx may be y_pred's memory
void loss_backward(const Loss& op, const void* y_true, const float* y_pred, float* dx,
                   Worker& worker) noexcept;

struct Metric {
  RowMap map;
  MetricKind kind = MetricKind::accuracy;
  float threshold = 0.5f;
  dim_t workspace_floats() const { return map.rows; }
};
Metric make_metric(dim_t rows, dim_t classes, MetricKind kind, float threshold, Isa isa);

// *value = mean over rows of the per-row score (accuracy: y_true == y_pred; binary_accuracy: share
// of outputs on the right side of the threshold, y_pred > threshold is 1; categorical and sparse: 1
// where the first arg-max is the label)
void metric_forward(const Metric& op, const void* y_true, const float* y_pred, float* value,
                    float* workspace, Worker& worker) noexcept;

// *value = the largest |x|, NaN where any is NaN: finite where all are
void max_abs(const float* x, dim_t count, Isa isa, float* value, Worker& worker) noexcept;

}  // namespace pycnn
