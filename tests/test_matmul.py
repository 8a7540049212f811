# SPDX-License-Identifier: Apache-2.0
"""matmul and its gradients against the reference: whole numbers exactly."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import pytest
from engine import (
    GUARDS,
    Array,
    Check,
    Net,
    Probe,
    Setting,
    assert_equal,
    assert_guarded,
    assert_within,
    python,
    rounded,
    run,
    sum_bound,
)
from hypothesis import given
from hypothesis import strategies as st
from strategies import EXTENTS, random_array, seeds, small_integers
from test_long_sums import SECTION, spiked
from test_thread_use import LINUX, WORK

from pycnn import _core, reference
from pycnn.errors import DTypeError, ShapeError

Leading = tuple[int, ...]


@dataclass(frozen=True)
class Product:
    """One call. An operand in `batched` is an input, whose first axis is the batch."""

    sizes: tuple[int, int, int]  # M, K, N
    a: Leading = (2,)
    b: Leading = ()
    batched: str = "a"
    transpose_a: bool = False
    transpose_b: bool = False

    @property
    def flags(self) -> dict[str, bool]:
        return {"transpose_a": self.transpose_a, "transpose_b": self.transpose_b}

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        M, K, N = self.sizes
        return {
            "a": (*self.a, *((K, M) if self.transpose_a else (M, K))),
            "b": (*self.b, *((N, K) if self.transpose_b else (K, N))),
        }

    def arrays(self, seed: int, make=small_integers) -> dict[str, Array]:
        shapes = self.shapes.items()
        return {name: rounded(make(shape, seed, i)) for i, (name, shape) in enumerate(shapes)}

    def inputs(self, arrays: dict[str, Array]) -> dict[str, Array]:
        return {name: arrays[name] for name in self.batched}

    def parameters(self, arrays: dict[str, Array]) -> dict[str, Array]:
        return {name: arrays[name] for name in "ab" if name not in self.batched}

    def build(self, graph: _core.Graph, v: dict[str, int]) -> list[int]:
        return [graph.matmul(v["a"], v["b"], **self.flags)]

    def run(self, arrays: dict[str, Array], setting: Setting) -> Array:
        return run(self.build, self.inputs(arrays), self.parameters(arrays), setting)[0]


LENGTHS = (*EXTENTS, 31, 33)
sizes = st.tuples(*(st.sampled_from(LENGTHS) for _ in range(3)))


@st.composite
def products(draw) -> Product:
    """Operands that have the batch have all leading axes; the other one may lack some."""
    batched = draw(st.sampled_from(["a", "b", "ab"]))
    leading = draw(st.lists(st.integers(1, 3), min_size=1, max_size=3))
    operands = {}
    for name in "ab":
        own = [draw(st.sampled_from([1, n])) for n in leading]
        own[0] = leading[0] if name in batched else 1
        if name not in batched:
            own = own[draw(st.integers(0, len(own))) :]
        operands[name] = tuple(own)
    return Product(draw(sizes), operands["a"], operands["b"], batched, *draw(flags))


flags = st.tuples(st.booleans(), st.booleans())
FLAGS = [(False, False), (False, True), (True, False), (True, True)]
PICKED = [
    *(Product((49, 32, 49), (2, 3), (2, 3), "ab", *turned) for turned in FLAGS),
    *(Product((1, 67, 31), (3,), (), "a", *turned) for turned in FLAGS),
    *(Product((31, 67, 1), (3,), (3,), "ab", *turned) for turned in FLAGS),
    *(Product((1, 33, 1), (2, 5), (5,), "a", *turned) for turned in FLAGS),
    *(Product((1, 17, 300), (3,), (3,), "ab", *turned) for turned in FLAGS),
    *(Product((127, 131, 101), (2,), (), "a", *turned) for turned in FLAGS),  # several tasks
    *(Product((37, 29, 53), (3, 2, 1), (3, 1, 4), "ab", *turned) for turned in FLAGS),
    Product((7, 5, 9), (4, 3), (2, 4, 3), "b"),  # b has the batch
    Product((7, 5, 9), (2, 4, 3), (3,), "a"),
]
LONG = [
    *(Product((15, 2 * 1024 + 3, 17), (2,), (), "a", *turned) for turned in FLAGS),
    *(Product((3, 8192 + 1024 + 3, 5), (2,), (), "a", *turned) for turned in FLAGS),
    *(Product((1, 8192 + 9, 3), (2,), (), "a", *turned) for turned in FLAGS),
    *(Product((17, 1024, 33), (2,), (2,), "ab", *turned) for turned in FLAGS),  # rows 4 KB apart
]


def summed_to(full: Array, shape: tuple[int, ...]) -> Array:
    """The gradient of what was broadcast."""
    more = full.ndim - len(shape)
    full = full.sum(axis=tuple(range(more)))
    return full.sum(axis=tuple(i for i, n in enumerate(shape) if n == 1), keepdims=True)


def gradients(case: Product, a: Array, b: Array, dy: Array) -> list[Array]:
    """da, db"""
    left = a.swapaxes(-1, -2) if case.transpose_a else a
    right = b.swapaxes(-1, -2) if case.transpose_b else b
    da, db = dy @ right.swapaxes(-1, -2), left.swapaxes(-1, -2) @ dy
    da = da.swapaxes(-1, -2) if case.transpose_a else da
    db = db.swapaxes(-1, -2) if case.transpose_b else db
    return [summed_to(da, a.shape), summed_to(db, b.shape)]


def check_integers(case: Product, seed: int, setting: Setting) -> None:
    arrays = case.arrays(seed)
    expected = reference.matmul(arrays["a"], arrays["b"], **case.flags)
    probe = Probe.of(expected, seed)

    def build(graph: _core.Graph, v: dict[str, int]) -> list[int]:
        (y,) = case.build(graph, v)
        made = graph.gradients(probe.loss(graph, v, y), [v["a"], v["b"]])
        return [y, *(gradient for gradient in made if gradient is not None)]

    inputs = {**case.inputs(arrays), **probe.inputs}
    results = run(build, inputs, {**case.parameters(arrays), **probe.parameters}, setting)
    wanted = [expected, *gradients(case, arrays["a"], arrays["b"], probe.dy)]
    for name, got, want in zip(("y", "da", "db"), results, wanted, strict=True):
        assert_equal(got, want, name)


def check_values(case: Product, seed: int, setting: Setting) -> None:
    """Also of more than the probe can add up."""
    arrays = case.arrays(seed)
    expected = reference.matmul(arrays["a"], arrays["b"], **case.flags)
    assert_equal(case.run(arrays, setting), expected, "y")


def check_real(case: Product, seed: int, setting: Setting) -> None:
    arrays = case.arrays(seed, random_array)
    expected = reference.matmul(arrays["a"], arrays["b"], **case.flags)
    magnitude = reference.matmul(np.abs(arrays["a"]), np.abs(arrays["b"]), **case.flags)
    bound = sum_bound(case.sizes[1], magnitude)
    assert_within(case.run(arrays, setting), expected, bound, "y")


@pytest.mark.parametrize("case", PICKED, ids=str)
@pytest.mark.parametrize("count", [1, 3])
def test_picked_shapes(case, count, isa):
    check_integers(case, 0, Setting(isa, threads=count))
    check_real(case, 1, Setting(isa, threads=count))


@pytest.mark.parametrize("case", LONG, ids=str)
def test_long_sums(case, isa):
    check_values(case, 0, Setting(isa))
    check_real(case, 1, Setting(isa))


@given(products(), seeds)
def test_integers(isa, case, seed):
    check_integers(case, seed, Setting(isa))


@given(products(), seeds)
def test_real_values(isa, case, seed):
    check_real(case, seed, Setting(isa))


CHECKS = [
    Check(check_integers, products(), PICKED),
    Check(check_values, products(), LONG),
]


@pytest.mark.parametrize("memory", GUARDS)
def test_no_byte_outside(memory, isa):
    assert_guarded(__name__, memory, isa)


@pytest.mark.parametrize("sizes", [(2, 3), (1, 3), (2, 1), (1, 1)])
@pytest.mark.parametrize("turned", FLAGS)
def test_sections_of_long_sums(sizes, turned, isa):
    """One term of 2^24, then ones: each that is added to it is lost."""
    K = 5 * SECTION
    case = Product((sizes[0], K, sizes[1]), (1,), (), "a", *turned)
    a = spiked(K).reshape((1, K, 1) if case.transpose_a else (1, 1, K))
    arrays = {"a": np.broadcast_to(a, case.shapes["a"]), "b": np.ones(case.shapes["b"])}
    expected = np.full((1, *sizes), 2.0**24 + K - 1)
    assert_within(case.run(arrays, Setting(isa)), expected, SECTION, "y")


# --- the same bits --------------------------------------------------------------------------------

# With several tasks each: of items, of rows, of columns.
SEVERAL = [
    *(Product((200, 190, 180), (4,), (), "a", *turned) for turned in FLAGS),
    *(Product((20, 1100, 700), (4,), (4,), "ab", *turned) for turned in FLAGS),
    *(Product((49, 32, 49), (4, 8), (4, 8), "ab", *turned) for turned in FLAGS),
    *(Product((1, 190, 1200), (4,), (), "a", *turned) for turned in FLAGS),
    *(Product((1200, 190, 1), (4,), (4,), "ab", *turned) for turned in FLAGS),
]


@pytest.mark.parametrize("case", SEVERAL, ids=str)
def test_threads_change_no_bit(case, isa):
    arrays = case.arrays(2, random_array)
    serial = case.run(arrays, Setting(isa))
    for count in (2, 3):
        np.testing.assert_array_equal(case.run(arrays, Setting(isa, threads=count)), serial)


@pytest.mark.parametrize("case", [*SEVERAL, *PICKED, *LONG], ids=str)
def test_samples_do_not_know_each_other(case, isa):
    """Alone, each has the same bits as among others."""
    arrays = case.arrays(3, random_array)
    whole = case.run(arrays, Setting(isa))
    for i in range(len(whole)):
        alone = {n: x[i : i + 1] if n in case.batched else x for n, x in arrays.items()}
        np.testing.assert_array_equal(case.run(alone, Setting(isa)), whole[i : i + 1])


@LINUX
@pytest.mark.parametrize("a, b", [((1, 420, 410), (410, 430)), ((64, 49, 64), (64, 49))])
def test_every_thread_does_a_share_of_the_work(a, b):
    """Few large products, and many small ones."""
    loop = WORK[WORK.index("    h = v") : WORK.index("    return [h]")]
    work = WORK.replace(loop, '    h = graph.matmul(v["x"], v["w"])\n')
    arrays = f'arrays = {{"x": np.ones({(16, *a)})}}, {{"w": np.ones({b})}}'
    work = re.sub("arrays = .*", arrays, work).replace("range(2)", "range(20)")
    result = python(work, "3", environment={"OMP_WAIT_POLICY": "passive"})
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) == 3


# --- what is not finite, and what is refused ------------------------------------------------------


@pytest.mark.parametrize("turned", FLAGS)
@pytest.mark.parametrize("sizes", [(5, 7, 19), (1, 7, 19), (19, 7, 1)])
def test_what_is_not_finite_stays_in_its_row_and_column(sizes, turned, isa):
    case = Product(sizes, (2,), (), "a", *turned)
    arrays = case.arrays(0)
    arrays["a"][1].flat[0] = np.nan
    arrays["b"].flat[-1] = np.inf
    with np.errstate(invalid="ignore"):
        expected = reference.matmul(arrays["a"], arrays["b"], **case.flags)
    assert_equal(case.run(arrays, Setting(isa)), expected, "y")


def test_one_step_that_leaves_its_operands_alone(isa):
    """Also of a square with itself, and of two parameters."""
    x, w = small_integers((2, 5, 5), 0), small_integers((5, 5), 1)

    def build(graph: _core.Graph, v: dict[str, int]) -> list[int]:
        square = graph.matmul(v["x"], v["x"], transpose_b=True)
        return [square, graph.matmul(v["w"], v["w"]), graph.matmul(v["x"], v["w"])]

    net = Net(build, {"x": x}, {"w": w}, Setting(isa))
    assert net.steps() == ["matmul"] * 3
    for got, want in zip(net.run(), (x @ x.swapaxes(1, 2), w @ w, x @ w), strict=True):
        assert_equal(got, want, "y")


def test_its_work_is_counted():
    """Of each sample, for the threads that a plan is worth."""
    graph = _core.Graph()
    a, b = graph.input("a", (None, 4, 64, 64)), graph.parameter("b", (64, 64))
    graph.mark_output(graph.matmul(a, b))
    parameters = _core.Parameters(graph, "scalar")
    operations = 4 * 2 * 64**3  # of a sample; what is read and written counts, too
    for batch in (1, 5):
        plan = _core.Plan(graph, parameters, batch, operations_per_thread=operations / 8)
        assert 8 * batch <= plan.useful_threads <= 9 * batch


def test_bad_arguments():
    graph = _core.Graph()
    a, b = graph.input("a", (None, 3, 5, 7)), graph.parameter("b", (7, 11))
    rows, three = graph.input("rows", (None, 7)), graph.parameter("three", (2, 7, 11))
    index = graph.input("index", (None, 7, 7), "int32")
    late, vector = graph.parameter("late", (4, 1, 1, 7, 11)), graph.parameter("vector", (7,))
    for x, y, options, message in (
        (vector, b, {}, r"matmul: a must have two axes or more, got \(7,\)"),
        (a, vector, {}, r"matmul: b must have two axes or more, got \(7,\)"),
        (rows, b, {}, r"matmul: a must have the batch axis before its last two, got \(None, 7\)"),
        (a, rows, {}, r"matmul: b must have the batch axis before its last two, got \(None, 7\)"),
        (b, a, {}, "matmul: axis -2 of b must be 11, as axis -1 of a, got 5"),
        (a, b, {"transpose_a": True}, "matmul: axis -2 of b must be 5, as axis -2 of a, got 7"),
        (a, b, {"transpose_b": True}, "matmul: axis -1 of b must be 7, as axis -1 of a, got 11"),
        (
            a,
            three,
            {},
            r"matmul: leading axes of b must broadcast with \(None, 3\) of a, got \(2,\)",
        ),
        (a, late, {}, r"matmul: leading axes of b must broadcast with .*, got \(4, 1, 1\)"),
        (a, 99, {}, "matmul: b is value 99"),
        (a, b, {"transpose_a": 1}, "matmul: transpose_a must be true or false, got 1"),
    ):
        with pytest.raises((ValueError, TypeError), match=message):
            graph.matmul(x, y, **options)
    with pytest.raises(DTypeError, match="matmul: a must be float32, got int32"):
        graph.matmul(index, b)
    with pytest.raises(ShapeError, match="matmul: multiply-accumulates per sample overflow"):
        graph.matmul(graph.parameter("p", (2**29, 2**30)), graph.parameter("q", (2**30, 2**29)))
    with pytest.raises(ValueError, match="matmul: a must be of rank >= 2"):
        reference.matmul(np.ones(3), np.ones((3, 2)))
    with pytest.raises(ValueError, match="matmul: b must be of 3 rows"):
        reference.matmul(np.ones((2, 3)), np.ones((2, 3)))


def test_a_packed_kernel_is_a_factor_like_any_other(isa):
    """dense packs its kernel; matmul gets a copy that lies as its shape says."""
    x, w = small_integers((2, 3, 4), 0), small_integers((4, 5), 1)
    y, z = run(
        lambda g, v: [g.dense(v["x"], v["w"]), g.matmul(v["x"], v["w"])],
        {"x": x},
        {"w": w},
        Setting(isa),
    )
    assert_equal(y, x @ w, "dense")
    assert_equal(z, x @ w, "matmul")
