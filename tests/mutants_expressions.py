# SPDX-License-Identifier: Apache-2.0
"""Mutants of expressions: their derivatives, slots, chains, folds and fusion."""

from __future__ import annotations

from mutant import Mutant

EXPRESSIONS = [
    Mutant(
        "the derivative of tanh forgets its square",
        "csrc/graph/derivatives.cc",
        '{Function::tanh, {"square y;subtract 1 t0;multiply dy t1"}}',
        '{Function::tanh, {"subtract 1 y;multiply dy t0"}}',
        ("test_map.py::test_derivatives",),
    ),
    Mutant(
        "gradients of what was repeated are not summed",
        "csrc/graph/map.cc",
        "if (axis < more || (target[axis - more] == 1 && shape[axis] != 1)) axes.push_back(axis);",
        "if (axis < more) axes.push_back(axis);",
        ("test_reduce.py::test_gradients_of_random_formulas",),
    ),
    Mutant(
        "a block is free while it is still read",
        "csrc/ops/block_program.cc",
        "last_read_[operand.index] = std::max(last_read_[operand.index], i);",
        "last_read_[operand.index] = i > 0 ? i - 1 : 0;",
        ("test_map.py",),
    ),
    Mutant(
        "chains take values that others read, too",
        "csrc/ops/block_program.cc",
        "reads[operand.index] == 1 &&",
        "reads[operand.index] >= 1 &&",
        ("test_map.py", "test_map_fusion.py"),
    ),
    Mutant(
        "a result may be written over an input that is read later",
        "csrc/ops/block_program.cc",
        "if (is_read && chains_.runs_at(j) > i) return false;",
        "",
        ("test_update_fusion.py", "test_assign.py", "test_map_fusion.py"),
    ),
    Mutant(
        "maps are fused into readers of fewer elements",
        "csrc/plan/fuse_maps.cc",
        "if (shapes_[v] != domain) return false;",
        "",
        ("test_map_fusion.py",),
    ),
    Mutant(
        "sections of a sum are left out",
        "csrc/ops/fold.cc",
        "for (dim_t s = 1; s < op.sections(); ++s) {",
        "for (dim_t s = 2; s < op.sections(); ++s) {",
        ("test_reduce.py",),
    ),
    Mutant(
        "the loss of a user is not checked to be finite",
        "csrc/plan/lower.cc",
        "if (node.op == OpKind::loss ? is_objective(node) : is_total(node)) {",
        "if (node.op == OpKind::loss && is_objective(node)) {",
        ("test_custom_losses.py::test_bad_losses",),
    ),
    Mutant(
        "tensors of another graph are taken for this one's",
        "pycnn/engine/traced.py",
        "        if x.graph is not graph:",
        "        if x.graph is None:",
        ("test_custom_layers.py::test_bad_layers",),
    ),
    Mutant(
        "layers inside layers are trained though they are frozen",
        "pycnn/engine/network.py",
        "    for child in children_of(node):\n        yield from trained_below(child)",
        "    for child in children_of(node):\n        yield from leaves_below(child)",
        ("test_custom_layers.py::test_frozen_layers_inside_a_layer",),
    ),
]
