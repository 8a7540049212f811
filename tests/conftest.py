# SPDX-License-Identifier: Apache-2.0
"""Fixtures of all tests. What is tested is the installed package, not the checkout's pycnn/."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest
from hypothesis import settings

REPO = Path(__file__).resolve().parent.parent

# `python -m pytest` puts the checkout on the path, and its pycnn/ has no compiled modules.
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != REPO]

settings.register_profile("default", deadline=None, max_examples=50)
settings.register_profile("ci", deadline=None, max_examples=60, derandomize=True, print_blob=True)
# PYCNN_FRESH=1: other examples each time; a failure prints the line that repeats its example.
settings.register_profile(
    "fresh", deadline=None, max_examples=20, derandomize=False, database=None, print_blob=True
)
# PYCNN_FEW=1: where sanitizers make each example ten times as long.
settings.register_profile(
    "few", deadline=None, max_examples=15, derandomize=True, database=None, print_blob=True
)
chosen = "ci" if os.environ.get("CI") == "true" else "default"
for name in ("fresh", "few"):
    chosen = name if os.environ.get(f"PYCNN_{name.upper()}") == "1" else chosen
settings.load_profile(chosen)


# A shell starts background jobs with SIGINT ignored, and children would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


def usable_isas() -> list[str]:
    """Return the names of the instruction sets that this machine runs, such as scalar, avx2."""
    import pycnn

    return pycnn.isas()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that takes `isa` once for each instruction set of this machine."""
    if "isa" in metafunc.fixturenames:
        metafunc.parametrize("isa", usable_isas())


@pytest.fixture(scope="session")
def isas() -> list[str]:
    """Names of the usable instruction sets, ascending; for tests that compare them."""
    return usable_isas()


@pytest.fixture(scope="session")
def data_home() -> Path:
    """Folder of the real data sets: PYCNN_HOME, or shared/data next to the checkout."""
    forced = os.environ.get("PYCNN_HOME")
    home = Path(forced) if forced else REPO.parent / "shared" / "data"
    if not home.is_dir():
        pytest.skip(f"no real data: {home} is not a folder (set PYCNN_HOME)")
    return home
