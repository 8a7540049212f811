// SPDX-License-Identifier: Apache-2.0
// Separable sums over few elements along each axis, by tables: mirrored borders, resized images,
// and the gradients of both, which are the same sums the other way round. SPMD, see
// ops/elementwise.h.
//   y[i0, i1, ..., c] = sum of w0[i0, k0] * w1[i1, k1] * ... * x[j0, j1, ..., c]
#pragma once

#include <vector>

#include "base/arch.h"
#include "base/parallel.h"
#include "base/shape.h"
#include "kernels/eltwise/eltwise.h"

namespace pycnn {

// Along one axis: output i is the sum of terms[begin[i]] ... terms[begin[i + 1] - 1], in order,
// where `at` is an index of x. No tables: the axis stays as it is.
struct AxisSums {
  dim_t in = 1, out = 1;
  std::vector<dim_t> begin = {};
  std::vector<WeightedTerm> terms = {};

  bool is_identity() const { return begin.empty(); }
};
AxisSums same_axis(dim_t extent);
// `before` and `after` elements more, mirrored as np.pad does.
AxisSums mirrored_axis(dim_t extent, dim_t before, dim_t after, PadMode mode);
// Edges clamp. Coordinates are exact fractions; only weights are rounded.
AxisSums resized_axis(dim_t in, dim_t out, Interpolation interpolation, Coordinates coordinates,
                      Rounding rounding);
// The gradient: for each element of x the outputs that it is a term of, from the first to the last.
AxisSums transposed(const AxisSums& axis);

struct Resample {
  // Outputs whose one term lies `step` floats behind that of the output before, from here on.
  struct Stretch {
    dim_t step = 0, count = 1;
  };

  std::vector<AxisSums> axes;           // `at` in floats of x
  std::vector<dim_t> pitch;             // of x, along each axis
  dim_t run = 1;                        // floats that stay together
  dim_t pixels = 1;                     // such runs of y
  std::vector<Stretch> stretches = {};  // of the last axis, where all are copies; else none
  bool by_rows = false;  // short runs: whole rows of x are summed first, then along the last axis
  const EltwiseKernels* kernels = nullptr;

  dim_t scratch_floats() const { return by_rows ? axes.back().in * run : 0; }  // per thread
};
// axes: outermost first, all of them.
Resample make_resample(std::vector<AxisSums> axes, Isa isa);

void resample(const Resample& op, const float* x, float* y, Worker& worker) noexcept;

}  // namespace pycnn
