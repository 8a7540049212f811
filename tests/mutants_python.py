# SPDX-License-Identifier: Apache-2.0
"""Mutants of the Python layer."""

from __future__ import annotations

from mutant import Mutant

# --- Python: models, training, files --------------------------------------------------------------

PYTHON = [
    Mutant(
        "files get their names before they are on the disk",
        "pycnn/files.py",
        "        os.fsync(descriptor)\n        if overwrite:\n",
        "        if overwrite:\n",
        ("test_power_cut.py",),
    ),
    Mutant(
        "names of files are not put on the disk",
        "pycnn/files.py",
        "    _sync_folder(target.parent)\n",
        "",
        ("test_power_cut.py",),
    ),
    Mutant(
        "skipped steps count in the means",
        "pycnn/trainer.py",
        "                skipped.append(error)\n",
        "                skipped.append(error)\n                means.add([0.0], count)\n",
        ("test_on_nonfinite.py",),
    ),
    Mutant(
        "threads wait as OpenMP likes",
        "pycnn/openmp.py",
        "    os.environ.update(ours)\n",
        "    ours = {}\n",
        ("test_thread_use.py::test_the_waits_of_openmp_are_set_while_the_core_is_loaded",),
    ),
    Mutant(
        "two fits run at once",
        "pycnn/door.py",
        "model.fitting.setdefault(os.getpid(), token) is not token",
        "model.fitting.setdefault(os.getpid(), token) is None",
        ("test_concurrency.py::test_two_fits_at_once_are_refused",),
    ),
    Mutant(
        "a plan that another thread drops is missed",
        "pycnn/programs.py",
        "with suppress(KeyError):  # another thread",
        "with suppress(ZeroDivisionError):  # another thread",
        ("test_concurrency.py::test_a_plan_that_another_thread_drops_meanwhile",),
    ),
    Mutant(
        "trainable is read when a step is made",
        "pycnn/compiling.py",
        "return self._flags.get(layer, layer.trainable)",
        "return layer.trainable",
        ("test_state.py::test_trainable_is_read_at_compile",),
    ),
    Mutant(
        "freezing a model freezes no layer",
        "pycnn/models.py",
        "            node.trainable = self._trainable  # type: ignore[misc]\n",
        "            pass\n",
        ("test_state.py::test_model_trainable_false_freezes_every_layer",),
    ),
    Mutant(
        "settings change nothing after the first step",
        "pycnn/optimizers.py",
        "instance.changes += 1",
        "instance.changes += 0",
        ("test_state.py::test_a_changed_setting_of_the_optimizer_holds_from_the_next_step",),
    ),
    Mutant(
        "flags of layers are any object",
        "pycnn/layers/base.py",
        'if f.type in ("bool", bool):',
        "if f.type in (bool,):",
        ("test_arguments.py::test_flags_are_bools",),
    ),
    Mutant(
        "settings of losses and metrics may be set for nothing",
        "pycnn/specs.py",
        "            if key in self.__dict__:\n",
        "            if key in ():\n",
        ("test_arguments.py::test_losses_metrics_and_initializers_are_fixed_when_made",),
    ),
    Mutant(
        "names of checkpoints are looked at after the first epoch",
        "pycnn/callbacks.py",
        'if "logs" in self.params:',
        'if "log" in self.params:',
        ("test_checkpoints.py::test_names_that_no_log_will_have_are_refused_at_once",),
    ),
    Mutant(
        "what auto means is settled by the first model",
        "pycnn/callbacks.py",
        "        mode = self._asked\n",
        "        mode = self._mode or self._asked\n",
        ("test_checkpoints.py::test_auto_mode_is_resolved_anew_for_each_model",),
    ),
    Mutant(
        "attributes that look like settings are taken",
        "pycnn/models.py",
        '        refuse_unknown(self, key, self.__dict__.get("name", type(self).__name__))\n',
        "",
        ("test_state.py::test_attributes_that_look_like_settings_are_refused",),
    ),
    Mutant(
        "the history is kept before callbacks add to it",
        "pycnn/callbacks.py",
        "self.callbacks.append(history)",
        "self.callbacks.insert(0, history)",
        ("test_hooks.py::test_what_callbacks_add_is_kept_and_shown",),
    ),
    Mutant(
        "callbacks get logs of their own",
        "pycnn/callbacks.py",
        "            method(*arguments, logs)\n",
        "            method(*arguments, dict(logs))\n",
        ("test_hooks.py::test_all_hooks_get_a_dict_and_callbacks_share_it",),
    ),
    Mutant(
        "metrics of equal names hide each other",
        "pycnn/metrics.py",
        "while name in names[1:]:",
        "while name in names[:0]:",
        ("test_hooks.py::test_metrics_of_equal_names_are_told_apart",),
    ),
    Mutant(
        "slots are stored where layers could be",
        "pycnn/saving.py",
        'return f"opt.{slot}:{weight}"',
        'return f"opt.{slot}/{weight}"',
        ("test_state.py::test_a_layer_cannot_take_the_place_of_a_slot",),
    ),
    Mutant(
        "classes of users are saved under our names",
        "pycnn/topology.py",
        "        same = type(get(serialize(spec))) is kind\n",
        "        same = get(serialize(spec)) is not None\n",
        ("test_state.py::test_saving_refuses_what_loading_could_not_rebuild",),
    ),
    Mutant(
        "weights that are not finite are saved",
        "pycnn/saving.py",
        "if not np.isfinite(array).all():",
        "if array is None:",
        ("test_saving.py::test_non_finite_weights_are_refused_unless_allowed",),
    ),
    Mutant(
        "headers of any length are read",
        "pycnn/container.py",
        "if length > MAX_HEADER:",
        "if length > size:",
        (
            "test_container.py::test_other_files_are_named",
            "test_files.py::test_a_huge_file_that_is_no_model_is_not_read",
            "test_hostile_files.py::test_hostile_headers_take_little_time_and_memory",
        ),
    ),
    Mutant(
        "any number of tensors is read",
        "pycnn/container.py",
        "if raw.count(b'\"data_offsets\"') > MAX_TENSORS:",
        "if len(raw) < 0:",
        ("test_hostile_files.py::test_hostile_headers_take_little_time_and_memory",),
    ),
    Mutant(
        "tensors may overlap",
        "pycnn/container.py",
        "if begin_end != (offset, end) or end > available:",
        "if end > available:",
        (
            "test_container.py::test_headers_that_do_not_fit_are_refused",
            "test_hostile_files.py::test_odd_spellings_of_offsets_are_refused",
        ),
    ),
    Mutant(
        "checksums are not compared",
        "pycnn/container.py",
        'if f"{zlib.crc32(body.data, zlib.crc32(zeroed)):08x}" != stored:',
        "if zeroed is None:",
        ("test_container.py::test_flipped_weights_are_a_checksum_error",),
    ),
    Mutant(
        "layers of files may need any memory",
        "pycnn/saving.py",
        "        if size > most:\n",
        "        if size < 0:\n",
        ("test_hostile_files.py::test_small_files_that_ask_for_much_memory",),
    ),
]
