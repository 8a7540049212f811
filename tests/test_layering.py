# SPDX-License-Identifier: Apache-2.0
"""The laws of the source tree: which layer may see which, and the budgets of a file."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import chain
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parent.parent
CSRC = REPO / "csrc"

# layer -> the layers below that it may include, besides itself
BELOW = {
    "base": set(),
    "simd": {"base"},
    "kernels": {"simd", "base"},
    "ops": {"kernels", "base"},
    "graph": {"base"},
    "plan": {"graph", "ops", "base"},
    "format": {"graph", "base"},
    "capi": {"format", "plan", "base"},
    "cuda": {"ops", "base"},
}
BELOW["bind"] = set(BELOW)

MAX_FILE, MAX_FUNCTION, MAX_LINE = 400, 60, 100

# path -> why the file may be longer; path::function -> why the function may be longer
EXCEPTIONS: dict[str, str] = {"pycnn/_core.pyi": "a method for each op, which tests/stub.py writes"}

CPP = {".h", ".hpp", ".cc", ".c", ".cu"}
PYTHON = {".py", ".pyi"}
CYTHON = {".pyx", ".pxd"}


def name_of(path: Path) -> str:
    return path.relative_to(REPO).as_posix()


@cache
def sources(*suffixes: str) -> list[Path]:
    """Source files of the tree with these suffixes; never empty."""
    folders = [REPO / name for name in ("csrc", "pycnn", "tests", "bench", "examples")]
    files = chain.from_iterable(folder.rglob("*") for folder in folders)
    found = sorted(f for f in files if f.suffix in suffixes and "__pycache__" not in f.parts)
    assert found, f"no {suffixes} files under {REPO}: the tests must run in a checkout"
    return found


@cache
def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def cpp_files() -> list[Path]:
    return [f for f in sources(*sorted(CPP)) if CSRC in f.parents]


def fail_on(offenders: Iterable[str]) -> None:
    listed = list(offenders)
    assert not listed, "\n" + "\n".join(listed)


# --- Python -------------------------------------------------------------------------------------

# The floors of pycnn/, lowest first: what runs on a floor imports from it or from lower ones, in
# functions too. (Annotations may look up: imports under TYPE_CHECKING do not run.)
FLOORS = (
    {"_core", "errors"},
    {"ground"},
    {"limits", "initializers", "losses", "metrics", "optimizers"},
    {"engine"},
    {"ops"},
    {"activations", "regularizers"},
    {"layers"},
    {"callbacks", "summary", "training", "files"},
    {"models", "_predictor"},
    {"applications", "datasets", "viz", "bench", "recipes"},
    {"cli"},
)
LEVEL = {room: level for level, rooms in enumerate(FLOORS) for room in rooms}
APART = {"__init__", "__main__", "reference"}  # the face, the door, and what imports numpy only


def runs(node: ast.AST) -> Iterator[ast.ImportFrom]:
    """The relative imports in a module or function that are executed."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            continue
        if isinstance(child, ast.ImportFrom) and child.level:
            yield child
        yield from runs(child)


def rooms() -> Iterator[tuple[str, str, str]]:
    """(room, the room it imports from, where) of each import within the package."""
    top = REPO / "pycnn"
    for path in sources(".py"):
        if top not in path.parents:
            continue
        folder = path.parent.relative_to(top).parts
        room = path.relative_to(top).parts[0].removesuffix(".py")
        for node in runs(ast.parse(read(path))) if room not in APART else ():
            inside = folder[: len(folder) - (node.level - 1)]
            inside += tuple(node.module.split(".")) if node.module else ()
            for seen in inside[:1] or [alias.name for alias in node.names]:
                yield room, seen, f"{name_of(path)}:{node.lineno}"


def test_the_engine_knows_no_layer_not_even_for_types():
    """Tensors, builders, weights and networks: each knows the layer as what they ask of it."""
    for path in sorted((REPO / "pycnn" / "engine").glob("*.py")):
        assert "TYPE_CHECKING" not in read(path), path


def test_python_imports_point_downward():
    found = list(rooms())
    assert len(found) > 200
    assert {room for room, _, _ in found} <= set(LEVEL)
    fail_on(
        f"{where}: {room} may not import {seen}"
        for room, seen, where in found
        if room != seen and LEVEL[seen] > LEVEL[room]
    )


# --- C++ ----------------------------------------------------------------------------------------


