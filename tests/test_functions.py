# SPDX-License-Identifier: Apache-2.0
"""The elementary functions of expressions: accuracy, special values, tails (functions.cc)."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path

import pytest
from test_kernels import (
    BASE_FLAGS,
    COMPILER,
    CSRC,
    REPO,
    compile_all,
    isa_flags,
    needs_compiler,
    needs_x86,
    tool,
)

X86 = platform.machine() in ("x86_64", "AMD64")
ISAS = ("scalar", "avx2", "avx512") if X86 else ("scalar",)
STRIDE = "4999"  # a prime: mantissas and exponents are met alike


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The kernels compiled as they are shipped, and the program."""
    folder = tmp_path_factory.mktemp("functions")
    flags = {"scalar": ["-O2", "-fno-tree-vectorize", "-ffp-contract=off"]}
    jobs = [
        (
            CSRC / f"kernels/expression/{isa}.cc",
            folder / f"{isa}.o",
            [*BASE_FLAGS, *(flags[isa] if isa in flags else isa_flags(isa))],
        )
        for isa in ISAS
    ]
    plain = [*BASE_FLAGS, "-O2", "-ffp-contract=off"]
    jobs += [
        (REPO / "tests/functions.cc", folder / "program.o", plain),
        (CSRC / "base/functions.cc", folder / "names.o", plain),
    ]
    compile_all(jobs)
    return {target.stem: target for _, target, _ in jobs}


@needs_compiler
def test_every_function_keeps_its_error(objects, tmp_path):
    """At most 2 ULP everywhere; NumPy's special values; all tails, in place, repeated."""
    program = tmp_path / "functions"
    subprocess.run([COMPILER, *map(str, objects.values()), "-o", str(program)], check=True)
    result = subprocess.run(
        [str(program), "--stride", STRIDE], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert int(result.stdout.split()[-2]) > 1_000_000


@needs_compiler
@needs_x86
@pytest.mark.parametrize("wide", ["avx2", "avx512"])
def test_wide_code_has_no_weak_symbols(objects, wide):
    """The linker may keep a weak function for the whole library, also where AVX-512 is missing."""
    lines = tool("nm", "-C", "--defined-only", str(objects[wide])).splitlines()
    assert any("pycnn::expression_" in line for line in lines)
    assert not [line for line in lines if line.split()[1] in "WVu"]
