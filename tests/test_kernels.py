# SPDX-License-Identifier: Apache-2.0
"""The kernels themselves: their machine code, counted without a clock, and 16 lanes emulated."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parent.parent
CSRC = REPO / "csrc"
COMPILER = shutil.which("c++") or shutil.which("g++") or ""
FAMILIES = ("brgemm", "depthwise", "eltwise", "expression", "pool", "reduce", "update")
BASE_FLAGS = ["-std=c++20", "-fPIC", "-fvisibility=hidden", "-DNDEBUG", f"-I{CSRC}"]

needs_compiler = pytest.mark.skipif(not COMPILER, reason="needs a C++ compiler")
needs_x86 = pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64"), reason="compiles for x86-64"
)


def tool(name: str, *arguments: str) -> str:
    """What a tool of binutils prints; skips the test where it is missing."""
    if shutil.which(name) is None:
        pytest.skip(f"needs {name}, of binutils")
    return subprocess.run([name, *arguments], check=True, capture_output=True, text=True).stdout


def isa_flags(isa: str) -> list[str]:
    """The compiler flags of an ISA's files, as CMakeLists.txt gives them."""
    text = (REPO / "CMakeLists.txt").read_text(encoding="utf-8")
    common = re.search(r"set\(kernel_flags ([^)]*)\)", text)
    row = re.search(rf"pycnn_isa\({isa}\s+\S+([^)]*)\)", text)
    assert common and row, "CMakeLists.txt has another form now: adapt this function"
    flags = (common[1] + row[1]).split()
    assert "-O2" in flags and any(flag.startswith("-mavx") for flag in flags)
    gnu = "clang" not in tool(str(COMPILER), "--version")
    for name in [flag[2:-1] for flag in flags if flag.startswith("${")]:
        values = re.search(rf"set\({name} ([^)]*)\)", text)
        assert values, name
        flags += re.findall(r"GNU>:(-[^>]+)>", values[1]) if gnu else []
    return [flag for flag in flags if not flag.startswith("$")]


def compile_all(jobs: Sequence[tuple[Path, Path, list[str]]]) -> None:
    """Compile (source, object, flags), two at a time."""
    for start in range(0, len(jobs), 2):
        running = [
            subprocess.Popen(
                [COMPILER, *flags, "-c", str(source), "-o", str(target)],
                stderr=subprocess.PIPE,
                text=True,
            )
            for source, target, flags in jobs[start : start + 2]
        ]
        for process in running:
            _, errors = process.communicate()
            assert process.returncode == 0, errors


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """brgemm of the vector ISAs, compiled as they are shipped."""
    folder = tmp_path_factory.mktemp("objects")
    paths = {isa: folder / f"{isa}.o" for isa in ("avx2", "avx512")}
    compile_all(
        [
            (CSRC / f"kernels/brgemm/{isa}.cc", path, [*BASE_FLAGS, *isa_flags(isa)])
            for isa, path in paths.items()
        ]
    )
    return paths


# --- machine code ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Instruction:
    address: int
    name: str
    operands: str

    @property
    def jump_target(self) -> int | None:
        match = re.match(r"([0-9a-f]+) <", self.operands)
        return int(match[1], 16) if self.name.startswith("j") and match else None

    @property
    def touches_memory(self) -> bool:
        quiet = ("lea", "nop", "prefetch", "j")
        return "(" in self.operands and not self.name.startswith(quiet)


def functions(path: Path) -> dict[str, list[Instruction]]:
    """The instructions of each function of an object file, by its demangled name."""
    found: dict[str, list[Instruction]] = {}
    body: list[Instruction] = []
    for line in tool("objdump", "-dC", "--no-show-raw-insn", str(path)).splitlines():
        if header := re.match(r"[0-9a-f]+ <(.*)>:$", line):
            body = found.setdefault(header[1], [])
        elif code := re.match(r"\s*([0-9a-f]+):\s+(\S+)\s*(.*)$", line):
            body.append(Instruction(int(code[1], 16), code[2], code[3]))
    return found


def inner_loops(body: list[Instruction]) -> list[list[Instruction]]:
    """Loops that multiply and hold no other loop."""
    spans = [
        (jump.jump_target, jump.address)
        for jump in body
        if jump.jump_target is not None and body[0].address <= jump.jump_target <= jump.address
    ]
    innermost = [
        (first, last)
        for first, last in spans
        if not any(first <= f and la <= last and (f, la) != (first, last) for f, la in spans)
    ]
    loops = [[i for i in body if first <= i.address <= last] for first, last in innermost]
    return [loop for loop in loops if any(i.name.startswith("vfmadd") for i in loop)]


def full_tiles(isa: str) -> list[tuple[int, int]]:
    """(mr, vectors) of the table."""
    text = (CSRC / f"kernels/brgemm/{isa}.cc").read_text(encoding="utf-8")
    tiles = [(int(m), int(n)) for m, n in re.findall(r"make_tile<\w+, (\d+), (\d+)>", text)]
    assert len(tiles) >= 2
    return tiles


