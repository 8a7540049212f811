// SPDX-License-Identifier: Apache-2.0
// The tiles of the avx512 family, compiled with 16 portable lanes, against plain loops.
#include "kernels.h"
#include "kernels/brgemm/brgemm.h"

using namespace pycnn;

namespace {

enum class Order { rows, columns };

struct Product {
  dim_t m, n, k, count, nr, lda, ldc;
  Order order;
  Floats a, b, bias, residual, gate;
  std::vector<dim_t> a_offset, b_offset;
};

Product make_product(const BrgemmTile& tile, dim_t m, dim_t n, dim_t k, dim_t count, Order order) {
  Product p{m, n, k, count, tile.nr, 0, n + 3, order, {}, {}, {}, {}, {}, {}, {}};
  p.lda = order == Order::rows ? k + 2 : m + 1;
  const dim_t block = order == Order::rows ? m * p.lda : k * p.lda;
  p.a = wholes(block * count);
  p.b = wholes(k * count * p.nr);
  for (dim_t row = 0; row < k * count; ++row) {
    for (dim_t j = n; j < p.nr; ++j) p.b[static_cast<std::size_t>(row * p.nr + j)] = 0;
  }
  for (dim_t i = 0; i < count; ++i) {
    p.a_offset.push_back((count - 1 - i) * block);
    p.b_offset.push_back(order == Order::rows ? i * k * p.nr : (i + 1) % count * k * p.nr);
  }
  p.bias = wholes(n), p.residual = wholes(m * p.ldc), p.gate = wholes(m * p.ldc, 8);
  return p;
}

float plain(const Product& p, const Epilogue& ep, dim_t i, dim_t j, float start) {
  double sum = start;
  for (dim_t c = 0; c < p.count; ++c) {
    const float* a = p.a.data() + p.a_offset[static_cast<std::size_t>(c)];
    const float* b = p.b.data() + p.b_offset[static_cast<std::size_t>(c)];
    for (dim_t k = 0; k < p.k; ++k) {
      sum += a[p.order == Order::rows ? i * p.lda + k : k * p.lda + i] * b[k * p.nr + j];
    }
  }
  float y = static_cast<float>(sum);
  if (ep.bias != nullptr) y += ep.bias[j];
  if (ep.residual != nullptr) y += ep.residual[i * p.ldc + j];
  if (ep.act != ActivationKind::linear) y = y > 0 ? y : 0;
  if (ep.act == ActivationKind::relu6) y = y < 6 ? y : 6;
  if (ep.gate != nullptr) {
    const float g = ep.gate[i * p.ldc + j];
    if (!(g > 0) || (ep.gate_ceiling > 0 && g >= ep.gate_ceiling)) y = 0;
  }
  return y;
}

void check_product(const BrgemmTile& tile, const Product& p, unsigned variant) {
  constexpr ActivationKind kActs[] = {ActivationKind::linear, ActivationKind::relu,
                                      ActivationKind::relu6};
  Epilogue ep;
  if (variant & 1) ep.bias = p.bias.data();
  if (variant & 2) ep.residual = p.residual.data();
  if (variant & 4) ep.gate = p.gate.data();
  if (variant & 8) ep.gate_ceiling = 6;
  ep.act = kActs[variant % 3];
  const Beta beta = variant & 16 ? Beta::one : Beta::zero;
  const Floats start = wholes(p.m * p.ldc);
  Results c(start);
  const BrgemmArgs args{p.a.data(),
                        p.a_offset.data(),
                        p.lda,
                        p.b.data(),
                        p.b_offset.data(),
                        c.data(),
                        p.ldc,
                        p.count,
                        p.k,
                        p.n,
                        beta,
                        ep};
  const bool rows = p.order == Order::rows;
  (rows ? tile.rows_kernel(p.m, p.n) : tile.columns_kernel(p.m, p.n))(args);
  for (dim_t i = 0; i < p.m; ++i) {
    for (dim_t j = 0; j < p.ldc; ++j) {
      const float old = start[static_cast<std::size_t>(i * p.ldc + j)];
      const float y = j < p.n ? plain(p, ep, i, j, beta == Beta::one ? old : 0) : old;
      expect(c.data()[i * p.ldc + j] == y, tile.name, p.m, p.n, variant);
    }
  }
  c.margins(tile.name);
}

}  // namespace

void check_brgemm() {
  constexpr dim_t kDepths[][2] = {{1, 1}, {5, 1}, {3, 2}, {2, 3}, {4, 0}};  // k, count
  unsigned variant = 0;
  for (int t = 0; t < brgemm_avx512.count; ++t) {
    const BrgemmTile& tile = brgemm_avx512.tiles[t];
    expect(tile.lanes == 16 && tile.nr % 16 == 0, "lanes", tile.nr);
    for (dim_t m = 1; m <= tile.mr; ++m) {
      for (dim_t n = 1; n <= tile.nr; ++n) {
        for (const Order order : {Order::rows, Order::columns}) {
          for (const auto& depth : kDepths) {
            const Product p = make_product(tile, m, n, depth[0], depth[1], order);
            check_product(tile, p, variant++);
          }
        }
      }
    }
  }
}
