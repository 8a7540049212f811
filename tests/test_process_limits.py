# SPDX-License-Identifier: Apache-2.0
"""Other interpreters, stacks of threads, locks of forked children, handlers that read (B)."""

from __future__ import annotations

import pytest
from engine import python
from test_processes import LINUX, run

SUBINTERPRETER = """
import sys
try:
    import _interpreters as interpreters
    create = lambda: interpreters.create("legacy")
except ImportError:
    import _xxsubinterpreters as interpreters
    create = interpreters.create
text = '''
import sys
sys.path[:] = %r
try:
    import pycnn
except ImportError as error:
    print(error, flush=True)
'''
interpreters.run_string(create(), text % sys.path)
"""


@pytest.mark.parametrize("first", ["", "import pycnn\n"])
def test_a_subinterpreter_cannot_import_the_core(first):
    """It hung for ever, in pybind11's wait for a lock that its own thread held."""
    result = python(first + SUBINTERPRETER, timeout=60)
    assert "pycnn works in the main interpreter of a process only" in result.stdout, result.stderr


GROW = """
import resource, warnings
model, x, y = busy(size=16, filters=8, depth=2)
from pycnn import _core
graph = pycnn.engine.programs.predict_graph(model.network).core
plan = _core.Plan(graph, model.network.parameters, 16, operations_per_thread=1.0)
want = model.predict(x, 16)
for threads in (8, 2):
    pycnn.set_num_threads(threads)
    plan.run([x])
time.sleep(0.2)  # GNU OpenMP ends the threads that the smaller team leaves
pages = int(open("/proc/self/statm").read().split()[0])
limit = pages * resource.getpagesize() + (6 << 20)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
pycnn.set_num_threads(8)
got = np.empty_like(want)
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    plan.run([x], [got])
assert np.array_equal(got, want)
print("same")
"""


@LINUX
def test_threads_are_tried_again_where_a_team_grows_again():
    """GNU OpenMP ended the process: "Thread creation failed"."""
    assert run(GROW) == "same\n"


STACK = """
import warnings
model, x, y = busy(size=16, filters=8, depth=2)
from pycnn import _core
graph = pycnn.engine.programs.predict_graph(model.network).core
plan = _core.Plan(graph, model.network.parameters, 16, operations_per_thread=1.0)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    plan.run([x])
print(len(caught))
"""


@LINUX
@pytest.mark.parametrize(
    ("size", "few"),
    [("200000G", 1), (" 300000 g ", 1), ("4M", 0), ("512k", 0), ("1", 0), ("x", 0), ("-4", 0)],
)
def test_threads_are_tried_with_the_stack_that_they_will_have(size, few):
    """OMP_STACKSIZE beyond what there is: the first prediction ended the process."""
    assert run(STACK, timeout=60, OMP_STACKSIZE=size) == f"{few}\n"


HANDLER = """
model, x, y = busy(size=96, filters=48)
other = pycnn.Sequential([Input((2,)), Dense(2)])
other.get_weights()
model.predict(x[:1])
signal.signal(signal.SIGALRM, lambda *_: seen.append(other.get_weights()))
seen, done = [], []
def second():  # its slots join the weights that the prediction is inside of
    time.sleep(0.05)
    model.compile("sgd", "mse")
    model.train_on_batch(x[:1], y[:1])
    done.append(True)
threading.Thread(target=second, daemon=True).start()
signal.setitimer(signal.ITIMER_REAL, 0.1)
model.predict(np.repeat(x, 8, 0), 128)
while not (seen and done):
    time.sleep(0.01)
print("alive")
"""


@LINUX
def test_a_handler_may_read_another_model_while_gates_join():
    """The join waited for the plan inside a lock that the handler wanted: for ever."""
    assert run(HANDLER, timeout=60) == "alive\n"


FORKED = """
import faulthandler
inputs = Input((32, 32, 16))
features = GlobalAveragePooling2D()(Conv2D(16, 5, padding="same")(inputs))
model = pycnn.Model(inputs, Dense(1)(features))
model.compile(pycnn.optimizers.SGD(1e-6), "mse")
x, y = np.ones((32, 32, 32, 16), np.float32), np.ones((32, 1), np.float32)
model.train_on_batch(x, y)
def train():
    while True:
        model.train_on_batch(x, y)
def heads():
    while True:
        pycnn.Model(inputs, features).predict(x[:1])
for work in (train, heads):
    threading.Thread(target=work, daemon=True).start()
for _ in range(15):
    time.sleep(0.02)
    child = os.fork()
    if child == 0:
        faulthandler.dump_traceback_later(20, exit=True)
        pycnn.Sequential([Input((2,)), Dense(1)]).predict(np.ones((1, 2)))
        os._exit(0)
    print(os.waitpid(child, 0)[1], flush=True)
os._exit(0)
"""


@LINUX
def test_no_lock_of_python_stays_closed_in_a_child():
    """14 of 20 hung in the lock of a cached property."""
    assert set(run(FORKED).split()) == {"0"}


FORK_IN_HANDLER = """
model, x, y = busy()
x, y = np.concatenate([x] * 4), np.concatenate([y] * 4)
want = model.predict(x, 64)
model.train_on_batch(x, y)
made = []
def handler(*_):
    if not made:
        made.append(os.fork())
        if made == [0]:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(40)  # should it hang
            if sys.argv[2] == "raise":
                raise KeyboardInterrupt
signal.signal(signal.SIGALRM, handler)
while not made:
    if sys.argv[1] == "predict":
        call = lambda: model.predict(x, 64)
    else:
        call = lambda: model.train_on_batch(x, y)
    before = [np.array(w) for w in model.get_weights()]
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        got = call()
    except KeyboardInterrupt:
        assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights()))
        got = call()
bits = [np.asarray(got), model.predict(x, 64), *model.get_weights()]
if made == [0]:
    np.savez(sys.argv[3], *bits)
    sys.exit(7) if sys.argv[2] == "exit" else os._exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(made[0], 0)[1]) == 7
with np.load(sys.argv[3]) as child:
    print(all(np.array_equal(bits[i], child[f"arr_{i}"]) for i in range(len(bits))))
"""


@LINUX
@pytest.mark.parametrize("what", ["predict", "train"])
@pytest.mark.parametrize("then", ["exit", "_exit", "raise"])
def test_a_child_forked_by_a_signal_handler_ends_its_run(what, then, tmp_path):
    """It waited for the threads of its parent; now it runs on alone, with the same bits."""
    assert run(FORK_IN_HANDLER, what, then, str(tmp_path / "child.npz"), timeout=60) == "True\n"
