# SPDX-License-Identifier: Apache-2.0
"""Mutants of fusion: each rule off, each of its conditions ignored."""

from __future__ import annotations

from mutant import Mutant

FILE = "csrc/plan/fuse.cc"
TESTS = ("test_fusion.py", "test_fusion_gradients.py")

# --- plan: fusion ---------------------------------------------------------------------------------

FUSION = [
    Mutant(
        "batch norms are not folded",
        FILE,
        "if (!trains) for_each_node(OpKind::batch_norm_inference, [&](NodeId i) "
        "{ fold_norm(i); });",
        "",
        TESTS,
    ),
    Mutant(
        "sums are not joined",
        FILE,
        "for_each_node(OpKind::add, [&](NodeId i) { fuse_add(i); });",
        "",
        TESTS,
    ),
    Mutant(
        "activations are not joined",
        FILE,
        "for_each_node(OpKind::activation, [&](NodeId i) { fuse_activation(i); });",
        "",
        TESTS,
    ),
    Mutant(
        "gates are not joined",
        FILE,
        "for_each_node(OpKind::activation_backward, [&](NodeId i) { fuse_gate(i); });",
        "",
        TESTS,
    ),
    Mutant(
        "pools are not joined",
        FILE,
        "for_each_node(OpKind::max_pool2d, [&](NodeId i) { fuse_pool(i); });",
        "",
        TESTS,
    ),
    Mutant(
        "gradients of pools are not joined",
        FILE,
        "for_each_node(OpKind::max_pool2d_backward, [&](NodeId i) { fuse_unpool(i); });",
        "",
        TESTS,
    ),
    Mutant(
        "activations are not moved before an unpool",
        FILE,
        "for_each_node(OpKind::activation_backward, [&](NodeId i) { move_before_unpool(i); });",
        "",
        TESTS,
    ),
    Mutant(
        "bias gradients are not moved before an unpool",
        FILE,
        "for_each_node(OpKind::bias_backward, [&](NodeId i) { move_bias_before_unpool(i); });",
        "",
        TESTS,
    ),
    Mutant(
        "nodes that nothing needs stay", FILE, "    drop_unneeded();\n    const", "    const", TESTS
    ),
    Mutant(
        "every input is taken for read",
        "csrc/graph/op.h",
        "return inputs[std::min(input, inputs.size() - 1)].is_read();",
        "return inputs.size() > 0 || input > 0;",
        TESTS,
    ),
    Mutant(
        "max pools' gradients read their images",
        "csrc/graph/pool2d.cc",
        'DType::u8}, {"dy"}, {"x", Presence::shape_only}}',
        'DType::u8}, {"dy"}, {"x"}}',
        TESTS,
    ),
    Mutant(
        "mean pools' gradients read their images",
        "csrc/graph/pool2d.cc",
        '"avg_pool2d_backward",\n       .inputs = {{"dy"}, {"x", Presence::shape_only}}',
        '"avg_pool2d_backward",\n       .inputs = {{"dy"}, {"x"}}',
        TESTS,
    ),
    Mutant(
        "gradients of channels read what they were cut from",
        "csrc/graph/channels.cc",
        '{"x", Presence::shape_only}',
        '{"x"}',
        TESTS,
    ),
    Mutant(
        "gradients of enlargements read the images",
        "csrc/graph/upsample2d.cc",
        '{"x", Presence::shape_only}',
        '{"x"}',
        TESTS,
    ),
    Mutant(
        "reshapes read what they look like",
        "csrc/graph/elementwise.cc",
        "Presence::optional_shape_only",
        "Presence::optional",
        TESTS,
    ),
    Mutant(
        "global means' gradients read their images",
        "csrc/graph/pool2d.cc",
        '"global_avg_pool2d_backward",\n       .inputs = {{"dy"}, {"x", Presence::shape_only}}',
        '"global_avg_pool2d_backward",\n       .inputs = {{"dy"}, {"x"}}',
        TESTS,
    ),
    Mutant(
        "gradients of convolutions read their images",
        "csrc/graph/conv2d.cc",
        '{{"dy"}, {"w"}, {"x", Presence::shape_only}}',
        '{{"dy"}, {"w"}, {"x"}}',
        TESTS,
    ),
    Mutant(
        "gradients of dense layers read their inputs",
        "csrc/graph/dense.cc",
        '{{"dy"}, {"w"}, {"x", Presence::shape_only}}',
        '{{"dy"}, {"w"}, {"x"}}',
        TESTS,
    ),
    Mutant(
        "what is read twice is joined",
        FILE,
        "return uses_[v] == 1 ? producer_[v] : NodeId();",
        "return producer_[v];",
        TESTS,
    ),
    Mutant(
        "batch norms are folded where weights are trained",
        FILE,
        "if (!trains) for_each_node(OpKind::batch_norm_inference",
        "for_each_node(OpKind::batch_norm_inference",
        TESTS,
    ),
    Mutant(
        "computed scales are folded",
        FILE,
        "[&](ValueId v) { return is_constant(v); }) &&\n",
        "[&](ValueId) { return true; }) &&\n",
        TESTS,
    ),
    Mutant(
        "sums wait for nobody",
        FILE,
        "if (!free || producer_[other].index() >= at.index())",
        "if (!free)",
        TESTS,
    ),
    Mutant(
        "a second sum takes the place of the first",
        FILE,
        "is_product(product.op) && !product.residual.has_value() &&",
        "is_product(product.op) &&",
        TESTS,
    ),
    Mutant(
        "every activation is joined",
        FILE,
        "return kind == ActivationKind::relu || kind == ActivationKind::relu6;",
        "return kind != ActivationKind::linear;",
        TESTS,
    ),
    Mutant(
        "a second activation takes the place of the first",
        FILE,
        "if (!is_product(product.op) || product.act != ActivationKind::linear) return;",
        "if (!is_product(product.op)) return;",
        TESTS,
    ),
    Mutant(
        "a second gate takes the place of the first",
        FILE,
        "if (!is_backward_data(product.op) || product.gate.has_value()) return;",
        "if (!is_backward_data(product.op)) return;",
        TESTS,
    ),
    Mutant(
        "activations of anything are moved before an unpool",
        FILE,
        " || unpool.inputs[2] != nodes_[i].inputs[0]) return;",
        ") return;",
        TESTS,
    ),
    Mutant(
        "values change their shape though another node asks for it",
        FILE,
        "    if (mentions_[unpool.outputs[0]] > 1) return;",
        "",
        TESTS,
    ),
    Mutant(
        "windows that overlap are joined",
        FILE,
        "return pool.window.h == pool.stride.h && pool.window.w == pool.stride.w &&",
        "return",
        TESTS,
    ),
    Mutant("windows on padding are joined", FILE, " && !pool.pad.any();", ";", TESTS),
    Mutant(
        "pools of sums are joined",
        FILE,
        "if (conv.op != OpKind::conv2d || conv.residual.has_value()) return;",
        "if (conv.op != OpKind::conv2d) return;",
        TESTS,
    ),
    Mutant(
        "pools of depthwise convolutions are joined",
        FILE,
        "    if (is_depthwise_conv(conv)) return;\n",
        "",
        TESTS,
    ),
    Mutant(
        "a second pool takes the place of the first",
        FILE,
        "    if (conv.pool.h != 0) return;",
        "",
        TESTS,
    ),
    Mutant(
        "pools' gradients are joined whoever reads them",
        FILE,
        "    if (static_cast<int>(readers.size()) != uses_[dx] ||\n"
        "        !std::all_of(readers.begin(), readers.end(), able)) {",
        "    if (std::none_of(readers.begin(), readers.end(), able)) {",
        TESTS,
    ),
    Mutant(
        "pools' gradients that are outputs are joined",
        FILE,
        "if (static_cast<int>(readers.size()) != uses_[dx] ||\n        !std::all_of",
        "if (!std::all_of",
        TESTS,
    ),
    Mutant(
        "pools' gradients that are read twice are joined",
        FILE,
        "return dy_of(*node) == dx && std::ranges::count(readers, node) == 1 &&\n             !is",
        "return dy_of(*node) == dx && !is",
        TESTS,
    ),
    Mutant(
        "pools' gradients are joined with depthwise convolutions",
        FILE,
        "std::ranges::count(readers, node) == 1 &&\n             !is_depthwise_conv(*node);",
        "std::ranges::count(readers, node) == 1;",
        TESTS,
    ),
]