def included(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line number, <...> or "..." with its brackets) of each include."""
    for number, line in enumerate(read(path).splitlines(), 1):
        if match := re.match(r'\s*#\s*include\s*(<[^>]+>|"[^"]+")', line):
            yield number, match[1]


def layer_of_include(path: Path, name: str) -> str:
    """The layer of a quoted include, relative to csrc/ or to the including file; "" if missing."""
    for target in (CSRC / name, (path.parent / name).resolve()):
        if target.is_file() and CSRC in target.parents:
            return target.relative_to(CSRC).parts[0]
    return ""


def upward_arrows(path: Path) -> Iterator[str]:
    layer = path.relative_to(CSRC).parts[0]
    for number, include in included(path):
        where = f"{name_of(path)}:{number}"
        if include.startswith("<"):
            if re.match(r"<(Python\.h|pybind11/|numpy/)", include) and layer != "bind":
                yield f"{where}: only bind sees Python, not {layer}: {include}"
            continue
        seen = layer_of_include(path, include.strip('"'))
        if not seen:
            yield f"{where}: no such file in csrc: {include}"
        elif seen != layer and seen not in BELOW[layer]:
            yield f"{where}: {layer} may not include {seen}: {include}"


def test_every_layer_is_known():
    layers = {path.relative_to(CSRC).parts[0] for path in cpp_files()}
    assert layers <= BELOW.keys(), f"unknown folders in csrc: {sorted(layers - BELOW.keys())}"
    assert {"base", "kernels", "ops", "graph", "plan", "bind"} <= layers


def test_includes_point_downward():
    fail_on(chain.from_iterable(map(upward_arrows, cpp_files())))


def test_laws_are_not_vacuous():
    assert sum(1 for path in cpp_files() for _ in included(path)) > 20
    assert "ops" not in BELOW["graph"]
    assert "kernels" not in BELOW["plan"]


def test_kernels_never_see_tensors():
    fail_on(
        f"{name_of(path)}:{number}: kernels and simd get pointers and extents, not shapes"
        for path in cpp_files()
        for number, include in included(path)
        if path.relative_to(CSRC).parts[0] in {"kernels", "simd"} and include == '"base/shape.h"'
    )


def test_openmp_only_in_parallel():
    openmp = re.compile(r"#\s*pragma\s+omp|_Pragma\s*\(\s*\"omp|<omp\.h>|\bomp_\w+\s*\(")
    allowed = {CSRC / "base/parallel.h", CSRC / "base/parallel.cc"}
    fail_on(
        f"{name_of(path)}:{number}: OpenMP belongs into base/parallel: {line.strip()}"
        for path in cpp_files()
        if path not in allowed
        for number, line in enumerate(without_comments(read(path)).splitlines(), 1)
        if openmp.search(line)
    )


def blank(match: re.Match[str]) -> str:
    """Keep the line breaks of what is removed."""
    return " " + "\n" * match[0].count("\n")


def without_comments(text: str) -> str:
    tokens = r'"(?:\\.|[^"\\\n])*"|//[^\n]*|/\*.*?\*/'
    return re.sub(tokens, lambda m: m[0] if m[0][0] == '"' else blank(m), text, flags=re.DOTALL)


def bare_cpp(text: str) -> str:
    """Remove what may hold braces that are no blocks: literals, comments, macros."""
    text = re.sub(r'R"(\w*)\(.*?\)\1"', blank, text, flags=re.DOTALL)
    text = without_comments(text)
    text = re.sub(r'"(?:\\.|[^"\\\n])*"', '""', text)
    text = re.sub(r"(?<![0-9a-fA-F])'(?:\\.|[^'\\\n])+'", "' '", text)
    return re.sub(r"^[ \t]*#(?:\\\n|[^\n])*", blank, text, flags=re.MULTILINE)


def cpp_function_name(head: str) -> str | None:
    """The name in front of the arguments; None for the head of a namespace, class or table."""
    head = re.sub(r"template\s*<[^(){};]*>", "", head).strip()
    if "(" not in head or re.match(r"(inline\s+)?(namespace|class|struct|union|enum)\b", head):
        return None
    return (head.split("(")[0].split() or ["?"])[-1]


def cpp_functions(text: str) -> Iterator[tuple[str, int]]:
    """Yield (name, number of lines) of functions: the outermost blocks that are no scopes.

    Approximate: the head of a block is the text since the last ; { } or access specifier.
    """
    open_blocks: list[tuple[str | None, int]] = []
    line, head, head_line = 1, "", 1
    for char in bare_cpp(text):
        if char == "{":
            in_function = any(name for name, _ in open_blocks)
            open_blocks.append((None if in_function else cpp_function_name(head), head_line))
        elif char == "}":
            assert open_blocks, f"line {line}: a }} that closes nothing"
            name, start = open_blocks.pop()
            if name:
                yield name, line - start + 1
        line += char == "\n"
        head = "" if char in ";{}" else head + char
        if re.fullmatch(r"\s*((public|protected|private)\s*:)?\s*", head):
            head, head_line = "", line
    assert not open_blocks, f"unclosed block, opened on line {open_blocks[-1][1]}"


def test_cpp_function_finder():
    text = """
