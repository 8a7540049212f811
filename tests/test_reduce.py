# SPDX-License-Identifier: Apache-2.0
"""Folds over axes against NumPy, and gradients of expressions that broadcast and fold."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
import pytest
from engine import GUARDS, UNIT, Array, Check, Setting, assert_equal, assert_guarded, run
from hypothesis import given
from hypothesis import strategies as st
from strategies import extents, random_array, seeds, small_integers

from pycnn import _core, reference
from pycnn.errors import ShapeError

KINDS = _core.ops()["reduce"]["attributes"]["kind"]["choices"]
MOST_ROUNDINGS = 192  # csrc/ops/reduce.h


@dataclass(frozen=True)
class Case:
    shape: tuple[int, ...]
    axes: tuple[int, ...]
    kind: str
    keepdims: bool = False
    expression: tuple[str, ...] = ("x0",)


@st.composite
def folds(draw) -> Case:
    rank = draw(st.integers(1, 5))
    shape = tuple(draw(extents(17 if axis > rank - 3 else 3)) for axis in range(rank))
    kind = draw(st.sampled_from(KINDS))
    chosen = st.sets(st.integers(0, rank - 1), min_size=1, max_size=rank)
    axes = (draw(st.integers(0, rank - 1)),) if "arg" in kind else tuple(sorted(draw(chosen)))
    code = draw(st.sampled_from([("x0",), ("multiply x0 x0", "t0"), ("absolute x0", "t0"), ("3",)]))
    return Case(shape, axes, kind, draw(st.booleans()), code)


PICKED = [
    Case((1,), (0,), "sum"),
    Case((3, 255), (1,), "sum"),
    Case((3, 256), (1,), "mean"),
    Case((3, 257), (1,), "max"),
    Case((2, 8193), (1,), "sum"),  # sections of a row
    Case((2, 50001), (0, 1), "mean", True),
    Case((4, 700, 3), (0, 1), "sum"),  # sections of rows, several to a block
    Case((2, 300, 301), (0, 1), "min"),
    Case((2, 300, 301), (1,), "arg_min"),
    Case((2, 301, 7), (1,), "arg_max"),
    Case((2, 4099), (1,), "arg_max"),
    Case((4, 30, 5, 70), (0, 2), "mean"),  # what is kept lies between
    Case((3, 5, 7, 2, 9), (1, 3), "sum", True, ("multiply x0 x0", "t0")),
    Case((4, 3, 700), (1,), "sum"),
    Case((4, 1, 6), (1,), "max", True),
    Case((4, 6), (), "sum"),
]


def result(case: Case, x: Array, setting: Setting) -> Array:
    def build(graph: _core.Graph, v: dict[str, int]) -> list[int]:
        options = {"axes": case.axes, "keepdims": case.keepdims, "expression": case.expression}
        return [graph.reduce([v["x"]], case.kind, **options)]

    return run(build, {"x": x}, {}, setting)[0]


def expected(case: Case, x: Array) -> Array:
    return reference.reduce([x], case.kind, case.axes, case.keepdims, case.expression)


def check(case: Case, seed: int, setting: Setting) -> None:
    """Whole numbers exactly; of real ones extremes exactly, and sums within the promised error."""
    x = small_integers(case.shape, seed)
    y = result(case, x, setting)
    assert y.dtype == (np.int32 if "arg" in case.kind else np.float32)
    assert_equal(y, expected(case, x), f"{case}")
    x = np.float32(random_array(case.shape, seed)).astype(float)
    if case.expression != ("multiply x0 x0", "t0") and case.kind not in ("sum", "mean"):
        return assert_equal(result(case, x, setting), expected(case, x), f"{case}")
    if case.kind not in ("sum", "mean"):
        return None
    size = reference.reduce([np.abs(x)], case.kind, case.axes, case.keepdims, case.expression)
    passes = len(case.shape)  # at most, one behind the other
    error = np.abs(result(case, x, setting) - expected(case, x))
    assert (error <= passes * MOST_ROUNDINGS * UNIT * size + 1e-30).all(), case
    return None


@pytest.mark.parametrize("case", PICKED, ids=lambda c: f"{c.kind}-{c.shape}-{c.axes}")
@pytest.mark.parametrize("count", [1, 3])
def test_picked(case, count, isa):
    check(case, 0, Setting(isa, threads=count))


@given(folds(), seeds)
def test_reduce(isa, case, seed):
    check(case, seed, Setting(isa))


CHECKS = [Check(check, folds(), PICKED)]


@pytest.mark.parametrize("memory", GUARDS)
def test_no_byte_outside(memory, isa):
    assert_guarded(__name__, memory, isa)


@pytest.mark.parametrize("case", PICKED, ids=lambda c: f"{c.kind}-{c.shape}-{c.axes}")
def test_bits_do_not_depend_on_threads_or_isa(case, isas):
    """Sums take the same order everywhere: where no function differs, nothing does."""
    x = np.float32(random_array(case.shape, 3) * 1e3)
    results = [result(case, x, Setting(isa, threads=n)) for isa, n in product(isas, (1, 2, 3))]
    for other in results[1:]:
        np.testing.assert_array_equal(results[0], other)


def test_samples_do_not_know_the_batch(isa):
    x = np.float32(random_array((5, 70, 9), 1))
    case = Case(x.shape, (1,), "mean")
    whole = result(case, x, Setting(isa))
    for i in range(len(x)):
        alone = result(Case((1, 70, 9), (1,), "mean"), x[i : i + 1], Setting(isa))
        np.testing.assert_array_equal(alone[0], whole[i])


@pytest.mark.parametrize("kind", KINDS)
def test_a_nan_is_found(kind, isa):
    for shape, axes in [((2, 9), (1,)), ((2, 300), (1,)), ((2, 9, 5), (1,)), ((2, 5, 300), (1,))]:
        x = np.float32(random_array(shape, 5))
        x[0, 3] = np.nan
        x[0, 4] = np.inf
        y, wanted = (
            result(Case(shape, axes, kind), x, Setting(isa)),
            expected(Case(shape, axes, kind), x),
        )
        np.testing.assert_array_equal(np.isnan(y), np.isnan(wanted))
        if "arg" in kind or ("m" == kind[0] and kind != "mean"):
            np.testing.assert_array_equal(y, wanted.astype(y.dtype))


def test_axes_may_be_left_out_and_counted_from_the_end():
    graph = _core.Graph()
    x = graph.input("x", (None, 3, 5))
    assert graph.shape(graph.reduce([x], "sum")) == ()
    assert graph.shape(graph.reduce([x], "sum", keepdims=True)) == (1, 1, 1)
    y = graph.reduce([x], "max", axes=[-1, 1])
    assert graph.shape(y) == (None,)
    assert graph.nodes()[-1]["attributes"]["axes"] == [1, 2]


@pytest.mark.parametrize(
    ("kind", "axes", "message"),
    [
        ("sum", [3], "reduce: axes must be ascending axes of (None, 3, 5), got 3"),
        ("sum", [-4], "reduce: axes must be ascending axes of (None, 3, 5), got -1"),
        ("sum", [1, 1], "reduce: axes must be ascending axes of (None, 3, 5), got 1"),
        ("arg_max", [1, 2], "reduce: arg_max takes one axis, got 2"),
        ("arg_min", [], "reduce: arg_min takes one axis, got 0"),
        ("median", [1], "reduce: expected one of sum, mean, max, min, arg_max, arg_min"),
    ],
)
def test_bad_arguments(kind, axes, message):
    graph = _core.Graph()
    x = graph.input("x", (None, 3, 5))
    with pytest.raises(ValueError) as caught:
        graph.reduce([x], kind, axes=axes)
    assert message in str(caught.value)
    with pytest.raises(ValueError, match="reduce: expected 1 or more inputs, got 0"):
        graph.reduce([], "sum")
    with pytest.raises(ShapeError, match=r"reduce: inputs\[1\] has shape"):
        graph.reduce([x, graph.input("y", (None, 4))], "sum", expression=["add x0 x1", "t0"])


# --- gradients ------------------------------------------------------------------------------------

SMOOTH = {"add": 2, "subtract": 2, "multiply": 2, "sin": 1, "tanh": 1, "square": 1, "sigmoid": 1}
SMOOTH |= {"maximum": 2, "where": 3, "softplus": 1, "negative": 1, "erf": 1}


@dataclass(frozen=True)
class Formula:
    """A map, a fold of another map of its result and an input, and their sum weighted."""

    shapes: tuple[tuple[int, ...], ...]
    code: tuple[str, ...]
    kind: str
    axes: tuple[int, ...]
    folded: tuple[str, ...]


@st.composite
def smooth_code(draw, inputs: int, most: int) -> tuple[str, ...]:
    lines: list[str] = []
    for i in range(draw(st.integers(1, most))):
        name = draw(st.sampled_from(sorted(SMOOTH)))
        known = [*(f"x{k}" for k in range(inputs)), *(f"t{k}" for k in range(i)), "0.5", "iota1"]
        lines.append(" ".join([name, *(draw(st.sampled_from(known)) for _ in range(SMOOTH[name]))]))
    return (*lines, f"t{len(lines) - 1}")


@st.composite
def formulas(draw) -> Formula:
    full = (draw(st.integers(1, 3)), draw(st.integers(1, 5)), draw(st.integers(1, 4)))
    shapes = [full]
    for _ in range(draw(st.integers(0, 2))):
        ends = tuple(draw(st.sampled_from([1, extent])) for extent in full)
        shapes.append((full[0], *ends[1:]))
    axes = tuple(sorted(draw(st.sets(st.integers(0, 2), min_size=1))))
    kind = draw(st.sampled_from(["sum", "mean", "max", "min"]))
    code = draw(smooth_code(len(shapes), 5))
    return Formula(tuple(shapes), code, kind, axes, draw(smooth_code(2, 3)))


def value(formula: Formula, arrays: list[Array], weights: Array) -> float:
    y = reference.map(arrays, formula.code, formula.shapes[0])
    folded = [y, arrays[0]]
    z = reference.reduce(folded, formula.kind, formula.axes, True, formula.folded)
    return float((weights * (y + z)).sum())


@given(formulas(), seeds)
def test_gradients_of_random_formulas(isa, formula, seed):
    arrays = [
        np.float32(random_array(s, seed, i)).astype(float) for i, s in enumerate(formula.shapes)
    ]
    weights = small_integers(formula.shapes[0], seed, 9)

    def build(graph: _core.Graph, v: dict[str, int]) -> list[int]:
        xs = [v[f"x{i}"] for i in range(len(arrays))]
        whole = (None, *formula.shapes[0][1:])
        y = graph.map(xs, formula.code, shape=whole)
        options = {"axes": formula.axes, "keepdims": True, "expression": formula.folded}
        z = graph.reduce([y, xs[0]], formula.kind, **options)
        both = graph.map([y, z, v["weights"]], ["add x0 x1", "multiply t0 x2", "t1"])
        ids = graph.gradients(graph.reduce([both], "sum"), xs)
        return [
            graph.map([x], ["0"], shape=graph.shape(x)) if i is None else i
            for x, i in zip(xs, ids, strict=True)
        ]

    inputs = {f"x{i}": x for i, x in enumerate(arrays)} | {"weights": weights}
    gradients = run(build, inputs, {}, Setting(isa))
    h = 1e-6
    for k, (x, gradient) in enumerate(zip(arrays, gradients, strict=True)):
        assert gradient.shape == x.shape
        for at in np.ndindex(x.shape):
            ends = []
            for side in (h, -h):
                moved = [a.copy() for a in arrays]
                moved[k][at] += side
                ends.append(value(formula, moved, weights))
            middle = value(formula, arrays, weights)
            left, right = (middle - ends[1]) / h, (ends[0] - middle) / h
            if abs(left - right) > 1e-3 * (1 + abs(left)):
                continue  # a corner
            np.testing.assert_allclose(gradient[at], (left + right) / 2, rtol=2e-3, atol=2e-3)
