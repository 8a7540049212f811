# SPDX-License-Identifier: Apache-2.0
"""Memory that runs out at any moment: MemoryError, nothing half made, and it works again (4, 81).

A small library, compiled here and loaded before everything else, lets the n-th allocation of the
core fail, once or from then on: its buffers (posix_memalign) or its C++ objects (operator new, in
what runs without Python's lock: pybind11 ends the process where it is itself refused memory).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest
from engine import python

FAILING = r"""
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <new>
static thread_local long left = 0;  // allocations until one fails; 0: none does
static thread_local bool goes_on = false;
static thread_local long seen = 0;
extern "C" void fail_at(long n, int from_then_on) { left = n; goes_on = from_then_on; seen = 0; }
extern "C" long calls() { return seen; }
static bool fails() {
  ++seen;
  if (left == 0) return false;
  if (left > 1) { --left; return false; }
  if (!goes_on) left = 0;
  return true;
}
#ifdef BUFFERS
extern "C" int posix_memalign(void** out, size_t alignment, size_t size) {
  using Function = int (*)(void**, size_t, size_t);
  static const auto real = reinterpret_cast<Function>(dlsym(RTLD_NEXT, "posix_memalign"));
  return fails() ? ENOMEM : real(out, alignment, size);
}
#else
extern "C" int PyGILState_Check(void);
void* operator new(size_t size) {
  if (!PyGILState_Check() && fails()) throw std::bad_alloc();
  if (void* memory = malloc(size ? size : 1)) return memory;
  throw std::bad_alloc();
}
void operator delete(void* memory) noexcept { free(memory); }
void operator delete(void* memory, size_t) noexcept { free(memory); }
#endif
"""

# What a user may do, and what must be so afterwards: state is that of before or of after.
SCRIPT = """
import ctypes, os, sys
import numpy as np
import pycnn
from pycnn import _core
from pycnn.layers import *

failing = ctypes.CDLL(os.environ["LD_PRELOAD"])
x = np.random.default_rng(0).standard_normal((12, 8, 8, 2)).astype(np.float32)
y = np.arange(12) % 3

def make():
    pycnn.set_seed(0)
    model = pycnn.Sequential([
        Input((8, 8, 2)), Conv2D(4, 3, padding="same"), BatchNormalization(), Activation("relu"),
        MaxPooling2D(), Conv2DTranspose(3, 2, strides=2), Flatten(), Dense(3, activation="softmax"),
    ])
    model.compile("adam", "sparse_categorical_crossentropy")
    return model

def state(model):
    slots = [model.optimizer.state.get(v.core, s).tobytes()
             for v in model.weights if v.trainable for s in ("m", "v")]
    return [w.tobytes() for w in model.get_weights()], slots, model.optimizer.iterations

model = make()
want_start = state(model)
model.train_on_batch(x, y)
want_step, want_predict = state(model), model.predict(x).tobytes()

def step(model): model.train_on_batch(x, y)
def predict(model): return model.predict(x)
def fresh(model): make().train_on_batch(x, y)
def weights(model): model.set_weights(model.get_weights())

failures = 0
for action in (fresh, step, predict, weights):
    n = 0
    while True:
        n += 1
        model = make()
        if action is predict:
            model.train_on_batch(x, y)
        elif action is not step:
            assert state(model) == want_start
        before = want_step if action is predict else want_start
        failing.fail_at(n, n % 2)
        try:
            action(model)
            failed = False
        except MemoryError:
            failed = True
        count = failing.calls()
        failing.fail_at(0, 0)
        failures += failed
        after = state(model)
        assert after in ((before, want_step) if action is step else (before,)), (action, n)
        if action is step and after == before:
            model.train_on_batch(x, y)  # it works again
            after = state(model)
        if action in (step, predict):
            assert after == want_step and model.predict(x).tobytes() == want_predict, (action, n)
        if count < n:
            break
        if n > int(sys.argv[1]): n += n // 8  # the first ones all, then ever fewer
print("failures", failures)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="LD_PRELOAD")
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
@pytest.mark.parametrize("kind", ["BUFFERS", "OBJECTS"])
def test_every_allocation_may_fail(kind, tmp_path):
    """Finding 4: half-made slots raised IndexError in every later fit."""
    if "asan" in os.environ.get("LD_PRELOAD", ""):
        pytest.skip("the sanitizer has allocators of its own")
    source, library = tmp_path / "failing.cc", tmp_path / "failing.so"
    source.write_text(FAILING)
    command = [
        "g++",
        "-shared",
        "-fPIC",
        "-O1",
        f"-D{kind}",
        str(source),
        "-o",
        str(library),
        "-ldl",
    ]
    subprocess.run(command, check=True)
    result = python(SCRIPT, "60", environment={"LD_PRELOAD": str(library)}, timeout=300)
    assert result.returncode == 0, f"{result.returncode}\n{result.stdout}\n{result.stderr[-4000:]}"
    assert int(result.stdout.split()[-1]) > (20 if kind == "BUFFERS" else 100)
