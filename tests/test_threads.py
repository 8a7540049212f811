# SPDX-License-Identifier: Apache-2.0
"""Threads, processes and signals: none of them changes a bit, and none of them hangs."""

from __future__ import annotations

import ctypes
import os
import statistics
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from engine import Array, Net, Setting, python
from networks import SmallCnn, state_of
from strategies import random_array

from pycnn import _core

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="affinity, fork and glibc")


# --- the same bits --------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_an_epoch_gives_the_same_weights_with_any_thread_count(optimizer, isa):
    """Parameters, slots, moving averages, losses: conv, bn, pool, dropout, dense."""
    results = {}
    for count in (1, 2, 3, 5):
        net = SmallCnn(isa, optimizer=optimizer, threads=count, size=20, batch=24, samples=240)
        losses = net.train(10)
        results[count] = (state_of(net), losses)
    assert results[2] == results[1]
    assert results[3] == results[1]
    assert results[5] == results[1]
    first, last = results[1][1][0][0], results[1][1][-1][0]
    assert np.isfinite(last) and last < first  # it did train


def inference_net(isa: str, samples: int, count: int = 1) -> Net:
    """conv, pool, conv, batch norm, dense, softmax."""
    rng = np.random.default_rng(3)

    def draw(*shape: int) -> Array:
        return rng.standard_normal(shape)

    parameters = {"w1": draw(3, 3, 3, 17), "w2": draw(3, 3, 17, 9), "w3": draw(9 * 16, 10)}
    parameters |= {name: draw(9) for name in ("gamma", "beta", "mean")}
    parameters["var"] = np.abs(draw(9))

    def build(graph: _core.Graph, v: dict[str, int]) -> list[int]:
        h = graph.activation(graph.conv2d(v["x"], v["w1"], padding="same"), "relu")
        h = graph.max_pool2d(h, pool_size=(2, 2), strides=(2, 2))
        h = graph.conv2d(h, v["w2"], padding="same")
        statistics_ = (v[name] for name in ("gamma", "beta", "mean", "var"))
        h = graph.batch_norm_inference(h, *statistics_, epsilon=1e-3)
        return [graph.softmax(graph.dense(graph.flatten(h), v["w3"])), h]

    x = random_array((samples, 8, 8, 3), 4)
    return Net(build, {"x": x}, parameters, Setting(isa, threads=count))


def test_a_row_of_a_batch_is_the_row_alone(isa):
    """Bit for bit, whatever the batch: 1 to 33, and 64."""
    net = inference_net(isa, 64)
    single = net.make_plan(1)
    alone: list[list[Array]] = []
    for i in range(64):
        single.run(net.inputs, start=i)
        alone.append([single.output(k)[0] for k in range(2)])
    for batch in (*range(1, 34), 64):
        plan = net.make_plan(batch)
        plan.run(net.inputs)
        for k in range(2):
            expected = np.stack([rows[k] for rows in alone[:batch]])
            np.testing.assert_array_equal(plan.output(k), expected, err_msg=f"batch {batch}")


def test_dense_rows_do_not_depend_on_the_batch(isa):
    """Wide and narrow products, where tiles and tasks are cut differently."""
    for C, K in ((7, 3), (300, 257), (64, 1000)):
        x, w = random_array((33, C), 1), random_array((C, K), 2)
        net = Net(lambda g, v: [g.dense(v["x"], v["w"])], {"x": x}, {"w": w}, Setting(isa))
        whole = net.run()[0]
        for batch in (1, 2, 5, 13, 32):
            plan = net.make_plan(batch)
            plan.run(net.inputs)
            np.testing.assert_array_equal(plan.output(0), whole[:batch])


# --- several callers ------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2])
def test_concurrent_runs_are_the_serial_ones(count, isa):
    """One plan, eight Python threads, each with its own rows and its own output."""
    net = inference_net(isa, 64, count)
    plan = net.make_plan(4)
    _core.set_num_threads(count)
    try:

        def predict(i: int) -> Array:
            out = np.zeros((64, 10), np.float32)
            plan.run(net.inputs, [out, None], start=i % 16 * 4)
            return out[i % 16 * 4 : i % 16 * 4 + 4]

        serial = [predict(i) for i in range(16)]
        with ThreadPoolExecutor(8) as pool:
            parallel = list(pool.map(predict, range(160)))
    finally:
        _core.set_num_threads(0)
    for i, got in enumerate(parallel):
        np.testing.assert_array_equal(got, serial[i % 16])


