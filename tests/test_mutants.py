# SPDX-License-Identifier: Apache-2.0
"""The list of mutants fits the sources, and none of them survives (slow; see mutate.py)."""

from __future__ import annotations

import shutil
from pathlib import Path

import mutate
import pytest


@pytest.mark.parametrize("mutant", mutate.MUTANTS, ids=lambda mutant: mutant.name)
def test_every_mutant_applies_and_its_tests_exist(mutant):
    assert mutate.mutated(mutant, mutate.REPO) != (mutate.REPO / mutant.file).read_bytes()
    assert mutant.tests
    for test in mutant.tests:
        file, _, name = test.partition("::")
        text = (mutate.REPO / "tests" / file).read_text(encoding="utf-8")
        assert not name or f"def {name}(" in text, test


def test_mutants_have_names_of_their_own():
    names = [mutant.name for mutant in mutate.MUTANTS]
    assert len(set(names)) == len(names)


def test_a_mutant_without_its_text_is_an_error():
    one = mutate.Mutant("one", "tests/mutant.py", "class Mutant", "class Other", ("x",))
    for old in ("no such text", "str", "class Other"):
        mutant = mutate.Mutant("bad", one.file, old, "class Other", one.tests)
        with pytest.raises(ValueError, match=r"mutant 'bad': .* holds its text [0-9]+ times"):
            mutate.mutated(mutant, mutate.REPO)
    assert b"class Other" in mutate.mutated(one, mutate.REPO)


@pytest.mark.slow
def test_no_mutant_survives(tmp_path: Path):
    """About twenty minutes."""
    for tool in ("cmake", "ninja"):
        if shutil.which(tool) is None:
            pytest.skip(f"needs {tool}")
    pytest.importorskip("pybind11")
    pytest.importorskip("Cython")
    assert mutate.survivors(tmp_path, mutate.MUTANTS) == []
