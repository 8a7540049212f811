# SPDX-License-Identifier: Apache-2.0
"""Mutants of the graph as data, of the table of ops, and of inputs that are lent."""

from __future__ import annotations

from mutant import Mutant

GRAPH = [
    Mutant(
        "attributes that an op does not have are overlooked",
        "csrc/graph/build.cc",
        "  reader.check_all_taken();\n",
        "",
        ("test_program.py",),
    ),
    Mutant(
        '"same" adds no pixels',
        "csrc/graph/build.cc",
        '*mode == "same" ? Padding::Mode::same : Padding::Mode::valid',
        "Padding::Mode::valid",
        ("test_program.py", "test_conv2d.py"),
    ),
    Mutant(
        "attributes that must be given may be left out",
        "csrc/graph/build.cc",
        "PYCNN_CHECK_VALUE(!bounds.required, op_.name",
        "PYCNN_CHECK_VALUE(true, op_.name",
        ("test_program.py",),
    ),
    Mutant(
        "programs forget which inputs are absent",
        "csrc/graph/program.cc",
        "inputs.push_back(v ? ValueId(*v) : kNoValue);",
        "if (v) inputs.push_back(ValueId(*v));",
        ("test_program.py",),
    ),
    Mutant(
        "a scale that is absent is zero",
        "csrc/ops/batchnorm.cc",
        "or_else(gamma, c, 1) * r;",
        "or_else(gamma, c, 0) * r;",
        ("test_batchnorm.py",),
    ),
    Mutant(
        "weights may be seen in a shape of another size",
        "csrc/plan/variable.cc",
        "shape.count() == graph_shape.count()",
        "shape.count() > 0",
        ("test_convolution_layers.py",),
    ),
    Mutant(
        "inputs that a step writes to are lent",
        "csrc/plan/lower/arrays.cc",
        "std::ranges::for_each(node.outputs, take);",
        "static_cast<void>(node);",
        ("test_lending.py",),
    ),
    Mutant(
        "inputs that are asked for later are lent",
        "csrc/plan/lower/arrays.cc",
        "for (const ValueId v : graph_.outputs()) take(v);",
        "",
        ("test_lending.py",),
    ),
    Mutant(
        "rows in any order are lent",
        "csrc/plan/plan.cc",
        "request.rows[i] != request.rows[0] + i",
        "request.rows[i] != request.rows[i]",
        ("test_lending.py",),
    ),
    Mutant(
        "bytes are lent where floats are expected",
        "csrc/plan/plan.cc",
        "first && given.dtype == DType::f32 && aligned",
        "first && aligned",
        ("test_dtypes.py",),
    ),
    Mutant(
        "nothing is lent",
        "csrc/plan/plan.cc",
        "first && given.dtype == DType::f32 && aligned",
        "false && aligned",
        ("test_lending.py",),
    ),
    Mutant(
        "bytes count from minus 128",
        "csrc/plan/lower/arrays.cc",
        "static_cast<float>(std::to_integer<int>(from[i]))",
        "static_cast<float>(std::to_integer<signed char>(from[i]))",
        ("test_dtypes.py",),
    ),
]
