# SPDX-License-Identifier: Apache-2.0
"""Breaks the engine on purpose, one place at a time, and looks whether the tests notice.

Run as `python tests/mutate.py [--work FOLDER] [NAME...]`: names are parts of those in mutants_*.py.
Each mutant is built in a copy of the checkout and tested by the tests named with it, which first
have to pass without it. The exit code is the number of mutants that survived.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mutant import Mutant
from mutants_core import BASE, MEMORY, RUNS
from mutants_expressions import EXPRESSIONS
from mutants_fusion import FUSION
from mutants_graph import GRAPH
from mutants_ops import OPS
from mutants_python import PYTHON

MUTANTS = [*BASE, *RUNS, *FUSION, *EXPRESSIONS, *GRAPH, *MEMORY, *OPS, *PYTHON]
MUTANTS.sort(key=lambda mutant: mutant.file.endswith(".h"))  # last: much is built again for them
REPO = Path(__file__).resolve().parent.parent
SOURCES = ("csrc", "pycnn", "tests", "CMakeLists.txt", "pyproject.toml")
LEFT_OUT = (".so", ".pyc", ".pyd")
TIMEOUT = 300  # seconds that the tests of one mutant may take
FAILED, HUNG = 1, "hung"  # pytest's exit code where a test failed


def write(path: Path, data: bytes) -> None:
    """Leaves a file that has this content alone, so that nothing is built again for it."""
    if not path.is_file() or path.read_bytes() != data:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def mutated(mutant: Mutant, root: Path) -> bytes:
    """The content of the mutant's file; ValueError where what it replaces is not there once."""
    text = (root / mutant.file).read_text(encoding="utf-8")
    count = text.count(mutant.old)
    if count != 1 or mutant.new == mutant.old:
        raise ValueError(f"mutant {mutant.name!r}: {mutant.file} holds its text {count} times")
    return text.replace(mutant.old, mutant.new).encode()


@dataclass
class Workshop:
    """A copy of the checkout, its build, and the package as it would be installed."""

    folder: Path

    @property
    def tree(self) -> Path:
        return self.folder / "tree"

    @property
    def site(self) -> Path:
        return self.folder / "site"

    def fill(self) -> None:
        """Copies what is tested; a folder that was used before keeps its build."""
        for name in SOURCES:
            source = REPO / name
            files = sorted(source.rglob("*")) if source.is_dir() else [source]
            for file in files:
                if file.is_file() and file.suffix not in LEFT_OUT:
                    write(self.tree / file.relative_to(REPO), file.read_bytes())

    def make(self) -> None:
        """Builds what has changed. CalledProcessError, with the compiler's words, if it cannot."""
        build = self.folder / "build"
        if not (build / "build.ninja").is_file():
            python = f"-DPython_EXECUTABLE={sys.executable}"
            self._call("cmake", "-G", "Ninja", "-S", str(self.tree), "-B", str(build), python)
        self._call("cmake", "--build", str(build), "--parallel", str(os.cpu_count() or 1))
        self._call("cmake", "--install", str(build), "--prefix", str(self.site))
        for file in (self.tree / "pycnn").rglob("*.py"):
            write(self.site / file.relative_to(self.tree), file.read_bytes())

    def _call(self, *command: str) -> None:
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode != 0:
            raise RuntimeError(f"{' '.join(command)}\n{result.stdout}\n{result.stderr}")

    def test(self, tests: Sequence[str], timeout: float) -> tuple[int | str, str]:
        """(pytest's exit code or "hung", what it printed)."""
        environment = {
            **os.environ,
            "PYTHONPATH": str(self.site),
            "PYTHONDONTWRITEBYTECODE": "1",  # files change within a second
            "CI": "true",  # the same examples each time
        }
        options = ("-x", "-q", "-p", "no:cacheprovider", "--tb=line")
        process = subprocess.Popen(
            [sys.executable, "-m", "pytest", *options, *(f"tests/{test}" for test in tests)],
            cwd=self.tree,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # a group of its own, which may have to be ended
        )
        code: int | str = HUNG
        output = ""
        with suppress(subprocess.TimeoutExpired):
            output, _ = process.communicate(timeout=timeout)
            code = process.returncode
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # children that hang, too
        process.wait()
        return code, output


def check_honest(workshop: Workshop, mutants: Sequence[Mutant]) -> None:
    """Builds the copy as it is, and runs all tests of these mutants on it."""
    workshop.make()
    tests = list(dict.fromkeys(test for mutant in mutants for test in mutant.tests))
    code, output = workshop.test(tests, TIMEOUT * max(1, len(tests)))
    if code != 0:
        raise RuntimeError(f"the tests fail without any mutant ({code}):\n{output[-2000:]}")


def killer(workshop: Workshop, mutant: Mutant) -> str:
    """The test that fails, or how they end otherwise; "" where all pass. Undoes the mutation."""
    file = workshop.tree / mutant.file
    honest = file.read_bytes()
    write(file, mutated(mutant, workshop.tree))
    try:
        workshop.make()
        code, output = workshop.test(mutant.tests, TIMEOUT)
    finally:
        write(file, honest)
    if code == 0:
        return ""
    failed = re.search(r"^FAILED tests/(\S+)", output, re.MULTILINE)
    if code == FAILED and failed:
        return failed[1]
    if code == HUNG or (isinstance(code, int) and code < 0):
        return f"pytest ended with {code}"
    end = output[-2000:]
    raise RuntimeError(f"mutant {mutant.name!r}: pytest ended with {code}:\n{end}")


def survivors(folder: Path, mutants: Sequence[Mutant]) -> list[str]:
    """The names of the mutants that no test notices; prints a line for each mutant."""
    workshop = Workshop(folder)
    workshop.fill()
    for mutant in mutants:
        mutated(mutant, workshop.tree)  # all are there, before time is spent on any
    began = time.monotonic()
    check_honest(workshop, mutants)
    print(f"{time.monotonic() - began:6.1f} s  build, and all tests without mutants", flush=True)
    alive = []
    for mutant in mutants:
        began = time.monotonic()
        killed_by = killer(workshop, mutant)
        word = f"killed by {killed_by}" if killed_by else "SURVIVED"
        print(f"{time.monotonic() - began:6.1f} s  {mutant.name}: {word}", flush=True)
        if not killed_by:
            alive.append(mutant.name)
    return alive


def chosen(parts: Sequence[str]) -> list[Mutant]:
    """The mutants whose names contain one of these, or all."""
    return [m for m in MUTANTS if not parts or any(part in m.name for part in parts)]


def main() -> int:
    parser = argparse.ArgumentParser(description="Does the suite notice a broken engine?")
    parser.add_argument("names", nargs="*", help="parts of names of mutants; all")
    parser.add_argument("--work", type=Path, help="a folder that is kept, with its build")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        alive = survivors((options.work or Path(temporary)).resolve(), chosen(options.names))
    print(f"{len(alive)} survived", *alive, sep="\n  ")
    return len(alive)


if __name__ == "__main__":
    sys.exit(main())
