# SPDX-License-Identifier: Apache-2.0
"""The fuzzers of tests/fuzz: a few seconds of each, and that they report what goes wrong."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

FUZZ = Path(__file__).resolve().parent / "fuzz"

# A fuzzer of four cases, each with an end of its own.
BROKEN = """
import os, sys, time
sys.path.insert(0, {folder!r})
from harness import Finding, main

def run(seed, case, say):
    say(f"about to do {{case}}")
    if case == 1:
        raise Finding("wrong result")
    if case == 2:
        os.kill(os.getpid(), 11)
    if case == 3:
        time.sleep(600)
    return "right"

sys.exit(main(run))
"""


def fuzz(script: Path, *arguments: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(script), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=timeout)


@pytest.mark.parametrize("name", ["graphs", "layers"])
def test_a_few_seconds(name):
    """A fixed seed: longer runs with fresh ones are for CI, and by hand."""
    result = fuzz(FUZZ / f"{name}.py", "--seconds", "6", "--seed", "1")
    assert result.returncode == 0, result.stdout + result.stderr
    summary = re.search(r"(\d+) executions in .* right (\d+).*; 0 failed", result.stdout)
    assert summary, result.stdout
    assert int(summary[1]) >= 3


def test_failures_name_their_case_and_how_to_repeat_it(tmp_path):
    script = tmp_path / "broken.py"
    script.write_text(BROKEN.format(folder=str(FUZZ)), encoding="utf-8")
    result = fuzz(script, "--seconds", "3", "--seed", "5", "--hang", "2")
    assert result.returncode == 1
    for case, cause in ((1, "wrong result"), (2, "crash: SIGSEGV"), (3, "hang")):
        pattern = rf"case {case} of seed 5 failed:(?s:.*?){cause}(?s:.*?)--seed 5 --case {case}\n"
        assert re.search(pattern, result.stdout), result.stdout
    assert "about to do 1" in result.stdout
    assert re.search(r"\d+ executions in .*3 failed", result.stdout)
    again = fuzz(script, "--seed", "5", "--case", "1")
    assert again.returncode == 1
    assert "wrong result" in again.stdout and "about to do 1" in again.stderr
