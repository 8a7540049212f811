# SPDX-License-Identifier: Apache-2.0
"""The doors: what is refused, and whether the message says what to do."""

from __future__ import annotations

import itertools
import os
import re
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from engine import python

import pycnn
from pycnn import _core, cli, recipes
from pycnn.bench import command
from pycnn.errors import DTypeError, ShapeError
from pycnn.layers import Conv2D, Dense, Flatten, Input
from pycnn.models import Sequential


def image_model(shape):
    return Sequential([Input(shape), Conv2D(2, 2), Flatten(), Dense(1)])


# --- shapes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "given", "hint"),
    [
        ((6, 5, 3), (6, 5, 3), r"one sample needs a batch axis: x\[None\]"),
        ((6, 5, 1), (6, 5, 1), r"one sample needs a batch axis: x\[None\]"),
        ((6, 5, 1), (6, 5), r"with x\[None, \.\.\., None\]"),
        ((6, 5, 1), (9, 6, 5), r"add the channel axis with x\[\.\.\., None\]"),
        ((6, 5, 3), (9, 3, 6, 5), r"images are NHWC: x\.transpose\(0, 2, 3, 1\)"),
        ((6, 5, 3), (9, 6, 5), r"got \(9, 6, 5\)$"),
    ],
)
def test_hints_name_the_axis(shape, given, hint):
    """Finding 29: for one image without batch axis the hint was to add the channel axis."""
    with pytest.raises(ShapeError, match=hint):
        image_model(shape).predict(np.zeros(given, "f4"))


def test_a_model_is_built_for_one_shape():
    """Finding 29: a second build() with another shape was ignored."""
    model = Sequential([Dense(2)])
    model.build((None, 3))
    model.build((7, 3))
    for shape in ((None, 4), (None, 3, 3)):
        with pytest.raises(ShapeError, match=r"built for inputs of shape \(None, 3\)"):
            model.build(shape)
    assert model.predict(np.zeros((1, 3))).shape == (1, 2)


# --- predictor ----------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [2.5, "2", None, True, np.float64(2)])
def test_the_batch_of_a_predictor_is_an_integer(batch):
    """Finding 29: Predictor(m, 2.5) was batch 2."""
    model = Sequential([Dense(2, input_dim=3)])
    if batch is None:
        return
    with pytest.raises(TypeError, match="batch_size must be an integer"):
        pycnn.Predictor(model, batch)
    with pytest.raises(ValueError, match="batch_size must be >= 1"):
        pycnn.Predictor(model, 0)


def test_a_predictor_checks_shapes():
    """Finding 29: NCHW images of the same size were accepted."""
    model = image_model((6, 5, 3))
    predict = pycnn.Predictor(model, 2)
    x = np.random.default_rng(0).standard_normal((2, 6, 5, 3)).astype("f4")
    np.testing.assert_array_equal(predict(x), model.predict(x))
    for shape in {*itertools.permutations(x.shape), (x.size,), (2, 90), (1, 2, 6, 5, 3)}:
        if shape != x.shape:
            with pytest.raises(ShapeError, match=r"predictor: x: expected shape \(2, 6, 5, 3\)"):
                predict(x.reshape(shape))


def test_a_predictor_checks_types_and_layouts():
    predict = pycnn.Predictor(Sequential([Dense(2, input_dim=3)]), 2)
    x = np.ones((2, 3), "f4")
    for dtype in ("f8", "i4", "u4", "f2", ">f4", "c8", bool):
        with pytest.raises(DTypeError, match="must be a float32 array"):
            predict(x.astype(dtype))
    for bad in (x.T.copy().T, np.ones((2, 6), "f4")[:, ::2], x[::-1]):
        with pytest.raises(ValueError, match="C-contiguous"):
            predict(bad)
    for bad in (None, 3, [[1.0] * 3] * 2, "abc"):
        with pytest.raises(TypeError, match="predictor: x must be"):
            predict(bad)
    with pytest.raises(ValueError, match="predictor: x must be a C-contiguous float32 array"):
        predict(np.zeros((2, 3), "M8[s]"))
    with pytest.raises(DTypeError, match="got a masked one"):
        predict(np.ma.masked_array(x))
    x.flags.writeable = False
    assert predict(x).shape == (2, 2)


