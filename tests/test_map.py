# SPDX-License-Identifier: Apache-2.0
"""Expressions over elements against NumPy: to the bit where every instruction rounds exactly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from engine import GUARDS, TINY, Array, Check, Setting, assert_guarded, run
from hypothesis import given
from hypothesis import strategies as st
from strategies import extents, seeds

from pycnn import _core, reference
from pycnn.errors import ShapeError

# Correctly rounded by IEEE, or choices among their operands: the same bits everywhere.
EXACT = {
    **dict.fromkeys(
        "negative absolute sign square sqrt reciprocal floor ceil round trunc".split(), 1
    ),
    **dict.fromkeys("isfinite isinf isnan logical_not to_int32 to_uint8".split(), 1),
    **dict.fromkeys("add subtract multiply divide maximum minimum".split(), 2),
    **dict.fromkeys("equal not_equal less less_equal logical_and logical_or".split(), 2),
    **dict.fromkeys(["where", "clip"], 3),
}


@dataclass(frozen=True)
class Case:
    """One map. Inputs are (shape, dtype); a shape without the batch is that of a parameter."""

    shape: tuple[int, ...]
    inputs: tuple[tuple[tuple[int, ...], str], ...]
    expression: tuple[str, ...]
    dtype: str = "float32"


@st.composite
def operands(draw, shape, inputs, instructions):
    kind = draw(st.sampled_from("xxxxtttttn") if instructions else st.sampled_from("xxxn"))
    if kind == "x":
        return f"x{draw(st.integers(0, inputs - 1))}"
    if kind == "t":
        return f"t{draw(st.integers(0, instructions - 1))}"
    places = [f"iota{axis}" for axis in range(1, len(shape))]
    return draw(st.sampled_from(["0", "1", "-2", "0.5", "3.25", "batch", "step", *places]))


@st.composite
def maps(draw) -> Case:
    rank = draw(st.integers(1, 4))
    shape = (draw(st.integers(1, 4)), *(draw(extents(17)) for _ in range(rank - 1)))
    inputs = [(shape, "float32")]
    for _ in range(draw(st.integers(0, 3))):
        if draw(st.booleans()):  # an input, which has the batch
            ends = tuple(draw(st.sampled_from([1, extent])) for extent in shape[1:])
            dtype = draw(st.sampled_from(["float32", "float32", "int32", "uint8"]))
            inputs.append(((shape[0], *ends), dtype))
        else:
            ends = shape[1:][draw(st.integers(0, rank - 1)) :]
            ends = tuple(draw(st.sampled_from([1, extent])) for extent in ends)
            inputs.append((ends, "parameter"))
    code: list[str] = []
    for i in range(draw(st.integers(0, 12))):
        name = draw(st.sampled_from(sorted(EXACT)))
        words = [draw(operands(shape, len(inputs), i)) for _ in range(EXACT[name])]
        code.append(" ".join([name, *words]))
    code.append(f"t{len(code) - 1}" if code else draw(operands(shape, len(inputs), 0)))
    dtype = draw(st.sampled_from(["float32", "float32", "float32", "int32", "uint8"]))
    return Case(shape, tuple(inputs), tuple(code), dtype)


PICKED = [
    Case((3, 1, 1), (((3, 1, 1), "float32"),), ("x0",)),
    Case((2, 65, 129), (((2, 65, 129), "float32"), ((129,), "parameter")), ("add x0 x1", "t0")),
    # several tasks; channels that no vector divides; gates of samples; rows longer than a block
    Case(
        (2, 31, 33, 17),
        (((2, 31, 33, 17), "float32"), ((17,), "parameter"), ((2, 1, 1, 17), "float32")),
        ("multiply x0 x1", "add t0 x2", "maximum t1 0", "t2"),
    ),
    Case(
        (4, 3, 700),
        (((4, 3, 700), "float32"), ((700,), "parameter"), ((4, 3, 1), "float32")),
        ("subtract x0 x2", "multiply t0 x1", "t1"),
    ),
    Case((4, 9, 300), (((4, 1, 300), "uint8"), ((9, 1), "parameter")), ("less x0 x1", "t0")),
    Case((3, 700), (((3, 1), "int32"), ((3, 700), "uint8")), ("add x0 x1", "t0"), "int32"),
    Case((3, 11, 5, 7), (((3, 11, 1, 7), "float32"), ((5, 1), "parameter")), ("x1",), "uint8"),
    Case((2, 4099), (((2, 4099), "float32"),), ("multiply iota1 2", "add t0 x0", "t1")),
    Case((2, 3), (((2, 3), "float32"),), ("2.5",)),
]


def make(case: Case, seed: int) -> list[Array]:
    """Quarters, so that sums and products round seldom, and now and then something special."""
    rng = np.random.default_rng(seed)
    arrays = []
    for shape, dtype in case.inputs:
        if dtype in ("int32", "uint8"):
            low, high = (0, 256) if dtype == "uint8" else (-1000, 1000)
            arrays.append(rng.integers(low, high, shape).astype(dtype))
            continue
        x = rng.integers(-20, 21, shape) / 4
        special = rng.random(shape) < 0.02
        arrays.append(np.where(special, rng.choice([np.nan, np.inf, -np.inf], shape), x))
    return arrays


def result(case: Case, arrays: list[Array], setting: Setting) -> Array:
    names = [f"x{i}" for i in range(len(arrays))]
    pairs = list(zip(names, arrays, case.inputs, strict=True))
    inputs = {name: x for name, x, (_, dtype) in pairs if dtype != "parameter"}
    parameters = {name: x for name, x, (_, dtype) in pairs if dtype == "parameter"}

    def build(graph: _core.Graph, v: dict[str, int]) -> list[int]:
        shape = (None, *case.shape[1:])
        values = [v[name] for name in names]
        return [graph.map(values, case.expression, shape=shape, dtype=case.dtype)]

    (y,) = run(build, inputs, parameters, setting, step=3)
    return y


def check(case: Case, seed: int, setting: Setting) -> None:
    arrays = make(case, seed)
    single = [np.asarray(x, np.float32) for x in arrays]
    options: dict[str, Any] = {"shape": case.shape, "precision": np.float32, "step": 3}
    every = [*case.expression[:-1], " ".join(f"t{i}" for i in range(len(case.expression) - 1))]
    if every[-1]:  # the engine flushes what NumPy keeps
        between = reference.evaluate(single, every, **options)
        if any(((t != 0) & (np.abs(t) < TINY)).any() for t in between):
            return
    expected = reference.map(single, case.expression, dtype=case.dtype, **options)
    y = result(case, arrays, setting)
    assert y.dtype == np.dtype(case.dtype)
    np.testing.assert_array_equal(y, expected.astype(case.dtype), err_msg=str(case))


@pytest.mark.parametrize("case", PICKED, ids=lambda case: " ".join(case.expression))
@pytest.mark.parametrize("count", [1, 3])
def test_picked(case, count, isa):
    check(case, 0, Setting(isa, threads=count))


@given(maps(), seeds)
def test_programs_give_numpys_bits(isa, case, seed):
    check(case, seed, Setting(isa))


CHECKS = [Check(check, maps(), PICKED)]


@pytest.mark.parametrize("memory", GUARDS)
def test_no_byte_outside(memory, isa):
    assert_guarded(__name__, memory, isa)


# --- each function --------------------------------------------------------------------------------

# Where it has a value and a slope that differences can find; (0.3, 2) for all others.
DOMAINS: dict[str, tuple[float, float]] = {
    **dict.fromkeys(["arcsin", "arccos", "arctanh"], (-0.7, 0.7)),
    **dict.fromkeys(
        "sin cos tan tanh erf sigmoid softplus sinh arcsinh arctan".split(), (-1.2, 1.2)
    ),
    "arccosh": (1.3, 3.0),
    "clip": (-3.0, 3.0),
}
ARITY = _core.functions()


def numbers(name: str, count: int = 200) -> list[Array]:
    low, high = DOMAINS.get(name, (0.3, 2.0))
    rng = np.random.default_rng(len(name))
    return [rng.uniform(low, high, count).astype(np.float32) for _ in range(ARITY[name])]


def call(name: str) -> list[str]:
    return [" ".join([name, *(f"x{i}" for i in range(ARITY[name]))]), "t0"]


def map_of(
    expression: list[str], arrays: list[Array], setting: Setting, **options: Any
) -> list[Array]:
    inputs = {f"x{i}": x for i, x in enumerate(arrays)}
    return run(
        lambda graph, v: [graph.map(list(v.values()), expression)], inputs, {}, setting, **options
    )


SPECIAL = np.array(
    [0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 2.0, -3.0, 1e-30, -1e30, 1e30, np.inf, -np.inf, np.nan]
)


def test_every_function_is_in_the_reference():
    assert set(reference.FUNCTIONS) == set(_core.functions())


@pytest.mark.parametrize("name", sorted(ARITY))
def test_values(name, isa):
    """Two units in the last place; special values as IEEE and NumPy have them."""
    grids = np.meshgrid(*[SPECIAL] * ARITY[name])
    for arrays in (numbers(name), [np.float32(g.ravel()) for g in grids]):
        (y,) = map_of(call(name), arrays, Setting(isa))
        with np.errstate(over="ignore"):
            expected = reference.map(arrays, call(name)).astype(np.float32)
        expected = np.where(np.abs(expected) < TINY, 0, expected)
        np.testing.assert_array_equal(np.isnan(y), np.isnan(expected), err_msg=name)
        whole = np.isfinite(expected)
        np.testing.assert_array_equal(y[~whole], expected[~whole], err_msg=name)
        bound = 2 * np.spacing(np.maximum(np.abs(expected[whole]), TINY))
        assert (np.abs(np.float64(y[whole]) - expected[whole]) <= bound).all(), name


STEPS = {*"sign floor ceil round trunc floor_divide to_int32 to_uint8".split()}
STEPS |= {*"equal not_equal less less_equal logical_and logical_or logical_not".split()}
STEPS |= {"isfinite", "isinf", "isnan"}


@pytest.mark.parametrize("name", sorted(ARITY))
def test_derivatives(name):
    """Against central differences in double precision, and against those of the sum."""
    arrays = numbers(name)

    def build(graph: _core.Graph, v: dict[str, int]) -> list[int]:
        y = graph.map(list(v.values()), call(name))
        loss = graph.reduce([graph.map([y], ["multiply x0 iota1", "t0"])], "sum")
        ids = graph.gradients(loss, list(v.values()))
        pairs = zip(v.values(), ids, strict=True)
        return [graph.map([x], ["0"]) if i is None else i for x, i in pairs]

    inputs = {f"x{i}": x.reshape(1, -1) for i, x in enumerate(arrays)}
    gradients = run(build, inputs, {}, Setting("scalar"))
    exact = [np.float64(x) for x in arrays]
    for i, gradient in enumerate(gradients):
        h = 1e-6
        above, below = (
            reference.map([x + s * h * (k == i) for k, x in enumerate(exact)], call(name))
            for s in (1, -1)
        )
        expected = (above - below) / (2 * h) * np.arange(exact[0].size)
        if name in STEPS or (name, i) == ("where", 0):
            expected = np.zeros_like(expected)
        np.testing.assert_allclose(gradient[0], expected, rtol=3e-5, atol=3e-5, err_msg=name)


def test_all_functions_agree_on_all_threads(isa):
    """Also random numbers, which are keyed by their elements."""
    x = np.random.default_rng(0).uniform(0.1, 0.9, (3, 30000)).astype(np.float32)
    code = ["add x0 uniform5"]
    for name, arity in ARITY.items():
        code.append(" ".join([name, f"t{len(code) - 1}", *["0.5", "0.75"][: arity - 1]]))
        code.append(f"clip t{len(code) - 1} 0.1 0.9")
    results = []
    for count in (1, 2, 3):
        y = x
        for start in range(0, len(code), 2):  # at most 64 instructions in one
            part = [code[start].replace(f"t{start - 1}", "x0"), *code[start + 1 : start + 2]]
            last = len(part) - 1
            part = [line.replace(f"t{start}", "t0") for line in part]
            (y,) = map_of([*part, f"t{last}"], [y], Setting(isa, threads=count), seed=7, step=2)
        results.append(y)
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])


def test_random_numbers_are_those_of_the_reference(isa):
    x = np.zeros((2, 5, 99), np.float32)
    (y,) = map_of(["uniform3"], [x], Setting(isa), seed=2**40 + 1, step=9)
    expected = reference.map([x], ["uniform3"], seed=2**40 + 1, step=9)
    np.testing.assert_array_equal(y, expected.astype(np.float32))


def test_numbers_of_the_run(isa):
    x = np.zeros((3, 2), np.float32)
    code = ["add learning_rate step", "add t0 batch", "t1"]
    (y,) = map_of(code, [x], Setting(isa), learning_rate=0.25, step=7)
    assert y.tolist() == [[10.25, 10.25]] * 3


# --- refused --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ([], "expression"),
        (["eval x0", "t0"], "expression: no function is named 'eval'"),
        (["add x0", "t0"], "expression: add takes 2 operands, got 1"),
        (["add x0 x0 x0", "t0"], "expression: add takes 2 operands, got 3"),
        (
            ["add x0 t0", "t0"],
            "expression: t0: expected a number of an earlier instruction below 0",
        ),
        (["t0"], "expression: t0"),
        (["add x0 x99", "t0"], "expression: x99: expected a number of an input below 16"),
        (["add x0 x1", "t0"], "map: expression reads x1, inputs has 1"),
        (["add x0 iota2", "t0"], "map: expression reads iota2, the axes of (None, 4)"),
        (["add x0 iota0", "t0"], "map: expression reads iota0, the axes of (None, 4)"),
        (["add x0 iota9", "t0"], "expression: iota9: expected a number of an axis below 8"),
        (["add x0 one", "t0"], "expression: 'one' is no operand"),
        (["add x0 1e", "t0"], "expression: '1e' is no operand"),
        (["add x0  1", "t0"], "expression: add takes 2 operands, got 3"),
        (["add x0 x-1", "t0"], "expression: 'x-1' is no operand"),
        (["x0 x0"], "map: expression must have one result, got 2"),
        (["x0 x0 x0 x0 x0"], "expression: 1 to 4 results, got 5"),
        (["negative x0"] * 65 + ["t64"], "expression: expected 1 to 65 lines, got 66"),
        ("negative x0", "map: expression must be a list of lines"),
    ],
)
def test_bad_expressions(expression, message):
    graph = _core.Graph()
    x = graph.input("x", (None, 4))
    with pytest.raises((ValueError, TypeError)) as caught:
        graph.map([x], expression)
    assert message in str(caught.value)


def test_bad_shapes_and_types():
    graph = _core.Graph()
    x, y = graph.input("x", (None, 4)), graph.input("y", (None, 3))
    w, deep = graph.parameter("w", (5, 4)), graph.parameter("deep", (2, 1, 4))
    for other, text in ((y, "(None, 3)"), (w, "(5, 4)"), (deep, "(2, 1, 4)")):
        message = f"map: inputs[1] has shape {text}, which does not broadcast with (None, 4)"
        with pytest.raises(ShapeError) as caught:
            graph.map([x, other], ["add x0 x1", "t0"])
        assert message in str(caught.value)
    with pytest.raises(ShapeError, match=r"map: shape \(None, 1\) is not what inputs broadcast"):
        graph.map([x], ["x0"], shape=(None, 1))
    with pytest.raises(TypeError, match="map: dtype must be float32, int32 or uint8"):
        graph.map([x], ["x0"], dtype="bfloat16")
    half = graph.input("half", (None, 4), "bfloat16")
    with pytest.raises(TypeError, match=r"map: inputs\[0\] must be float32, int32 or uint8"):
        graph.map([half], ["x0"])


def test_numbers_come_back_as_they_went():
    graph = _core.Graph()
    numbers = [0.1, 1e-7, 3.4028235e38, -2.5, 1 / 3, float("inf"), float("-inf"), float("nan")]
    lines = [f"add x0 {number}" for number in numbers]
    y = graph.map([graph.input("x", (None, 4))], [*lines, "t0"])
    texts = graph.nodes()[-1]["attributes"]["expression"]
    again = [np.float32(text.split(" ")[2]) for text in texts[:-1]]
    np.testing.assert_array_equal(again, np.float32(numbers))
    copy = _core.Graph.from_program(graph.program())
    assert copy.nodes()[-1]["attributes"]["expression"] == texts and y == 1
