# SPDX-License-Identifier: Apache-2.0
"""Mutants of csrc/ops/ and the kernels: sums, what is not finite, modes."""

from mutant import Mutant

OPS = [
    Mutant(
        "losses are computed from probabilities",
        "csrc/graph/loss.cc",
        "const bool probabilities = !attrs.from_logits &&",
        "const bool probabilities = false && !attrs.from_logits &&",
        ("test_logits.py::test_saturated_outputs_have_the_true_loss_and_gradient",),
    ),
    Mutant(
        "the largest magnitude overlooks what is not finite",
        "csrc/kernels/reduce/generic.h",
        "  if (!V::any(is_nan((sum[0] + sum[1]) + (sum[2] + sum[3])))) {",
        "  if (count >= 0) {",
        ("test_numeric_errors.py",),
    ),
    Mutant(
        "the largest magnitude of several blocks overlooks NaN",
        "csrc/ops/loss.cc",
        "known == known && !(mine <= known)",
        "mine > known",
        ("test_numeric_errors.py",),
    ),
    Mutant(
        "windows that are not finite are not looked for",
        "csrc/ops/conv_pass.cc",
        "op.wide.count > 1 && !finite(op, b, io, source);",
        "op.wide.count > 99 && !finite(op, b, io, source);",
        ("test_nonfinite_windows.py::test_forward",),
    ),
    Mutant(
        "gradients that are not finite beside the image are not looked for",
        "csrc/ops/conv2d_weights.cc",
        "if (op.flat_pixels > 0 || op.direct) return true;",
        "if (op.flat_pixels >= 0 || op.direct) return true;",
        ("test_nonfinite_windows.py::test_backward_weights",),
    ),
    Mutant(
        "weights are folded in the caller's mode",
        "csrc/plan/folded.cc",
        "  const FloatMode mode;\n",
        "",
        ("test_float_mode.py::test_predictions_with_folded_batch_norm",),
    ),
    Mutant(
        "sums are made in one piece",
        "csrc/ops/reduce.cc",
        "constexpr dim_t kChunkFloats = 16384;",
        "constexpr dim_t kChunkFloats = dim_t{1} << 40;",
        (
            "test_long_sums.py::test_bias_gradients",
            "test_long_sums.py::test_batch_statistics",
        ),
    ),
    Mutant(
        "large windows are summed in single precision",
        "csrc/ops/pool2d.cc",
        "constexpr dim_t kManyTaps = 512;",
        "constexpr dim_t kManyTaps = dim_t{1} << 40;",
        (
            "test_long_sums.py::test_means_of_large_windows",
            "test_long_sums.py::test_global_means",
        ),
    ),
    Mutant(
        "products of long sums are one chain",
        "csrc/ops/conv_pass.cc",
        "    if (summed_ + more > kSectionTerms) {",
        "    if (summed_ < 0) {",
        ("test_long_sums.py::test_long_products",),
    ),
    Mutant(
        "the last section of a long product is lost",
        "csrc/ops/conv_pass.cc",
        "    if (sum_.beta == Beta::one) end_section();",
        "    if (sum_.beta == Beta::one) later_ = true;",
        ("test_long_sums.py::test_long_products",),
    ),
    Mutant(
        "long sums of wide pixels",
        "csrc/ops/widen.cc",
        "  const bool is_long = w.R * w.S * w.C > kSectionTerms;",
        "  const bool is_long = w.R * w.S * w.C < 0;",
        ("test_long_sums.py::test_long_products_do_not_depend_on_threads_or_the_batch",),
    ),
    Mutant(
        "long sums of depthwise layers are one chain",
        "csrc/ops/depthwise.cc",
        "std::min(run.columns, kSectionTerms), rows = kSectionTerms / columns;",
        "run.columns, rows = run.rows;",
        ("test_long_sums.py::test_long_products",),
    ),
    Mutant(
        "a child of a signal handler waits for the threads of its parent",
        "csrc/base/parallel.cc",
        "    if (on_fork != nullptr && process != fork_count())",
        "    if (on_fork != nullptr && process > fork_count())",
        ("test_process_limits.py::test_a_child_forked_by_a_signal_handler_ends_its_run",),
    ),
]
