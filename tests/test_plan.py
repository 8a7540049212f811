# SPDX-License-Identifier: Apache-2.0
"""Plans: memory, dead nodes, what goes in and out, refusals, and no work but the run's own."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from engine import Net, Setting, assert_equal, python, run
from networks import SmallCnn
from strategies import random_array, small_integers

from pycnn import _core, reference
from pycnn.errors import DTypeError, ShapeError

SCALAR = Setting("scalar")


# --- memory ---------------------------------------------------------------------------------------


def conv_chain(depth: int, size: int = 16, channels: int = 8) -> Net:
    """Alternating average pools and convolutions: each result is read once, none in place."""

    def build(graph: _core.Graph, v: dict[str, int]) -> list[int]:
        h = v["x"]
        for i in range(depth):
            if i % 2:
                h = graph.conv2d(h, v["w"], padding="same")
            else:
                h = graph.avg_pool2d(h, pool_size=(1, 1), strides=(1, 1))
        return [h]

    x = np.zeros((1, size, size, channels))
    return Net(build, {"x": x}, {"w": np.zeros((3, 3, channels, channels))}, SCALAR)


def test_arena_of_a_chain_is_two_buffers():
    """However long: each step needs its input and its output only."""
    one = 16 * 16 * 8 * 4
    for depth in (2, 9, 60):
        plan = conv_chain(depth).plan
        assert plan.arena_bytes == plan.arena_lower_bound == 2 * one


def test_arena_of_a_training_step_is_close_to_the_lower_bound(isa):
    net = SmallCnn(isa, batch=16)
    values = sum(
        16 * 4 * int(np.prod(net.graph.shape(value)[1:]))
        for node in net.graph.nodes()
        for value in node["outputs"]
        if net.graph.shape(value)[:1] == (None,)
    )
    assert net.plan.arena_lower_bound <= net.plan.arena_bytes <= 1.15 * net.plan.arena_lower_bound
    assert net.plan.arena_bytes < 0.75 * values


def test_elementwise_ops_work_in_place():
    def build(graph: _core.Graph, v: dict[str, int]) -> list[int]:
        h = graph.activation(v["x"], "tanh")
        h = graph.dropout(h, rate=0.5, stream=0)
        return [graph.softmax(graph.add(h, graph.activation(h, "sigmoid")))]

    plan = Net(build, {"x": np.zeros((64, 128))}, {}, SCALAR).plan
    assert plan.arena_bytes == plan.arena_lower_bound == 2 * 64 * 128 * 4


def test_values_read_again_later_are_not_overwritten(isa):
    """In place only where nobody reads the old value, directly or through a reshape."""

    def build(graph: _core.Graph, v: dict[str, int]) -> list[int]:
        flat = graph.flatten(v["x"])
        a = graph.activation(v["x"], "relu")
        b = graph.activation(flat, "tanh")
        c = graph.activation(a, "sigmoid")
        return [graph.add(graph.flatten(a), b), c, graph.add(flat, flat), v["x"]]

    x = random_array((3, 4, 5), 1)
    sums, c, twice, same = run(build, {"x": x}, {}, Setting(isa))
    relu, x32 = np.maximum(x, 0), x.astype(np.float32)
    np.testing.assert_allclose(sums, (relu + np.tanh(x)).reshape(3, 20), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(c, reference.activation("sigmoid", relu), rtol=1e-6)
    np.testing.assert_array_equal(twice, (2 * x32).reshape(3, 20))
    np.testing.assert_array_equal(same, x32)


# --- the nodes of a plan --------------------------------------------------------------------------


def test_dead_nodes_are_dropped():
    def build(graph: _core.Graph, v: dict[str, int]) -> list[int]:
        h = graph.dense(v["x"], v["w"])
        graph.softmax(graph.dense(h, v["w"]))
        loss = graph.loss("mean_squared_error", v["x"], h)
        graph.gradients(loss, [v["w"]])
        return [graph.activation(h, "tanh")]

    net = Net(build, {"x": np.zeros((2, 3))}, {"w": np.zeros((3, 3))}, SCALAR)
    assert net.steps() == ["dense", "activation"]


def test_what_is_read_twice_is_not_fused(isa):
    """An output, or a second reader, keeps the value in front of an activation."""

    def build(graph: _core.Graph, v: dict[str, int]) -> list[int]:
        h = graph.dense(v["x"], v["w"])
        g = graph.dense(v["x"], v["w"])
        return [graph.activation(h, "relu"), h, graph.add(graph.activation(g, "relu"), g)]

    x, w = small_integers((4, 5), 1), small_integers((5, 6), 2)
    net = Net(build, {"x": x}, {"w": w}, Setting(isa))
    assert sorted(net.steps()) == ["activation", "activation", "add", "dense", "dense"]
    y = x @ w
    for got, expected in zip(net.run(), (np.maximum(y, 0), y, np.maximum(y, 0) + y), strict=True):
        assert_equal(got, expected, "y")


def test_residual_of_a_later_value_is_not_fused_wrongly(isa):
    """a + b where both are products, and where both sides are the same value."""

    def build(graph: _core.Graph, v: dict[str, int]) -> list[int]:
        a, b = graph.dense(v["x"], v["w"]), graph.dense(v["x"], v["u"])
        c = graph.dense(v["x"], v["w"])
        return [graph.activation(graph.add(a, b), "relu6"), graph.add(c, c)]

    x, w, u = (small_integers(shape, i) for i, shape in enumerate([(3, 4), (4, 9), (4, 9)]))
    total, twice = run(build, {"x": x}, {"w": w, "u": u}, Setting(isa))
    assert_equal(total, np.clip(x @ w + x @ u, 0, 6), "a + b")
    assert_equal(twice, 2 * (x @ w), "c + c")


@pytest.mark.parametrize("depth", [1, 10, 2000])
def test_long_chains(depth, isa):
    """Neither inference, nor gradients, nor lowering recurse; 2000 layers take seconds at most."""

    def build(graph: _core.Graph, v: dict[str, int]) -> list[int]:
        h = v["x"]
        for i in range(depth):
            h = graph.add(graph.activation(graph.dense(h, v["w"]), "relu"), h if i % 2 else v["x"])
        loss = graph.loss("mean_squared_error", v["x"], h)
        (dw,) = graph.gradients(loss, [v["w"]])
        assert dw is not None
        return [h, dw]

    x, w = np.ones((2, 3)), np.zeros((3, 3))
    h, dw = run(build, {"x": x}, {"w": w}, Setting(isa))
    assert_equal(h, x, "h")
    assert_equal(dw, np.zeros((3, 3)), "dw")


# --- in and out -----------------------------------------------------------------------------------


def doubled(setting: Setting, rows: int, batch: int) -> Net:
    """x + x for 5 features; x[i] = i."""
    x = np.repeat(np.arange(rows, dtype=np.float64)[:, None], 5, axis=1)

    def build(graph: _core.Graph, v: dict[str, int]) -> list[int]:
        return [graph.add(v["x"], v["x"]), graph.activation(v["x"], "linear")]

    return Net(build, {"x": x}, {}, setting, batch)


def test_rows_and_start_choose_the_samples(isa):
    net = doubled(Setting(isa, threads=2), 10, 3)
    y, _ = net.run(start=4)
    assert y[:, 0].tolist() == [8, 10, 12]
    y, x = net.run(rows=np.array([9, 0, 9]))
    assert y[:, 0].tolist() == [18, 0, 18] and x[:, 0].tolist() == [9, 0, 9]


def test_results_are_written_where_start_says():
    net = doubled(SCALAR, 10, 3)
    out, rest = np.full((10, 5), -1, np.float32), np.full((10, 5), -1, np.float32)
    net.plan.run(net.inputs, [out, None], start=4)
    net.plan.run(net.inputs, [None, rest], rows=np.array([2, 1, 0]), start=7)
    assert out[:, 0].tolist() == [-1] * 4 + [8, 10, 12] + [-1] * 3
    assert rest[:, 0].tolist() == [-1] * 7 + [2, 1, 0]


def test_dtypes_of_inputs():
    """uint8 and int32 reach the ops that take them; unaligned and read-only arrays are fine."""
    record = np.zeros(7, np.dtype([("tag", "u1"), ("x", "f4", 5)]))
    record["x"] = np.arange(35).reshape(7, 5)
    unaligned = np.frombuffer(b"?" + np.arange(15, dtype="f4").tobytes(), "f4", offset=1)
    unaligned = unaligned.reshape(3, 5)
    assert not unaligned.flags.aligned and not unaligned.flags.writeable
    net = doubled(SCALAR, 10, 3)
    net.inputs = [unaligned]
    np.testing.assert_array_equal(net.run()[0], 2 * np.arange(15).reshape(3, 5))
    with pytest.raises(ValueError, match="C-contiguous"):
        net.plan.run([record["x"]])


X = np.zeros((10, 5), np.float32)
REFUSED = [
    (DTypeError, "expected float32, got float64", lambda p: p.run([X.astype(np.float64)])),
    (DTypeError, "got >f4", lambda p: p.run([X.astype(">f4")])),
    (DTypeError, "got int8", lambda p: p.run([X.astype(np.int8)])),
    (DTypeError, "output 0.*got uint8", lambda p: p.run([X], [X.astype(np.uint8)])),
    (DTypeError, "got object", lambda p: p.run([X.astype(object)])),
    (ValueError, "C-contiguous", lambda p: p.run([np.asfortranarray(X)])),
    (ValueError, "C-contiguous", lambda p: p.run([np.zeros((20, 5), np.float32)[::2]])),
    (ValueError, "C-contiguous", lambda p: p.run([X[::-1]])),
    (ValueError, "C-contiguous", lambda p: p.run([np.broadcast_to(np.float32(1), (10, 5))])),
    (ShapeError, r"expected \(None, 5\), got \(10, 4\)", lambda p: p.run([X[:, :4].copy()])),
    (ShapeError, "got .10, 5, 1.", lambda p: p.run([X[..., None]])),
    (ShapeError, "needs 3 samples, got 2", lambda p: p.run([X[:2]])),
    (ShapeError, "needs 3 samples, got 0", lambda p: p.run([X[:0]])),
    (ShapeError, "needs 11 samples, got 10", lambda p: p.run([X], start=8)),
    (ValueError, "start must be >= 0", lambda p: p.run([X], start=-1)),
    (ValueError, "rows must be >= 0, got -1", lambda p: p.run([X], rows=np.array([0, -1, 2]))),
    (ShapeError, "needs 11 samples", lambda p: p.run([X], rows=np.array([0, 10, 2]))),
    (ShapeError, r"rows must have shape \(3,\)", lambda p: p.run([X], rows=np.array([0, 1]))),
    (ValueError, "expected 1 inputs, got 2", lambda p: p.run([X, X])),
    (ValueError, "expected 1 inputs, got 0", lambda p: p.run([])),
    (ValueError, "has 2 outputs, got arrays for 3", lambda p: p.run([X], [None] * 3)),
    (DTypeError, "output 0", lambda p: p.run([X], [np.zeros((3, 5))])),
    (ShapeError, "output 0.*needs 3 samples, got 2", lambda p: p.run([X], [X[:2].copy()])),
    (ShapeError, "needs 7 samples", lambda p: p.run([X], [X[:6].copy()], start=4)),
    (ValueError, "C-contiguous", lambda p: p.run([X], [np.zeros((5, 3), np.float32).T])),
    (ValueError, "output 2 of 2", lambda p: p.output(2)),
    (TypeError, "incompatible function arguments", lambda p: p.run([[[1.0] * 5] * 3])),
    (TypeError, "incompatible function arguments", lambda p: p.run([X], rows=np.zeros(3))),
    (TypeError, "incompatible function arguments", lambda p: p.run([X], step=-1)),
]


@pytest.mark.parametrize("error, message, call", REFUSED)
def test_bad_arguments_of_run_are_named(error, message, call):
    net = doubled(SCALAR, 10, 3)
    with pytest.raises(error, match=message):
        call(net.plan)
    assert net.run()[0][:, 0].tolist() == [0, 2, 4]  # the plan still works


def test_read_only_output_is_refused():
    net, out = doubled(SCALAR, 10, 3), np.zeros((3, 5), np.float32)
    out.flags.writeable = False
    with pytest.raises(ValueError, match="array is not writeable"):
        net.plan.run(net.inputs, [out])
    assert not out.any()


@pytest.mark.parametrize("call", ["start=2**63 - 1", "start=2**63 - 3", "rows=[0, 1, 2**63 - 1]"])
def test_numbers_near_the_largest_are_out_of_range(call):
    """A sum that overflows must not pass for a small one; in a process of its own."""
    code = (
        "import sys, numpy as np, test_plan as t; net = t.doubled(t.SCALAR, 10, 3)\n"
        "options = eval('dict(' + sys.argv[1] + ')')\n"
        "if 'rows' in options: options['rows'] = np.array(options['rows'])\n"
        "try: net.plan.run(net.inputs, **options)\n"
        "except ValueError: print('refused')"
    )
    result = python(code, call)
    assert (result.returncode, result.stdout) == (0, "refused\n"), result.stderr


def test_overlapping_input_and_output(isa):
    """Inputs are copied before anything is written: x may be its own output."""
    net = doubled(Setting(isa), 3, 3)
    net.plan.run(net.inputs, [net.inputs[0], None])
    assert net.inputs[0][:, 0].tolist() == [0, 2, 4]


def test_batches_and_graphs_that_are_refused():
    net = doubled(SCALAR, 10, 3)
    for batch in (0, -1):
        with pytest.raises(ValueError, match="batch must be >= 1"):
            net.make_plan(batch)
    with pytest.raises(ValueError, match="memory: expected planned"):
        _core.Plan(net.graph, net.parameters, 1, "elsewhere")
    other = Net(lambda g, v: [g.dense(v["x"], v["w"])], {"x": X}, {"w": X.T.copy()}, SCALAR)
    with pytest.raises(ValueError, match="no parameter is named 'w'"):
        _core.Plan(other.graph, net.parameters, 1)


# --- no allocation --------------------------------------------------------------------------------

COUNTER = r"""
#include <stdatomic.h>
#include <stddef.h>
void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t);
void *__libc_memalign(size_t, size_t);
static atomic_long calls;
long allocations(void) { return atomic_load(&calls); }
void *malloc(size_t n) { atomic_fetch_add(&calls, 1); return __libc_malloc(n); }
void *calloc(size_t n, size_t m) { atomic_fetch_add(&calls, 1); return __libc_calloc(n, m); }
void *realloc(void *p, size_t n) { atomic_fetch_add(&calls, 1); return __libc_realloc(p, n); }
void *memalign(size_t a, size_t n) { atomic_fetch_add(&calls, 1); return __libc_memalign(a, n); }
void *aligned_alloc(size_t a, size_t n) { return memalign(a, n); }
int posix_memalign(void **p, size_t a, size_t n) { *p = memalign(a, n); return *p ? 0 : 12; }
"""

# The same Python around both plans: what it allocates itself, it allocates for both.
COUNT = """
import ctypes, numpy as np, engine
from networks import SmallCnn
allocations = ctypes.CDLL(None).allocations
allocations.restype = ctypes.c_long

