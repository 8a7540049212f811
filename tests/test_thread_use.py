# SPDX-License-Identifier: Apache-2.0
"""That threads are used: without this, tests of their results would test one thread only."""

from __future__ import annotations

import os
import sys

import numpy as np
import pytest
from engine import Net, Setting, python

from pycnn import _core
from pycnn.ground import openmp

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
SCALAR = Setting("scalar")

WORK = """
import os, sys, time
import numpy as np
import engine
from pycnn import _core

def build(graph, v):
    h = v["x"]
    for _ in range(4): h = graph.conv2d(h, v["w"], padding="same")
    return [h]

def spent():  # nanoseconds on a processor, by thread
    found = {}
    for task in os.listdir("/proc/self/task"):
        with open(f"/proc/self/task/{task}/schedstat") as file:
            found[task] = int(file.read().split()[0])
    return found

arrays = {"x": np.ones((8, 48, 48, 64))}, {"w": np.ones((3, 3, 64, 64))}
net = engine.Net(build, *arrays, engine.Setting("scalar", threads=int(sys.argv[1])))
net.run()
before = spent()
for _ in range(2): net.run()
shares = sorted(after - before[task] for task, after in spent().items() if task in before)
print(sum(share > 0.05 * sum(shares) for share in shares))
"""


@LINUX
@pytest.mark.parametrize("count", [1, 2, 3])
def test_every_thread_of_a_plan_does_a_share_of_the_work(count):
    """As many threads as asked for spend more than a twentieth of the time on a processor."""
    result = python(WORK, str(count), environment={"OMP_WAIT_POLICY": "passive"})
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) == count


@pytest.mark.parametrize("operations, expected", [(4e6, 2), (8e6, 1), (1.0, 128), (1e300, 1)])
def test_threads_are_useful_where_each_has_enough_to_do(operations, expected):
    """A convolution of 8.4 million multiply-adds and additions, and little else."""

    def build(graph: _core.Graph, v: dict[str, int]) -> list[int]:
        return [graph.conv2d(v["x"], v["w"], padding="same")]

    net = Net(build, {"x": np.ones((1, 16, 16, 43))}, {"w": np.ones((3, 3, 43, 43))}, SCALAR)
    plan = _core.Plan(net.graph, net.parameters, 1, operations_per_thread=operations)
    assert plan.useful_threads == expected
    if operations == 4e6:
        assert _core.Plan(net.graph, net.parameters, 1).useful_threads == expected  # the default


def test_the_waits_of_openmp_are_set_while_the_core_is_loaded(monkeypatch):
    """And only then, and only where the user has set none."""
    for name in openmp.OF_THE_USER:
        monkeypatch.delenv(name, raising=False)
    with openmp.short_waits():
        assert {name: os.environ.get(name) for name in openmp.SETTINGS} == openmp.SETTINGS
    assert not any(name in os.environ for name in openmp.SETTINGS)
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    with openmp.short_waits():
        assert not any(name in os.environ for name in openmp.SETTINGS)
