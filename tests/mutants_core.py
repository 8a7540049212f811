# SPDX-License-Identifier: Apache-2.0
"""Mutants of the core, but for fusion."""

from __future__ import annotations

from mutant import Mutant

# --- base: threads, gates, sizes ------------------------------------------------------------------

BASE = [
    Mutant(
        "the last task of every loop of several workers is skipped",
        "csrc/base/parallel.cc",
        "  dim_t piece = std::max<dim_t>(1, tasks",
        "  if (size_ > 1) --tasks;\n  dim_t piece = std::max<dim_t>(1, tasks",
        (
            "test_fold.py::test_threads_and_batches_change_no_bit",
            "test_dense.py::test_threads_change_no_bit",
        ),
    ),
    Mutant(
        "a loop that is to stop goes on",
        "csrc/base/parallel.cc",
        "if (stop_asked(tasks)) return false;",
        "stop_asked(tasks);",
        ("test_processes.py::test_an_interrupt_is_answered_inside_one_long_loop",),
    ),
    Mutant(
        "what follows an interrupted loop is run",
        "csrc/base/parallel.cc",
        "return stoppable_ && team_.stop_stage() <= stage;",
        "return stage < 0;",
        ("test_threads.py::test_ctrl_c_stops_inside_a_step_before_the_update",),
    ),
    Mutant(
        "threads are started though the system makes none",
        "csrc/base/parallel.cc",
        "known_threads += count;",
        "known_threads = wanted;",
        ("test_processes.py::test_where_no_thread_can_be_made_there_are_fewer",),
    ),
    Mutant(
        "a forked child starts threads",
        "csrc/base/parallel.cc",
        " || fork_count() != 0 ||",
        " ||",
        ("test_threads.py::test_a_forked_child_trains_on_with_the_same_bits",),
    ),
    Mutant(
        "a writer does not wait for readers",
        "csrc/base/gate.cc",
        "if (access == Access::exclusive) return wait_for(readers_, std::uint32_t{0});",
        "if (access == Access::exclusive) return;",
        (
            "test_concurrency.py::test_readers_of_weights_see_one_step",
            "test_concurrency.py::test_predictions_see_one_step",
        ),
    ),
    Mutant(
        "gates stay shut in a forked child",
        "csrc/base/gate.cc",
        "  open_in_child();\n",
        "",
        ("test_processes.py::test_a_fork_while_another_thread_runs_the_plan",),
    ),
    Mutant(
        "a thread waits for itself",
        "csrc/base/gate.cc",
        "if (holds(gate)) {",
        "if (access_ == access && gate_ == nullptr) {",
        ("test_processes.py::test_predicting_in_a_handler_of_the_running_prediction_says_so",),
    ),
    Mutant(
        "gates do not join",
        "csrc/base/gate.cc",
        "while (gate->root() != gates.front()->root()) {",
        "while (gate->root() == nullptr) {",
        (
            "test_concurrency.py::test_readers_of_weights_see_one_step",
            "test_concurrency.py::test_predictions_see_one_step",
        ),
    ),
    Mutant(
        "sizes wrap",
        "csrc/base/checked.h",
        "if (factor != 0 && product > kMaxCount / factor) return std::nullopt;",
        "",
        ("test_memory_safety.py::test_products_of_extents_that_wrap_to_nothing_are_refused",),
    ),
]


# --- plan: runs -----------------------------------------------------------------------------------

