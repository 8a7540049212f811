# SPDX-License-Identifier: Apache-2.0
"""What is installed: its size, its types, what importing it costs and shows."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import io
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import pycnn

PACKAGE = Path(pycnn.__file__).parent
MAX_IMPORT_SECONDS = 0.25
MAX_PACKAGE_BYTES = 5_000_000


def python(code: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run code in a new process, outside of the checkout."""
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True)


def extension(name: str) -> Path:
    spec = importlib.util.find_spec(f"pycnn.{name}")
    assert spec is not None, f"pycnn.{name} is not installed"
    assert spec.origin is not None
    return Path(spec.origin)


def test_the_installed_package_is_tested():
    assert PACKAGE.parent != Path(__file__).resolve().parent.parent
    assert extension("_core").parent == PACKAGE
    assert extension("_predictor").parent == PACKAGE


def test_version_is_the_same_everywhere():
    version = importlib.metadata.version("pycnn")
    assert pycnn.__version__ == version
    assert pycnn._core.__version__ == version


def test_import_is_fast(tmp_path):
    code = (
        "import time, numpy; begin = time.perf_counter(); import pycnn;"
        "print(time.perf_counter() - begin)"
    )
    seconds = [float(python(code, tmp_path).stdout) for _ in range(5)]
    assert min(seconds) <= MAX_IMPORT_SECONDS, seconds


def test_import_prints_nothing(tmp_path):
    result = python("import pycnn", tmp_path)
    assert (result.stdout, result.stderr) == ("", "")


def test_import_warns_nothing(tmp_path):
    python("import warnings; warnings.simplefilter('error'); import pycnn", tmp_path)


def test_import_leaves_heavy_modules_alone(tmp_path):
    loaded = set(python("import sys, pycnn; print(*sys.modules)", tmp_path).stdout.split())
    assert "pycnn._core" in loaded
    assert loaded.isdisjoint({"matplotlib", "sklearn", "scipy", "pandas", "IPython"})


def test_files_for_users_of_types_and_cython_are_there():
    for name in ("py.typed", "_core.pyi", "_predictor.pyx"):
        assert (PACKAGE / name).is_file(), name


def test_stub_describes_the_core(tmp_path):
    allowed = tmp_path / "allowed"  # a stub cannot name pybind11's metaclass
    classes = "Graph OptimizerState Parameters Plan Variable".split()
    allowed.write_text("".join(f"pycnn._core.{name}\n" for name in classes))
    command = [sys.executable, "-m", "mypy.stubtest", "pycnn._core", "--allowlist", str(allowed)]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_package_is_small():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in PACKAGE.rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                archive.write(path, path.relative_to(PACKAGE))
    assert buffer.tell() <= MAX_PACKAGE_BYTES


@pytest.mark.skipif(sys.platform != "linux", reason="reads ELF files")
@pytest.mark.skipif(shutil.which("nm") is None, reason="needs nm, of binutils")
@pytest.mark.parametrize("name", ["_core", "_predictor"])
def test_extension_exports_only_its_init_function(name):
    command = ["nm", "-D", "--defined-only", str(extension(name))]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert re.findall(r"^\S+ \S (\S+)$", output, re.MULTILINE) == [f"PyInit_{name}"]


def test_console_script_is_declared():
    scripts = importlib.metadata.entry_points(group="console_scripts", name="pycnn")
    assert [script.value for script in scripts] == ["pycnn.cli:main"]
    assert callable(next(iter(scripts)).load())