# --- the core -----------------------------------------------------------------------------------


def test_wrong_arguments_are_named_by_type_not_by_content():
    """Finding 31: Plan.profile(x, 10) printed 300 lines of arrays."""
    graph = _core.Graph()
    graph.mark_output(graph.activation(graph.input("x", (None, 3)), "relu"))
    parameters = _core.Parameters(graph)
    plan = _core.Plan(graph, parameters, 2)
    x = np.full((2, 3), 0.123456789, "f4")
    secret = "SECRET" * 1000
    for call in (
        lambda: plan.profile([x], 10),
        lambda: plan.profile(x, repeat=x),
        lambda: plan.run([x], step=x, learning_rate=secret),
        lambda: plan.run([[x] * 99]),
        lambda: parameters.set("x", [x], x),
        lambda: graph.conv2d(secret, x, padding=[x] * 50),
        lambda: _core.Plan(graph, parameters, x),
        lambda: _core.Graph(secret),
        lambda: _core.set_num_threads(x),
        lambda: _core.probe_fma(secret, x),
    ):
        with pytest.raises(TypeError, match=r"Invoked with: |expects a value of the") as caught:
            call()
        message = str(caught.value)
        invoked = message.rpartition("Invoked with: ")[2]
        assert "0.123" not in message
        assert "SECRET" not in message
        assert len(invoked) < 200
    with pytest.raises(TypeError, match=r"numpy\.ndarray\(2, 3\) float32, repeat=int"):
        plan.profile(x, repeat=3)
    np.testing.assert_array_equal(plan.output(0) if plan.run([x]) else x, x)


@pytest.mark.parametrize("seconds", [0, -1, 11, 1e30, float("inf"), float("nan")])
def test_absurd_times_of_probes_are_refused(seconds):
    with pytest.raises(ValueError, match="probe_fma: seconds must be > 0 and <= 10"):
        _core.probe_fma("scalar", 1, seconds)


def test_other_arguments_of_probes():
    for threads in (0, -1, 129, 10**6):
        with pytest.raises(ValueError, match="threads must be 1 to 128"):
            _core.probe_fma("scalar", threads)
        with pytest.raises(ValueError, match="threads must be 1 to 128"):
            _core.probe_copy(threads)
    for megabytes in (0, -1, 2001, 2**62):
        with pytest.raises(ValueError, match="megabytes must be 1 to 2000"):
            _core.probe_copy(1, megabytes)
    assert _core.probe_copy(1, 1) > 0


def interrupt(sent):
    sent.append(time.perf_counter())
    os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.skipif(os.name != "posix", reason="os.kill sends no SIGINT elsewhere")
@pytest.mark.parametrize("threads", [1, 2])
def test_probes_answer_ctrl_c(threads):
    """Finding 14: probe_fma(3) ran 30 s and ignored signals."""
    delays = []
    for _ in range(3):  # the machine may be busy: the best of three counts
        sent = []
        threading.Timer(0.1, interrupt, [sent]).start()
        with pytest.raises(KeyboardInterrupt):
            _core.probe_fma(_core.default_isa(), threads, 3)
        delays.append(time.perf_counter() - sent[0])
    assert min(delays) < 0.2


# --- environment --------------------------------------------------------------------------------

PREDICT = """
import numpy as np, pycnn
model = pycnn.Sequential([pycnn.layers.Dense(1, input_dim=2)])
for action in ACTIONS:
    try:
        action()
    except ValueError as error:
        print(error)
"""
ACTIONS = (
    "[pycnn.num_threads, lambda: pycnn.set_num_threads(3), lambda: model.predict(np.ones((1, 2))), "
    "lambda: pycnn.Predictor(model)(np.ones((1, 2), 'f4')), "
    "lambda: pycnn._core.probe_fma('scalar', 2)]"
)