def test_concurrent_runs_return_their_own_scalars(isa):
    """The loss that a call returns is that of its own rows."""
    x = np.repeat(np.arange(16.0), 4096)[:, None]

    def build(graph: _core.Graph, v: dict[str, int]) -> list[int]:
        return [graph.loss("mean_squared_error", v["y"], v["x"])]

    net = Net(build, {"x": x, "y": np.zeros_like(x)}, {}, Setting(isa), batch=4096)

    def loss(i: int) -> float:
        return net.plan.run(net.inputs, start=i % 16 * 4096)[0]

    with ThreadPoolExecutor(8) as pool:
        for i, value in enumerate(pool.map(loss, range(1600))):
            assert value == float((i % 16) ** 2)


def test_exceptions_of_one_thread_do_not_reach_another(isa):
    net = inference_net(isa, 8)

    def call(i: int) -> str:
        try:
            net.plan.run(net.inputs, start=0 if i % 2 else 1)
        except ValueError:
            return "refused"
        return "done"

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(call, range(40))) == ["refused", "done"] * 20


# --- fork -----------------------------------------------------------------------------------------

FORK = """
import os, sys
from networks import SmallCnn, state_of

threads = int(sys.argv[1])
net, twin = (SmallCnn(None, threads=threads) for _ in range(2))
net.train(3); twin.train(3)
reader, writer = os.pipe()
child = os.fork()
if child == 0:
    net.train(4)
    fresh = SmallCnn(None, threads=threads)
    fresh.train(2)
    grandchild = os.fork()
    if grandchild == 0:
        fresh.train(1)
        os._exit(0)
    status = os.waitpid(grandchild, 0)[1]
    os.write(writer, f"{state_of(net)} {state_of(fresh)} {status}".encode())
    os._exit(0)
twin.train(4)
again = SmallCnn(None, threads=threads)
again.train(2)
assert os.waitpid(child, 0)[1] == 0
assert os.read(reader, 1000).decode() == f"{state_of(twin)} {state_of(again)} 0"
net.train(4)  # the parent goes on, too
assert state_of(net) == state_of(twin)
print("same")
"""


@LINUX
@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_forked_child_trains_on_with_the_same_bits(count):
    result = python(FORK, str(count), timeout=60)
    assert (result.returncode, result.stdout) == (0, "same\n"), result.stderr


# --- signals --------------------------------------------------------------------------------------

# A step of many convolutions takes seconds: the signal always comes in the middle of one.
INTERRUPT = """
import os, signal, sys, threading, time
import numpy as np
import engine
from pycnn import _core

layers, size = 120, 64
def build(graph, v):
    h = v["x"]
    for _ in range(layers): h = graph.conv2d(h, v["w"], padding="same")
    loss = graph.loss("mean_squared_error", v["x"], h)
    (dw,) = graph.gradients(loss, [v["w"]])
    graph.adam(v["w"], dw)
    graph.moving_average(v["average"], graph.bias_backward(h), momentum=0.5)
    return [loss]

shape = (3, 3, 32, 32)
w = np.random.default_rng(0).standard_normal(shape) / 24
parameters = {"w": w, "average": np.zeros(32)}
x = np.random.default_rng(1).standard_normal((4, size, size, 32))
net = engine.Net(build, {"x": x}, parameters, engine.Setting("scalar"))
def state():
    return [net.parameters.get(*key).tobytes()
            for key in (("w",), ("average",), ("w", "m"), ("w", "v"))]

_core.set_num_threads(int(sys.argv[1]))
before, sent = state(), []
def send():
    sent.append(time.perf_counter())
    os.kill(os.getpid(), signal.SIGINT)
for attempt in range(5):
    timer = threading.Timer(0.3, send)
    timer.start()
    try:
        net.plan.run(net.inputs, learning_rate=0.1, step=1)
        print("not interrupted")
    except KeyboardInterrupt:
        print(time.perf_counter() - sent[-1])
    timer.join()
    assert state() == before
"""


@LINUX
@pytest.mark.parametrize("count", [1, 2])
def test_ctrl_c_stops_inside_a_step_before_the_update(count):
    """Within 200 ms (median), with the weights, slots and averages of the last whole step."""
    result = python(INTERRUPT, str(count), timeout=120)
    assert result.returncode == 0, result.stderr
    assert statistics.median(map(float, result.stdout.split())) <= 0.2, result.stdout


# --- the floating-point mode ----------------------------------------------------------------------


class RoundingMode:
    """glibc's fesetround and fegetround of the calling thread."""

    def __init__(self) -> None:
        self.libm = ctypes.CDLL("libm.so.6")

    def get(self) -> int:
        return int(self.libm.fegetround())

    def set(self, mode: int) -> None:
        assert self.libm.fesetround(mode) == 0


