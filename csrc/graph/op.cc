// SPDX-License-Identifier: Apache-2.0
// The table of ops, put together from the families' rows.
#include "graph/op.h"

#include <algorithm>
#include <unordered_map>

namespace pycnn {

// Each family's rows, defined in the file of its name; input and parameter in graph.cc.
using Family = std::span<const OpDefinition>();
Family graph_ops, conv2d_ops, conv2d_transpose_ops, dense_ops, matmul_ops, pool2d_ops,
    elementwise_ops, map_ops, channels_ops, slice_ops, transpose_ops, pad_ops, resize_ops,
    gather_ops, upsample2d_ops, softmax_ops, batchnorm_ops, loss_ops, update_ops;

namespace {

constexpr std::size_t kOps = static_cast<std::size_t>(OpKind::count_);

std::vector<OpDefinition> make_table() {
  std::vector<OpDefinition> table;
  for (Family* family :
       {graph_ops, conv2d_ops, conv2d_transpose_ops, dense_ops, matmul_ops, pool2d_ops,
        elementwise_ops, map_ops, channels_ops, slice_ops, transpose_ops, pad_ops, resize_ops,
        gather_ops, upsample2d_ops, softmax_ops, batchnorm_ops, loss_ops, update_ops}) {
    const std::span<const OpDefinition> rows = family();
    table.insert(table.end(), rows.begin(), rows.end());
  }
  std::ranges::sort(table, {}, &OpDefinition::kind);
  for (std::size_t i = 0; i < kOps; ++i) {
    PYCNN_CHECK(i < table.size() && static_cast<std::size_t>(table[i].kind) == i, ErrorKind::state,
                "ops: number ", i, " has no row, or two");
  }
  PYCNN_CHECK(table.size() == kOps, ErrorKind::state, "ops: a row is given twice");
  return table;
}

}  // namespace

std::span<const OpDefinition> op_definitions() {
  static const std::vector<OpDefinition> table = make_table();
  return table;
}

const OpDefinition& definition(OpKind kind) {
  PYCNN_CHECK_VALUE(kind < OpKind::count_, "graph: no op number ", static_cast<int>(kind));
  return op_definitions()[static_cast<std::size_t>(kind)];
}

const OpDefinition& op_named(const std::string& name) {
  static const auto by_name = [] {
    std::unordered_map<std::string, const OpDefinition*> map;
    for (const OpDefinition& op : op_definitions()) map.emplace(op.name, &op);
    return map;
  }();
  const auto found = by_name.find(name);
  PYCNN_CHECK_VALUE(found != by_name.end(), "graph: no op is named '", name, "'");
  return *found->second;
}

const char* name_of(OpKind op) { return definition(op).name; }

}  // namespace pycnn
