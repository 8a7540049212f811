# SPDX-License-Identifier: Apache-2.0
"""docs/architecture.md: its paths exist, and its recipes list the files that additions touched."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from pycnn import applications

REPO = Path(__file__).resolve().parent.parent
WALK = (REPO / "docs" / "architecture.md").read_text()
FAMILIES = [path.name for path in (REPO / "csrc" / "kernels").iterdir() if path.is_dir()]
# What was added, the words that only its parts hold, and how a file is found to name it.
RECIPES = {
    "a layer": r"DepthwiseConv2D",
    "an op": r"(?i)upsample2d|up_?sampling2d",
    "an activation with a kernel of its own": r"(?i)hard_?sigmoid",
    "a register tile": r"brgemm_f32_4x24_avx2",
    "an instruction set": r"(?i)avx512",
}


def test_the_walk_names_files_that_exist():
    paths = re.findall(r"`((?:csrc|pycnn|tests)/[\w/]+(?:\.\w+)?)`", WALK)
    assert len(paths) > 30
    assert [path for path in paths if not (REPO / path).exists()] == []


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_list_all_files_that_an_addition_touches(name):
    start = WALK.index(f"**... {name}**")
    table = WALK[start:].partition("| file |")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE)
    listed = {row.replace("<family>", f) for row in rows for f in FAMILIES}
    touched = {
        path.relative_to(REPO).as_posix()
        for folder in ("csrc", "pycnn")
        for path in (REPO / folder).rglob("*")
        if path.suffix in {".h", ".cc", ".py", ".pyi", ".pyx"}
        if re.search(RECIPES[name], path.name + path.read_text())
    }
    tests = {path for path in listed if not path.startswith(("csrc/", "pycnn/"))}
    assert listed - tests == touched
    for path in tests:
        assert re.search(RECIPES[name], (REPO / path).read_text()), path


def test_the_node_that_it_shows_is_that_of_the_model():
    call, shown = re.search(r"```python\n>>> pycnn\.(.*?)\n(.*?)```", WALK, re.DOTALL).groups()
    assert call == 'applications.lenet5().program()["nodes"][3]'
    assert applications.lenet5().program()["nodes"][3] == ast.literal_eval(shown)