RUNS = [
    Mutant(
        "a plan uses one thread",
        "csrc/plan/plan.cc",
        "const int threads = wanted_threads();\n",
        "const int threads = 1;\n",
        ("test_thread_use.py::test_every_thread_of_a_plan_does_a_share_of_the_work",),
    ),
    Mutant(
        "every plan uses all threads",
        "csrc/plan/plan.cc",
        "std::clamp(all / options",
        "std::clamp(1e9 * all / options",
        ("test_thread_use.py::test_threads_are_useful_where_each_has_enough_to_do",),
    ),
    Mutant(
        "two threads run a plan at once",
        "csrc/plan/plan.cc",
        'running_, Access::exclusive, "plan.run"',
        'running_, Access::shared, "plan.run"',
        (
            "test_threads.py::test_concurrent_runs_are_the_serial_ones",
            "test_threads.py::test_concurrent_runs_return_their_own_scalars",
        ),
    ),
    Mutant(
        "a training step enters as a reader",
        "csrc/plan/plan.cc",
        "return changes ? Access::exclusive : Access::shared;",
        "return Access::shared;",
        (
            "test_concurrency.py::test_readers_of_weights_see_one_step",
            "test_concurrency.py::test_predictions_see_one_step",
        ),
    ),
    Mutant(
        "steps are not counted",
        "csrc/plan/plan.cc",
        "  if (counts_) optimizer_->set_iterations(context_.random.step);\n",
        "",
        ("test_state.py::test_iterations_count_steps_of_the_core",),
    ),
    Mutant(
        "steps that fail are counted",
        "csrc/plan/plan.cc",
        "  if (!complete) return;\n",
        "  if (!complete && counts_) optimizer_->set_iterations(context_.random.step);\n"
        "  if (!complete) return;\n",
        (
            "test_updates.py",
            "test_threads.py::test_ctrl_c_stops_inside_a_step_before_the_update",
        ),
    ),
    Mutant(
        "a training step makes no new version",
        "csrc/plan/plan.cc",
        "  for (const auto& variable : schedule_.updated) variable->changed();\n",
        "",
        (
            "test_fold.py::test_models_fold_and_follow_training",
            "test_conv2d_transpose.py::test_weights_kept_packed_follow_the_parameters",
        ),
    ),
    Mutant(
        "setting one weight makes no new version",
        "csrc/plan/variable.cc",
        "  values_.set(values);\n  changed();",
        "  values_.set(values);",
        ("test_fold.py::test_changed_parameters_are_folded_again",),
    ),
    Mutant(
        "setting all weights makes no new version",
        "csrc/bind/variables.cc",
        "      variables[i]->changed();\n",
        "",
        ("test_fold.py::test_weights_that_are_set_are_folded_again",),
    ),
    Mutant(
        "an interrupted run has packed all kernels",
        "csrc/plan/plan.cc",
        "packed_version_ = complete ? version : 0;",
        "packed_version_ = version;",
        ("test_conv2d_transpose.py::test_an_interrupted_run_packs_again",),
    ),
    Mutant(
        "kernels of transposed convolutions are packed in every run",
        "csrc/plan/lower/conv2d_transpose.cc",
        "if (!kept || run.weights_changed) {",
        "{",
        ("test_conv2d_transpose.py::test_kernels_are_packed_again_only_where_weights_changed",),
    ),
    Mutant(
        "kernels of transposed convolutions are packed once",
        "csrc/plan/plan.cc",
        "context_.weights_changed = version != packed_version_;",
        "context_.weights_changed = packed_version_ == 0;",
        ("test_conv2d_transpose.py::test_weights_kept_packed_follow_the_parameters",),
    ),
    Mutant(
        "memory of kept kernels is used for other things",
        "csrc/plan/lower.cc",
        "    touch(buffer, 0);\n    touch(buffer, static_cast",
        "    touch(buffer, static_cast",
        ("test_conv2d_transpose.py::test_packed_kernels_share_their_memory_with_nothing",),
    ),
    Mutant(
        "memory that is needed from the first step on is given out before",
        "csrc/plan/lower.cc",
        "  used->first = std::min(used->first, step);\n",
        "",
        ("test_conv2d_transpose.py::test_packed_kernels_share_their_memory_with_nothing",),
    ),
    Mutant(
        "limits are ignored",
        "csrc/plan/plan.cc",
        "PYCNN_CHECK(needed <= most,",
        "PYCNN_CHECK(needed >= 0 || needed <= most,",
        ("test_extreme_shapes.py::test_plans_state_what_they_need_and_keep_limits",),
    ),
    Mutant(
        "scratch of all threads wraps",
        "csrc/plan/plan.cc",
        "Checked(scratch_stride()) * threads;",
        "Checked(static_cast<dim_t>(scratch_stride() * static_cast<std::size_t>(threads)));",
        ("test_memory_safety.py::test_scratch_of_all_threads_that_wraps_is_refused",),
    ),
    Mutant(
        "updates that overflow cannot be ignored",
        "csrc/plan/lower/guards.cc",
        "guard->stays_finite(run) || !run.request->check_finite",
        "guard->stays_finite(run)",
        ("test_updates.py::test_what_is_known_of_weights_grows_in_ignored_steps_too",),
    ),
    Mutant(
        "fewer threads than asked for are no matter",
        "csrc/bind/plan.cc",
        "  if (made == wanted) return;\n",
        "  if (made >= 1) return;\n",
        ("test_processes.py::test_where_no_thread_can_be_made_there_are_fewer",),
    ),
    Mutant(
        "any learning rate is taken",
        "csrc/plan/plan.cc",
        "std::isfinite(request.learning_rate) && request.learning_rate >= 0,",
        "request.learning_rate == request.learning_rate || true,",
        ("test_updates.py::test_learning_rates_that_are_none_are_refused",),
    ),
    Mutant(
        "steps go on after a check has failed",
        "csrc/plan/plan.cc",
        "if (step.is_check && context_.failed && context_.request->check_finite) {",
        "if (step.is_check && context_.failed && count < 0) {",
        ("test_numeric_errors.py",),
    ),
    Mutant(
        "every update is taken for finite",
        "csrc/plan/update_guard.cc",
        "return next_.w <= kLimit || try_update(run);",
        "return true;",
        ("test_updates.py::test_infinite_weights_are_found_before_they_are_written",),
    ),
    Mutant(
        "bounds of weights do not grow",
        "csrc/plan/update_guard.cc",
        "w_->bound = stored_bound(next_.w);",
        "",
        ("test_updates.py::test_the_step_that_would_overflow_is_found_after_others",),
    ),
]


