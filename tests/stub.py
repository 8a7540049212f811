# SPDX-License-Identifier: Apache-2.0
"""The part of pycnn/_core.pyi that follows from the table of ops: `python tests/stub.py` writes it.

Run it in the repository after the table has changed and the core was built; test_program.py
compares.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pycnn import _core

STUB = Path(__file__).resolve().parent.parent / "pycnn" / "_core.pyi"
FIRST, LAST = "    # The ops: tests/stub.py wrote these.\n", "    # That were the ops.\n"
WIDTH = 100
# Graph has methods of their own for these.
APART = {"input", "parameter", "loss", "metric"}
VALUE = {
    "required": "int",
    "shape_only": "int",
    "optional": "int | None = None",
    "optional_shape_only": "int | None = None",
    "repeated": "Sequence[int]",
    "any_number": "Sequence[int]",
}


def argument(name: str, attribute: dict[str, Any]) -> str:
    """An attribute: its type, and what it is where it is left out."""
    kind = attribute["type"]
    if "default" not in attribute:
        return f"{name}: {kind}"
    default = attribute["default"]
    if isinstance(default, list):
        default = tuple(default)
    if isinstance(default, float):
        default = float(f"{default:.7g}")  # what the core keeps as a single
    if default is None and name == "padding":
        default = "valid"
    elif default is None:
        kind += " | None"
    shown = f'"{default}"' if isinstance(default, str) else repr(default).replace("'", '"')
    return f"{name}: {kind} = {shown}"


def arguments(op: dict[str, Any]) -> Iterator[str]:
    """As the binding takes them: inputs, attributes, name. What must be given comes first."""
    given = [(name, VALUE[presence]) for name, presence in op["inputs"].items()]
    needed = [i for i, (_, kind) in enumerate(given) if "None" not in kind]
    least = needed[-1] if needed else 0
    for i, (name, kind) in enumerate(given):
        # one that may be absent, before one that may not: None has to be said
        yield f"{name}: {kind.removesuffix(' = None') if i < least else kind}"
    if op["attributes"]:
        named = [argument(name, attribute) for name, attribute in op["attributes"].items()]
        first = next(iter(op["attributes"].values()))
        if "default" in first or len(needed) < len(given):
            yield "*"
            yield from named
        else:
            yield from named[:1]
            yield "*"
            yield from named[1:]
    else:
        yield "*"
    yield 'name: str = ""'


def signature(name: str, given: Sequence[str], result: str) -> str:
    """As the formatter lays it out."""
    line = f"    def {name}(self, {', '.join(given)}) -> {result}: ...\n"
    if len(line) <= WIDTH + 1:
        return line
    inner = f"        self, {', '.join(given)}\n"
    if len(inner) <= WIDTH + 1:
        return f"    def {name}(\n{inner}    ) -> {result}: ...\n"
    inner = "".join(f"        {one},\n" for one in ("self", *given))
    return f"    def {name}(\n{inner}    ) -> {result}: ...\n"


def methods() -> str:
    """One method for each op."""
    text = ""
    for name, op in _core.ops().items():
        results = op["results"]
        many = f"tuple[{', '.join(['int'] * results)}]"
        result = {0: "None", 1: "int"}.get(results, many)
        if name not in APART:
            text += signature(name, list(arguments(op)), result)
    return text


def split(text: str) -> tuple[str, str, str]:
    """What is before, in and after the part."""
    before, _, rest = text.partition(FIRST)
    ops, _, after = rest.partition(LAST)
    return before, ops, after


def main() -> None:
    before, _, after = split(STUB.read_text())
    STUB.write_text(before + FIRST + methods() + LAST + after)


if __name__ == "__main__":
    main()