namespace a {  // {
struct B : C<int> { int x = f('{'); void g() { if (x) { y(); } }
 private:
  ~B() {
  }
};
#define M(x) { x
template <class T>
int h(int a,
      int b) noexcept {
  auto k = [&](int i) { return i; };
  return R"({)"[k(1'000)];
}
const Row table[] = {{f(1)}, {2}};
}
"""
    assert list(cpp_functions(text)) == [("g", 1), ("~B", 2), ("h", 6)]


# --- Python -------------------------------------------------------------------------------------


def imports(tree: ast.AST, package: tuple[str, ...]) -> Iterator[tuple[int, str]]:
    """Yield (line number, absolute dotted module) of all imports; package holds the file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join((*base, node.module or "")).rstrip(".")
            yield node.lineno, module
            if module in {"pycnn", ""}:  # from pycnn import _core
                yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)


def python_files(folder: str) -> list[Path]:
    return [f for f in sources(".py") if REPO / folder in f.parents]


def package_of(path: Path) -> tuple[str, ...]:
    return path.relative_to(REPO).parent.parts


def test_reference_imports_numpy_only():
    files = python_files("pycnn/reference")
    assert files
    fail_on(
        f"{name_of(path)}:{line}: the reference may use numpy and itself only, not {module}"
        for path in files
        for line, module in imports(ast.parse(read(path)), package_of(path))
        if module.split(".")[0] not in {"numpy", *sys.stdlib_module_names}
        and not f"{module}.".startswith("pycnn.reference.")
    )


def test_package_imports_its_dependencies_only():
    required = {"pycnn", "numpy", "tqdm", *sys.stdlib_module_names}
    optional = {"sklearn", "matplotlib", "PIL", "IPython"}  # inside the functions that need them
    offenders = []
    for path in python_files("pycnn"):
        tree = ast.parse(read(path))
        for line, module in imports(tree, package_of(path)):
            if module.split(".")[0] not in required | optional:
                offenders.append(f"{name_of(path)}:{line}: {module} is not a dependency")
        top = ast.Module([n for n in tree.body if isinstance(n, ast.Import | ast.ImportFrom)], [])
        for line, module in imports(top, package_of(path)):
            if module.split(".")[0] in optional:
                offenders.append(f"{name_of(path)}:{line}: import {module} where it is used")
    fail_on(offenders)


def python_functions(text: str) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            yield node.name, node.end_lineno - node.lineno + 1


# --- budgets ------------------------------------------------------------------------------------


def over_budget() -> Iterator[tuple[str, str]]:
    """Yield (key of EXCEPTIONS, message) of each file and function that is too long."""
    for path in sources(*sorted(CPP | PYTHON | CYTHON)):
        text, name = read(path), name_of(path)
        if (lines := text.count("\n")) > MAX_FILE:
            yield name, f"{name}: {lines} lines, at most {MAX_FILE}"
        if path.suffix in CYTHON:
            continue
        functions = cpp_functions if path.suffix in CPP else python_functions
        for function, lines in functions(text):
            if lines > MAX_FUNCTION:
                key = f"{name}::{function}"
                yield key, f"{key}: {lines} lines, at most {MAX_FUNCTION}"


def test_sizes_keep_their_budgets():
    fail_on(message for key, message in over_budget() if key not in EXCEPTIONS)


def test_exceptions_are_still_needed():
    needed = {key for key, _ in over_budget()}
    fail_on(f"{key}: within its budget, delete the exception" for key in EXCEPTIONS.keys() - needed)


def test_lines_keep_their_budget():
    fail_on(
        f"{name_of(path)}:{number}: {len(line)} characters, at most {MAX_LINE}"
        for path in sources(*sorted(CPP | PYTHON | CYTHON))
        for number, line in enumerate(read(path).splitlines(), 1)
        if len(line) > MAX_LINE
    )


def test_sources_are_ascii():
    fail_on(
        f"{name_of(path)}:{number}: not ASCII: {line.strip()!a}"
        for path in sources(*sorted(CPP | PYTHON | CYTHON))
        for number, line in enumerate(read(path).splitlines(), 1)
        if not line.isascii()
    )


def test_first_line_is_the_licence():
    mark = "SPDX-License-Identifier: Apache-2.0"
    fail_on(
        f"{name_of(path)}: first line is not {mark!r}"
        for path in sources(*sorted(CPP | PYTHON | CYTHON))
        if mark not in read(path).removeprefix("#!/usr/bin/env python3\n").split("\n", 1)[0]
    )


@pytest.mark.parametrize("path", ["CMakeLists.txt", "pyproject.toml", ".ci/run"])
def test_build_files_carry_the_licence(path):
    assert "SPDX-License-Identifier: Apache-2.0" in "".join(read(REPO / path).splitlines()[:2])