@LINUX
def test_the_callers_floating_point_mode_is_kept(isa):
    """Subnormal numbers stay alive outside of a run, and a rounding mode neither leaks nor acts."""
    net = inference_net(isa, 4, 2)
    expected, tiny = net.run(), np.float32(1e-45)
    assert tiny * np.float32(1) != 0
    mode, upward = RoundingMode(), 0x800
    nearest = mode.get()
    mode.set(upward)
    try:
        net.plan.run(net.inputs)
        kept = mode.get()
    finally:
        mode.set(nearest)
    assert kept == upward
    for k in range(2):
        np.testing.assert_array_equal(net.plan.output(k), expected[k])


def test_subnormal_results_are_flushed_the_same_everywhere(isa):
    """1e-30 * 1e-12 is 0 in every ISA, thread count and batch."""
    x, w = np.full((5, 3), 1e-30), np.full((3, 17), 1e-12)
    for count in (1, 2, 3):
        setting = Setting(isa, threads=count)
        net = Net(lambda g, v: [g.dense(v["x"], v["w"])], {"x": x}, {"w": w}, setting)
        np.testing.assert_array_equal(net.run()[0], 0)


# --- how many threads, which instructions ---------------------------------------------------------

AVAILABLE = "from pycnn import _core; print(_core.available_threads(), _core.num_threads())"


def available(environment: dict[str, str], prefix: str = "") -> int:
    clean = {"OMP_NUM_THREADS": "", "PYCNN_NUM_THREADS": "", **environment}
    result = python(prefix + AVAILABLE, environment=clean)
    assert result.returncode == 0, result.stderr
    threads, used = map(int, result.stdout.split())
    assert threads == used
    return threads


@LINUX
def test_environment_and_affinity_limit_the_threads():
    most = available({})
    assert 1 <= most <= len(os.sched_getaffinity(0))
    for variable in ("OMP_NUM_THREADS", "PYCNN_NUM_THREADS"):
        assert available({variable: "1"}) == 1
        assert available({variable: "1,4"}) == 1  # OpenMP's list of nesting levels
        for no_limit in ("1000000", "", " "):
            assert available({variable: no_limit}) == most, no_limit
    pin = "import os; os.sched_setaffinity(0, list(os.sched_getaffinity(0))[:1])\n"
    assert available({}, pin) == 1


def test_set_num_threads_is_checked():
    automatic = _core.num_threads()
    for bad in (-1, 129, 10**6):
        with pytest.raises(ValueError, match=f"0 .automatic. to 128, got {bad}"):
            _core.set_num_threads(bad)
    assert _core.num_threads() == automatic
    _core.set_num_threads(5)
    assert _core.num_threads() == 5
    _core.set_num_threads(0)
    assert _core.num_threads() == automatic == _core.available_threads()


ISA = """
from pycnn import _core
graph = _core.Graph()
graph.mark_output(graph.activation(graph.input("x", (None, 3)), "relu"))
print(_core.Parameters(graph).isa, _core.default_isa())
"""


def test_forced_instruction_sets(isas):
    """PYCNN_ISA chooses; a name that is unknown, or that this machine lacks, is an error."""
    for isa in isas:
        result = python(ISA, environment={"PYCNN_ISA": isa})
        assert result.stdout.split() == [isa, isa], result.stderr
    assert python(ISA, environment={"PYCNN_ISA": ""}).stdout.split() == [isas[-1]] * 2
    missing = [name for name in ("avx2", "avx512") if name not in isas]
    for name in ("nonsense", "AVX2", *missing):
        result = python(ISA, environment={"PYCNN_ISA": name})
        assert result.returncode == 1 and "ValueError" in result.stderr
        assert name in result.stderr


def test_unsupported_instruction_sets_are_refused_by_name(isas):
    graph = _core.Graph()
    for name in ("nonsense", *({"avx2", "avx512"} - set(isas))):
        with pytest.raises(ValueError, match=name):
            _core.Parameters(graph, name)


def test_all_instruction_sets_agree_on_whole_numbers(isas):
    """A training step from the same integers: every ISA ends within rounding of the others."""
    states = []
    for isa in isas:
        net = SmallCnn(isa, optimizer="sgd")
        net.train(3)
        states.append(np.concatenate([net.parameters.get(n).ravel() for n in net.shapes]))
    for other in states[1:]:
        np.testing.assert_allclose(states[0], other, rtol=1e-3, atol=1e-4)
