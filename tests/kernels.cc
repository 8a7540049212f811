// SPDX-License-Identifier: Apache-2.0
// The kernels of the avx512 files, compiled with 16 portable lanes instead of AVX-512, against the
// avx2 files compiled with one lane. Shows that the 16-lane logic (tails, masks, tables) is right
// on a machine that cannot run it. See test_kernels.py.
#include "kernels.h"

#include "kernels/depthwise/depthwise.h"
#include "kernels/eltwise/eltwise.h"
#include "kernels/expression/expression.h"
#include "kernels/pool/pool.h"
#include "kernels/reduce/reduce.h"
#include "kernels/update/update.h"

using namespace pycnn;

namespace {

// --- maps: equal to one lane, bit for bit -------------------------------------------------------

void check_eltwise() {
  const EltwiseKernels &wide = eltwise_avx512, &one = eltwise_avx2;
  for (dim_t n = 0; n < 70; ++n) {
    Floats x = reals(n, 3), dy = reals(n);
    if (n > 2) x[static_cast<std::size_t>(n) - 1] = NAN, x[1] = -INFINITY, x[0] = 104;
    for (int kind = 0; kind < kActivationKinds; ++kind) {
      Results y(n), z(n);
      wide.activation[kind](x.data(), y.data(), n, 0.3f);
      one.activation[kind](x.data(), z.data(), n, 0.3f);
      compare(y, z, same, "activation", kind);
      wide.activation_gradient[kind](x.data(), dy.data(), y.data(), n, 0.3f);
      one.activation_gradient[kind](x.data(), dy.data(), z.data(), n, 0.3f);
      compare(y, z, same, "activation_gradient", kind);
    }
    Results y(n), z(n);
    wide.add(x.data(), dy.data(), y.data(), n);
    one.add(x.data(), dy.data(), z.data(), n);
    compare(y, z, same, "add", n);
    const dim_t row = n / 3;
    wide.copy_rows(x.data(), row, y.data(), row, 3, row);
    one.copy_rows(x.data(), row, z.data(), row, 3, row);
    compare(y, z, same, "copy_rows", row);
    wide.add_rows(dy.data(), row, y.data(), row, 3, row);
    one.add_rows(dy.data(), row, z.data(), row, 3, row);
    compare(y, z, same, "add_rows", row);
  }
  const DropoutKey key{.seed = 0x123456789abcdefu, .stream = 7, .step = 9, .rate = 0.3f};
  for (const dim_t first : {dim_t{0}, dim_t{640}, (dim_t{1} << 34) - 64 * 4}) {
    for (dim_t n = 0; n < 300; n += 7) {
      const Floats x = reals(n);
      Results y(n), z(n);
      wide.dropout(key, first, x.data(), y.data(), n);
      one.dropout(key, first, x.data(), z.data(), n);
      compare(y, z, same, "dropout", n, first);
    }
  }
}

// Also: one operand repeated, all the same number.
void check_expression() {
  for (int f = 0; f < kFunctions; ++f) {
    for (dim_t n = 0; n < 70; n += n < 20 ? 1 : 7) {
      Floats a = reals(n, 3);
      const Floats b = reals(n), c(kMostLanes, 0.75f);
      if (n > 2) a[0] = -INFINITY, a[1] = NAN, a[2] = 1e30f;
      for (const int repeated : {-1, 1, 2}) {
        BlockOperand x[] = {{a.data()}, {b.data()}, {b.data()}};
        if (repeated > 0) x[repeated] = {c.data(), true};
        Results y(n), z(n);
        expression_avx512.call[f](y.data(), x, n);
        expression_avx2.call[f](z.data(), x, n);
        compare(y, z, same, "expression", f, n);
      }
    }
  }
}

void check_update() {
  const UpdateKernels &wide = update_avx512, &one = update_avx2;
  const SgdStep sgd{.learning_rate = 0.1f, .momentum = 0.9f, .decay = 0.01f};
  const AdamStep adam{
      .alpha = 0.1f, .gain_1 = 0.1f, .gain_2 = 0.01f, .epsilon = 1e-7f, .decay = 0.01f};
  for (dim_t n = 0; n < 70; ++n) {
    const Floats g = reals(n), w = reals(n), m = reals(n);
    Floats v = reals(n);
    for (float& value : v) value *= value;
    const auto pair = [&](auto kernels, Results& a, Results& b, Results& c) {
      kernels->sgd(sgd, g.data(), a.data(), n);
      kernels->sgd_momentum(sgd, g.data(), a.data(), b.data(), n);
      kernels->sgd_nesterov(sgd, g.data(), a.data(), b.data(), n);
      kernels->adam(adam, g.data(), a.data(), b.data(), c.data(), n);
    };
    Results a(w), b(m), c(v), a1(w), b1(m), c1(v);
    pair(&wide, a, b, c);
    pair(&one, a1, b1, c1);
    compare(a, a1, same, "update w", n);
    compare(b, b1, same, "update m", n);
    compare(c, c1, same, "update v", n);
  }
}

// --- pools --------------------------------------------------------------------------------------

struct Bytes {
  std::vector<std::uint8_t> memory;
  explicit Bytes(dim_t n) : memory(static_cast<std::size_t>(n + kMargin), 77) {}
  void compare(const Bytes& other) const { expect(memory == other.memory, "max arg"); }
};

void check_windows(dim_t C) {
  for (const dim_t pixels : {1, 2, 5}) {
    const PoolRun run{.pixels = pixels,
                      .C = C,
                      .rows = 2,
                      .columns = 3,
                      .row_stride = 20 * C,
                      .column_stride = C,
                      .x_step = 2 * C,
                      .first_index = 4,
                      .index_stride = 5,
                      .divisor = 6};
    Floats x = wholes(40 * C, 2);
    if (C > 1) x[static_cast<std::size_t>(C)] = NAN;
    Results y(pixels * C), z(pixels * C);
    Bytes arg(pixels * C), arg1(pixels * C);
    pool_avx512.max(run, x.data(), y.data(), arg.memory.data());
    pool_avx2.max(run, x.data(), z.data(), arg1.memory.data());
    compare(y, z, same, "max", C);
    arg.compare(arg1);
    Results y2(pixels * C);
    pool_avx512.max(run, x.data(), y2.data(), nullptr);
    compare(y2, z, same, "max without arg", C);
    pool_avx512.average(run, x.data(), y.data());
    pool_avx2.average(run, x.data(), z.data());
    compare(y, z, same, "average", C);
  }
}

void check_pool_rows(dim_t C) {
  for (const dim_t stride : {1, 2, 3}) {
    const PoolRow row{.H = 5,
                      .W = 7,
                      .Q = (7 + 1 - 3) / stride + 1,
                      .C = C,
                      .R = 3,
                      .S = 3,
                      .stride_h = 1,
                      .stride_w = stride,
                      .pad = 1,
                      .h = 2,
                      .r = 2,
                      .windows = stride < 3 ? 2 : 1};
    const dim_t count = row.windows * row.Q * C;
    const Floats dy = reals(count);
    Bytes arg(count);
    for (dim_t i = 0; i < count; ++i) {
      arg.memory[static_cast<std::size_t>(i)] = static_cast<std::uint8_t>(draw() % 9);
    }
    Results a(row.W * C), b(row.W * C);
    pool_avx512.max_gather(row, arg.memory.data(), dy.data(), a.data());
    pool_avx2.max_gather(row, arg.memory.data(), dy.data(), b.data());
    compare(a, b, same, "max_gather", C, stride);
    pool_avx512.average_gather(row, dy.data(), a.data());
    pool_avx2.average_gather(row, dy.data(), b.data());
    compare(a, b, same, "average_gather", C, stride);
    if (stride < row.S) continue;
    pool_avx512.max_unpool(row, arg.memory.data(), dy.data(), a.data());
    pool_avx2.max_unpool(row, arg.memory.data(), dy.data(), b.data());
    compare(a, b, same, "max_unpool", C, stride);
    pool_avx512.average_unpool(row, dy.data(), a.data());
    pool_avx2.average_unpool(row, dy.data(), b.data());
    compare(a, b, same, "average_unpool", C, stride);
  }
}

void check_pool() {
  for (dim_t C = 1; C <= 70; ++C) {
    check_windows(C);
    check_pool_rows(C);
    const Floats x = reals(C);
    Results y(5 * C), z(5 * C);
    pool_avx512.spread(x.data(), 0.3f, y.data(), 5, C);
    pool_avx2.spread(x.data(), 0.3f, z.data(), 5, C);
    compare(y, z, same, "spread", C);
  }
}

// --- depthwise: whole numbers are exact --------------------------------------------------------

void check_depthwise(dim_t C, dim_t columns, dim_t pixels, dim_t x_step, dim_t dilation) {
  const dim_t width = (pixels - 1) * x_step + (columns - 1) * dilation + 1;
  const DepthwiseRun run{.pixels = pixels,
                         .C = C,
                         .rows = 2,
                         .columns = columns,
                         .row_stride = width * C,
                         .column_stride = dilation * C,
                         .x_step = x_step * C,
                         .y_step = C + 2,
                         .w_row_stride = -columns * C,
                         .w_column_stride = C};
  const Floats x = wholes(2 * width * C), w = wholes(2 * columns * C), bias = wholes(C);
  const Floats more = wholes(pixels * run.y_step), gate = wholes(pixels * run.y_step, 8);
  const float* last_row = w.data() + columns * C;
  for (const float* residual : {static_cast<const float*>(nullptr), more.data()}) {
    const Epilogue epilogue{bias.data(), residual, residual == nullptr ? nullptr : gate.data(), 6,
                            residual == nullptr ? ActivationKind::relu6 : ActivationKind::relu};
    Results y(pixels * run.y_step), z(pixels * run.y_step);
    depthwise_avx512.correlate(run, x.data(), last_row, epilogue, y.data());
    depthwise_avx2.correlate(run, x.data(), last_row, epilogue, z.data());
    compare(y, z, same, "correlate", C, columns);
  }
  Results dw(w), dz(w);
  depthwise_avx512.accumulate(run, x.data(), more.data(), dw.data() + columns * C);
  depthwise_avx2.accumulate(run, x.data(), more.data(), dz.data() + columns * C);
  compare(dw, dz, same, "accumulate", C, columns);
}

void check_depthwise() {
  for (dim_t C = 1; C <= 70; C += C < 36 ? 1 : 7) {
    for (dim_t columns = 1; columns <= 7; ++columns) {
      for (const dim_t pixels : {1, 2, 7, 8, 9, 17}) {
        check_depthwise(C, columns, pixels, 1, 1);
        check_depthwise(C, columns, pixels, 2, 1);
        check_depthwise(C, columns, pixels, 1 + columns % 3, 2);
      }
    }
  }
}

// --- reductions: whole numbers are exact in any order -------------------------------------------

void check_columns(dim_t rows, dim_t C, dim_t ldx) {
  const Floats x = wholes(rows * ldx), dy = wholes(rows * ldx), mean = wholes(C);
  Results a(C), b(C), c(C), a1(C), b1(C), c1(C);
  reduce_avx512.column_sum(x.data(), ldx, rows, C, a.data());
  reduce_avx2.column_sum(x.data(), ldx, rows, C, a1.data());
  compare(a, a1, same, "column_sum", C, rows);
  reduce_avx512.column_moments(x.data(), ldx, rows, C, a.data(), b.data(), c.data());
  reduce_avx2.column_moments(x.data(), ldx, rows, C, a1.data(), b1.data(), c1.data());
  const auto equal = rows <= 32 ? same : close;  // squares of 1/256 need more than 24 bits
  compare(a, a1, equal, "moments mean", C, rows);
  compare(b, b1, equal, "moments m1", C, rows);
  compare(c, c1, equal, "moments m2", C, rows);
  reduce_avx512.column_gradients(x.data(), dy.data(), ldx, rows, C, mean.data(), a.data(),
                                 b.data());
  reduce_avx2.column_gradients(x.data(), dy.data(), ldx, rows, C, mean.data(), a1.data(),
                               b1.data());
  compare(a, a1, same, "gradients dy", C, rows);
  compare(b, b1, same, "gradients dyx", C, rows);
}

void check_normalize(dim_t rows, dim_t C) {
  const Floats x = reals(rows * C), dy = reals(rows * C), p = reals(4 * C);
  const float *mean = p.data(), *k1 = mean + C, *k2 = k1 + C, *k3 = k2 + C;
  Results y(rows * C), z(rows * C);
  reduce_avx512.normalize(x.data(), mean, k1, k2, y.data(), rows, C);
  reduce_avx2.normalize(x.data(), mean, k1, k2, z.data(), rows, C);
  compare(y, z, close, "normalize", C, rows);
  reduce_avx512.normalize_gradient(x.data(), dy.data(), mean, k1, k2, k3, y.data(), rows, C);
  reduce_avx2.normalize_gradient(x.data(), dy.data(), mean, k1, k2, k3, z.data(), rows, C);
  compare(y, z, close, "normalize_gradient", C, rows);
}

void check_rows(dim_t rows, dim_t K) {
  const Floats x = reals(rows * K), dy = reals(rows * K);
  Results y(rows * K), z(rows * K);
  reduce_avx512.softmax(x.data(), y.data(), rows, K);
  reduce_avx2.softmax(x.data(), z.data(), rows, K);
  compare(y, z, close, "softmax", K);
  reduce_avx512.softmax_gradient(x.data(), dy.data(), y.data(), rows, K);
  reduce_avx2.softmax_gradient(x.data(), dy.data(), z.data(), rows, K);
  for (dim_t i = 0; i < rows * K; ++i) {
    const float bound =
        1e-5f * static_cast<float>(K) * (1 + std::fabs(x[static_cast<std::size_t>(i)]));
    expect(std::fabs(y.data()[i] - z.data()[i]) <= bound, "softmax_gradient", i, K);
  }
  y.margins("softmax_gradient");
  const float top = x[static_cast<std::size_t>(draw()) % static_cast<std::size_t>(K)];
  Floats ties(x.begin(), x.begin() + K);
  for (float& v : ties) v = v > top ? top : v;
  expect(reduce_avx512.arg_max(ties.data(), K) == reduce_avx2.arg_max(ties.data(), K), "arg_max",
         K);
  for (const float bad : {NAN, INFINITY, -INFINITY}) {
    for (dim_t i = 0; i < K; ++i) {
      Floats values = ties;
      values.resize(static_cast<std::size_t>(K) + 16, NAN);  // beyond the row: not looked at
      float largest = 0;
      for (dim_t k = 0; k < K; ++k) largest = std::fmax(largest, std::fabs(values[k]));
      expect(reduce_avx512.max_abs(values.data(), K) == largest, "max_abs", K);
      expect(reduce_avx2.max_abs(values.data(), K) == largest, "max_abs of one lane", K);
      values[static_cast<std::size_t>(i)] = bad;
      const float special = std::isnan(bad) ? NAN : INFINITY;
      expect(same(reduce_avx512.max_abs(values.data(), K), special), "max_abs", i, K);
      expect(same(reduce_avx2.max_abs(values.data(), K), special), "max_abs of one lane", i, K);
      values[static_cast<std::size_t>(K - 1 - i)] = NAN;
      expect(std::isnan(reduce_avx512.max_abs(values.data(), K)), "max_abs with NaN", i, K);
      values[static_cast<std::size_t>(K - 1 - i)] = values[static_cast<std::size_t>(i)] = bad;
      const dim_t best = reduce_avx2.arg_max(values.data(), K);
      expect(reduce_avx512.arg_max(values.data(), K) == best, "arg_max of special", i, K);
    }
  }
}

void check_losses(dim_t rows, dim_t K) {
  Floats p = reals(rows * K), t = wholes(rows * K, 1);
  for (float& v : p) v = 0.05f + 0.9f / (1 + std::exp(-v));
  std::vector<std::int32_t> labels(static_cast<std::size_t>(rows));
  for (auto& label : labels) label = static_cast<std::int32_t>(draw() % static_cast<unsigned>(K));
  for (int kind = 0; kind < kLossKinds; ++kind) {
    const void* truth = kind == kLossKinds - 1 ? static_cast<const void*>(labels.data()) : t.data();
    for (int logits = 0; logits < 2; ++logits) {
      Results y(rows), z(rows), dx(rows * K), dz(rows * K);
      reduce_avx512.loss[kind][logits](truth, p.data(), y.data(), rows, K);
      reduce_avx2.loss[kind][logits](truth, p.data(), z.data(), rows, K);
      const auto near = [](float a, float b) {
        return std::fabs(a - b) <= 2e-5f * (1 + std::fabs(b));
      };
      compare(y, z, near, "loss", kind, K);
      reduce_avx512.loss_gradient[kind][logits](truth, p.data(), 0.5f, dx.data(), rows, K);
      reduce_avx2.loss_gradient[kind][logits](truth, p.data(), 0.5f, dz.data(), rows, K);
      compare(dx, dz, near, "loss_gradient", kind, K);
    }
  }
}

void check_reduce() {
  for (dim_t C = 1; C <= 70; ++C) {
    for (const dim_t rows : {1, 2, 4, 8, 32, 256}) {
      check_columns(rows, C, C);
      check_columns(rows, C, C + 5);
      check_normalize(rows % 37, C);
    }
    check_rows(3, C);
    check_losses(5, C);
  }
}

}  // namespace

int main() {
  check_brgemm();
  check_eltwise();
  check_expression();
  check_update();
  check_pool();
  check_depthwise();
  check_reduce();
  std::printf("%ld checks\n", checks);
  return 0;
}