def count(plan, arrays, runs):
    for step in range(5, 9): plan.run(arrays, learning_rate=0.01, step=step)
    before = allocations()
    for step in range(10, 10 + runs): plan.run(arrays, learning_rate=0.01, step=step)
    return allocations() - before

def nothing(graph, v): return [graph.metric("accuracy", v["y"], v["x"])]
trivial = {"x": np.zeros((8, 1)), "y": np.zeros((8, 1))}
for threads in (1, 2):
    with engine.threads(threads):
        net = SmallCnn(None, threads=threads, batch=8)
        small = engine.Net(nothing, trivial, {}, engine.Setting(net.parameters.isa))
        before = allocations()
        net.plan.run(net.arrays, step=1)
        first = allocations() - before
        pairs = ((small.plan, small.inputs), (net.plan, net.arrays), (net.plan, net.arrays))
        print(first, *(count(plan, arrays, 200) for plan, arrays in pairs))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="preloads a library, and needs glibc")
@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
def test_the_steady_state_allocates_nothing(tmp_path: Path):
    """A training step allocates exactly as often as a run that does next to nothing."""
    source, library = tmp_path / "counter.c", tmp_path / "counter.so"
    source.write_text(COUNTER)
    built = python(
        "import subprocess, sys; sys.exit(subprocess.call(['cc', *sys.argv[1:]]))",
        *("-O1", "-shared", "-fPIC", "-o", str(library), str(source)),
    )
    assert built.returncode == 0, built.stderr
    result = python(COUNT, environment={"LD_PRELOAD": str(library)})
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert len(lines) == 2
    for line in lines:
        first, calibration, once, again = map(int, line.split())
        assert first > calibration / 200 + 0.5, "the counter does not see the core's allocations"
        assert calibration == once == again, line


def test_profile_names_every_step():
    net = SmallCnn("scalar", batch=4)
    with pytest.raises(ValueError, match="repeats must be >= 1, got 0"):
        net.plan.profile(net.arrays, repeats=0)
    rows = net.plan.profile(net.arrays, repeats=2)
    assert [op for op, _, _ in rows] == net.plan.steps()
    assert all(0 <= seconds < 10 for _, _, seconds in rows)


def test_scalars_come_back_in_order_of_outputs(isa):
    def build(graph: _core.Graph, v: dict[str, int]) -> list[int]:
        losses = [graph.loss("mean_squared_error", v["x"], v[name]) for name in ("y", "x")]
        return [losses[0], v["y"], losses[1]]

    net = Net(build, {"x": np.zeros((2, 3)), "y": np.ones((2, 3))}, {}, Setting(isa))
    assert net.plan.run(net.inputs) == (1.0, 0.0)
    assert [array.shape for array in net.run()] == [(), (2, 3), ()]