@needs_compiler
@needs_x86
@pytest.mark.parametrize("wide, lanes", [("avx2", 8), ("avx512", 16)])
def test_hot_loops_are_nothing_but_products(objects, wide, lanes):
    """One step of k: mr * vectors FMAs, a load for each of A and B, and no trip to the stack."""
    code = functions(objects[wide])
    for mr, vectors in full_tiles(wide):
        for order in ("rows", "columns"):
            pattern = rf"{order}_kernel<.*F32x{lanes}, {mr}, {vectors}, {vectors * lanes}>"
            (body,) = (b for name, b in code.items() if re.search(pattern, name))
            (loop,) = inner_loops(body)
            fmas = [i for i in loop if i.name.startswith("vfmadd")]
            loads = [i for i in loop if i.touches_memory]
            frame = any(i.operands == "%rsp,%rbp" for i in body)
            stack = [i for i in loop if "(%rsp" in i.operands or (frame and "(%rbp" in i.operands)]
            where = f"{order} {mr}x{vectors * lanes} {wide}"
            assert len(fmas) == mr * vectors, where
            assert all("xmm" not in i.operands for i in fmas), where
            assert len(loads) <= mr + vectors, where
            assert not stack, where
            assert len(loop) <= len(fmas) + len(loads) + mr // 2 + 8, where  # counters, addresses


@needs_compiler
@needs_x86
@pytest.mark.parametrize("wide", ["avx2", "avx512"])
def test_no_tile_spills_its_sums(objects, wide):
    """Also of smaller tiles, no inner loop reads or writes the stack."""
    for name, body in functions(objects[wide]).items():
        if "_kernel<" in name:
            frame = any(i.operands == "%rsp,%rbp" for i in body)
            for loop in inner_loops(body):
                spills = [i for i in loop if "(%rsp" in i.operands]
                spills += [i for i in loop if frame and "(%rbp" in i.operands]
                assert not [i for i in spills if i.name.startswith("v")], name


@needs_compiler
@needs_x86
@pytest.mark.parametrize("wide", ["avx2", "avx512"])
def test_wide_code_has_no_weak_symbols(objects, wide):
    """The linker may keep a weak function for the whole library, also where AVX-512 is missing."""
    lines = tool("nm", "-C", "--defined-only", str(objects[wide])).splitlines()
    assert any("pycnn::brgemm_" in line for line in lines)
    assert not [line for line in lines if re.search(r" [WVu] ", line)]


# --- 16 lanes without AVX-512 ---------------------------------------------------------------------

# Stands in for simd/<isa>.h. Everything that later headers include comes first: without __x86_64__
# the kernels leave out an assembler line that wants a vector to fit a register.
STAND_IN = """
#pragma once
#include <array>
#include <atomic>
#include <string>
#include <type_traits>
#include <vector>
#include "base/arch.h"
#include "base/types.h"
#include "simd/vec.h"
#undef __x86_64__
namespace pycnn { namespace { using {name} = Portable<{lanes}>; } }
"""


@pytest.fixture(scope="module")
def emulation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """kernels.cc with the avx512 files as 16 portable lanes and the avx2 files as one."""
    folder = tmp_path_factory.mktemp("emulation")
    (folder / "simd").mkdir()
    for isa, name, lanes in (("avx512", "F32x16", "16"), ("avx2", "F32x8", "1")):
        text = STAND_IN.replace("{name}", name).replace("{lanes}", lanes)
        (folder / f"simd/{isa}.h").write_text(text, encoding="utf-8")
    # -O0: the unrolled tiles would take minutes to optimise
    flags = [f"-I{folder}", *BASE_FLAGS, "-O0", "-ffp-contract=off", "-w", "-Wno-psabi"]
    sanitizers = os.environ.get("PYCNN_SANITIZE")  # as the option of CMakeLists.txt, for .ci/run
    link = [f"-fsanitize={sanitizers}"] if sanitizers else []
    if sanitizers:
        flags += [*link, "-UNDEBUG", "-D_GLIBCXX_ASSERTIONS", "-g1", "-fno-omit-frame-pointer"]
    jobs = [
        (CSRC / f"kernels/{family}/{isa}.cc", folder / f"{family}_{isa}.o", flags)
        for family in FAMILIES
        for isa in ("avx512", "avx2")
        if (family, isa) != ("brgemm", "avx2")
    ]
    jobs += [
        (REPO / f"tests/{name}.cc", folder / f"{name}.o", flags)
        for name in ("kernels", "kernels_brgemm")
    ]
    compile_all(jobs)
    program = folder / "kernels"
    objects = [str(target) for _, target, _ in jobs]
    subprocess.run([COMPILER, *link, *objects, "-o", str(program)], check=True)
    return program


@needs_compiler
def test_sixteen_lanes_emulated(emulation):
    """All m, n, k, counts and epilogues of the AVX-512 tiles, and the other families' tails."""
    result = subprocess.run([emulation], capture_output=True, text=True, check=False, timeout=300)
    assert result.returncode == 0, result.stdout + result.stderr
    assert int(result.stdout.split()[0]) > 1_000_000