# --- plan: layouts and memory ---------------------------------------------------------------------

MEMORY = [
    Mutant(
        "sums compare layouts by presence",
        "csrc/plan/layouts.cc",
        "if (layout != schedule_.layout[node.inputs[1]]) layout = std::nullopt;",
        "if (!layout || !schedule_.layout[node.inputs[1]]) layout = std::nullopt;",
        ("test_memory_safety.py",),
    ),
    Mutant(
        "what an update reads is packed or not",
        "csrc/plan/layouts.cc",
        "  if (layout == wanted) return buffer;\n  if (layout) buffer",
        "  if (layout.has_value() == wanted.has_value()) return buffer;\n  if (layout) buffer",
        ("test_memory_safety.py",),
    ),
    Mutant(
        "the zeros beside a kernel become what a map makes of them",
        "csrc/ops/weights.cc",
        "  const bool clear = packed[layout.count() - 1] == 0;",
        "  const bool clear = true;",
        ("test_packed_maps.py",),
    ),
    Mutant(
        "assigned values are read when others have been written",
        "csrc/plan/lower/guards.cc",
        "input.buffer == buffer_of(v) && state.has_value()",
        "input.buffer != buffer_of(v) && state.has_value()",
        ("test_assign.py",),
    ),
    Mutant(
        "updates are written in place over what others read",
        "csrc/plan/fuse_updates.cc",
        "return state == v && holds(assigns, writer_[state]);",
        "return state == v;",
        ("test_update_fusion.py",),
    ),
    Mutant(
        "maps that are assigned are copied",
        "csrc/plan/fuse_updates.cc",
        "nodes_[i].op != OpKind::map ||",
        "nodes_[i].op == OpKind::map ||",
        ("test_update_fusion.py",),
    ),
    Mutant(
        "updates that cannot be proven are not tried",
        "csrc/plan/map_guard.cc",
        "return is_proven_ || (is_evaluated_ &&",
        "return true || (is_evaluated_ &&",
        ("test_update_fusion.py", "test_assign.py"),
    ),
    Mutant(
        "stored weights are compared by presence",
        "csrc/plan/layouts.cc",
        'wanted.packed == stored.layout(), "parameter',
        'wanted.packed.has_value() == stored.layout().has_value(), "parameter',
        ("test_memory_safety.py",),
    ),
    Mutant(
        "any value is a kernel",
        "csrc/plan/layouts.cc",
        "stored && schedule_.layout[w] == wanted, node.name,",
        "stored || s.R > 0, node.name,",
        (
            "test_memory_safety.py",
            "test_plan_limits.py",
        ),
    ),
    Mutant(
        "what is read later is overwritten",
        "csrc/plan/lower.cc",
        "occupied_until_[candidate] == i + 1;",
        "occupied_until_[candidate] >= i + 1;",
        ("test_plan.py::test_values_read_again_later_are_not_overwritten",),
    ),
    Mutant(
        "nothing is overwritten",
        "csrc/plan/lower.cc",
        "if (ends_here && computed &&",
        "if (i > nodes_.size() && ends_here && computed &&",
        ("test_plan.py::test_elementwise_ops_work_in_place",),
    ),
    Mutant(
        "reshapes copy nothing into memory of their own",
        "csrc/plan/lower.cc",
        "} else if (j == 0 && definition(node.op).is_view) {",
        "} else if (j == 1 && definition(node.op).is_view) {",
        ("test_plan.py::test_values_read_again_later_are_not_overwritten",),
    ),
]


# --- graph, ops, kernels --------------------------------------------------------------------------