@pytest.mark.parametrize("variable", ["PYCNN_NUM_THREADS", "OMP_NUM_THREADS"])
@pytest.mark.parametrize(
    "value", ["abc", "0", "2.5", "-1", "2x", "1e3", "0x2", "4,", "4,x", ",", "\x1b[31m", "9" * 500]
)
def test_threads_in_the_environment_are_numbers(variable, value):
    """Finding 13: abc, 0 and 2.5 silently meant all."""
    environment = {"PYCNN_NUM_THREADS": "", "OMP_NUM_THREADS": "", variable: value}
    result = python(PREDICT.replace("ACTIONS", ACTIONS), environment=environment)
    assert result.returncode == 0, result.stderr
    if value.isdigit() and value != "0":
        assert result.stdout == ""
        return
    lines = result.stdout.splitlines()
    assert len(lines) == 5
    shown = re.sub(r"[^ -~]", "?", value)
    assert set(lines) == {f"{variable}: expected a number of threads >= 1, got '{shown}'"}


@pytest.mark.parametrize("value", ["nonsense", "AVX2 ", "\x1b[31m", "x" * 500])
def test_instruction_sets_in_the_environment_are_known(value):
    code = "import pycnn\ntry: pycnn._core.default_isa()\nexcept ValueError as e: print(e)"
    result = python(code, environment={"PYCNN_ISA": value})
    assert result.stdout.startswith("PYCNN_ISA: expected scalar, avx2 or avx512, got '")
    assert result.stdout.strip().isprintable()
    assert len(result.stdout) < 150


# --- the command --------------------------------------------------------------------------------


def test_help_of_the_benchmark(capsys):
    """Finding 31: it showed 5 %%."""
    with pytest.raises(SystemExit):
        cli.main(["bench", "--help"])
    out = " ".join(capsys.readouterr().out.split())
    assert "more than 5 % around" in out
    assert "%%" not in out


@pytest.mark.parametrize(
    "arguments",
    [
        *(["train", "digits", option] for option in ("--epochs", "--batch-size", "--threads")),
        *(["bench", option] for option in ("--threads", "--batch", "--repeats")),
    ],
)
@pytest.mark.parametrize("value", ["0", "-1", "x", "2.5", "\x1b[31m", "9" * 5000])
def test_numbers_of_the_command(arguments, value, capsys):
    """Finding 31: "invalid _positive value" named a function of the program."""
    with pytest.raises(SystemExit):
        cli.main([*arguments, value] if value != "-1" else [*arguments[:-1], arguments[-1] + "=-1"])
    error = capsys.readouterr().err
    assert "expected an integer >= 1, got '" in error
    assert "\x1b" not in error
    assert len(error) < 1000


def test_outputs_are_checked_before_the_work(tmp_path, capsys, monkeypatch):
    """Finding 31: --output was looked at after the training."""

    def work(*arguments, **options):
        raise AssertionError("too late")

    monkeypatch.setattr(recipes, "run", work)
    monkeypatch.setattr(command, "probe_machine", work)
    (tmp_path / "file").write_text("")
    (tmp_path / "taken" / "digits.pycnn").mkdir(parents=True)
    for output in ("file", "file/below", "taken", "a\0b"):
        assert cli.main(["train", "digits", "--output", str(tmp_path / output)]) == 1
        assert capsys.readouterr().err.startswith("pycnn: ")
    for json in ("taken", "missing/file"):
        assert cli.main(["bench", "--json", str(tmp_path / json)]) == 1
        assert str(tmp_path) in capsys.readouterr().err
    assert not (tmp_path / "missing").exists()


def test_the_command_escapes_what_it_repeats():
    result = subprocess.run(
        [sys.executable, "-m", "pycnn", "bench", "--suite", "\x1b[31m"],
        capture_output=True,
        text=True,
        cwd=os.path.dirname(__file__),
    )
    assert result.returncode == 1
    assert result.stderr.startswith("pycnn: bench: expected a suite")
    assert "\x1b" not in result.stderr
