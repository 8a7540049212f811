# SPDX-License-Identifier: Apache-2.0
"""bench/compare.py without a framework: translation, check, alternation, intervals, report."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

import pycnn
from pycnn import layers

BENCH = Path(__file__).resolve().parent.parent / "bench"
sys.path.insert(0, str(BENCH))

import compare  # noqa: E402
import report  # noqa: E402
import sides  # noqa: E402
import translate  # noqa: E402
from peers.program import Program  # noqa: E402
from peers.reference import evaluate  # noqa: E402

# Answers as an adapter would, faster or slower, right or wrong, by its arguments.
FAKE = """
import json, sys
own, seconds, number = sys.argv[1] == "own", float(sys.argv[2]), float(sys.argv[3])
for line in sys.stdin:
    message = json.loads(line)
    answer = {
        "hello": {"versions": {"fake": "1"}, "modes": ["predict"]},
        "prepare": {"failed": {}},
        "choose": {"variant": "v", "tried_ms": {}},
        "check": {"outputs": [number, 1.0]},
        "time": {"seconds": [seconds, 2 * seconds]},
        "probe": {"gflops": 100.0},
    }.get(message["do"], {"error": "no such thing"})
    print(json.dumps(answer), flush=True)
"""


def fake(kind="own", seconds=1.0, number=0.5):
    command = [sys.executable, "-c", FAKE, kind, str(seconds), str(number)]
    return sides.Side(kind, command, threads=1)


def small_net():
    return pycnn.Sequential(
        [
            layers.Input((9, 8, 3)),
            layers.Conv2D(8, 3, strides=2, padding="same", activation="relu"),
            layers.MaxPooling2D(2, padding="same"),
            layers.Flatten(),
            layers.Dropout(0.5),
            layers.Dense(5, activation="softmax"),
        ]
    )


def branched_net():
    """Every op an adapter knows: groups, asymmetric and explicit padding, BN, branches."""
    x = layers.Input((11, 10, 4))
    y = layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False)(x)
    y = layers.BatchNormalization()(y)
    y = left = layers.Activation("relu6")(y)
    y = layers.Conv2D(8, 3, padding="same", groups=8, activation="tanh")(y)
    y = layers.Conv2D(8, 1, groups=2, activation="elu")(y)
    y = layers.BatchNormalization(scale=False)(y)
    y = layers.Activation("relu")(layers.Add()([y, left]))
    y = layers.MaxPooling2D(3, 2, padding=((1, 1), (1, 1)))(y)
    y = layers.AveragePooling2D(2, 1, padding="same")(y)
    y = layers.Conv2D(6, (3, 2), padding=((0, 2), (1, 0)), activation="leaky_relu")(y)
    y = layers.GlobalAveragePooling2D()(y)
    return pycnn.Model(x, layers.Dense(5, activation="softmax")(y))


NETS = {"small": small_net, "branched": branched_net}


@pytest.mark.parametrize("net", NETS)
def test_translation_computes_what_the_model_does(net):
    model = NETS[net]()
    translate.randomize(model, seed=1)
    program = translate.translate(model, training=False)
    x = np.random.default_rng(2).random((3, *model.input_shape[1:]), np.float32)
    y = evaluate(program, translate.weights_of(model), x)
    np.testing.assert_allclose(model.predict(x), y, rtol=1e-5, atol=1e-6)


def test_translation_for_training():
    program = translate.translate(branched_net(), training=True)
    norm, no_scale = (op for op in program.ops if op.kind == "batch_norm_training")
    assert norm["moving"] == [f"batch_normalization/moving_{n}" for n in ("mean", "variance")]
    assert norm["momentum"] == 0.99
    assert no_scale.weights[0] is None
    assert norm.weights[0] not in program.constants
    assert norm["moving"][0] in program.constants
    assert program.ends_in_softmax
    assert program.logits().ops[-1].kind == "dense"
    assert program.logits().logits() == program.logits()

    program = translate.translate(small_net(), training=True)
    rates = [
        [op["rate"] for op in p.ops if op.kind == "dropout"]
        for p in (program, program.without_dropout())
    ]
    assert rates == [[0.5], [0.0]]


@pytest.mark.parametrize("net", NETS)
def test_program_survives_json(net):
    program = translate.translate(NETS[net](), training=True)
    again = Program.from_json(program.to_json())
    assert again.to_json() == program.to_json()
    assert [(op.inputs, op.weights, op.shape) for op in again.ops] == [
        (op.inputs, op.weights, op.shape) for op in program.ops
    ]


def test_same_padding_is_resolved_unevenly():
    program = translate.translate(small_net(), training=False)
    convolution, pool = program.ops[0], program.ops[2]
    assert (convolution.shape, convolution["padding"]) == ((5, 4, 8), [1, 1, 0, 1])
    assert (pool.shape, pool["padding"]) == ((3, 2, 8), [0, 1, 0, 0])


def test_models_with_two_inputs_are_refused():
    a, b = layers.Input((4,)), layers.Input((4,))
    model = pycnn.Model([a, b], layers.Add()([a, b]))
    with pytest.raises(ValueError, match="expected 1 input and 1 output"):
        translate.translate(model, training=False)


def test_bootstrap_is_seeded_and_contains_the_median():
    ratios = np.random.default_rng(0).normal(2.0, 0.1, 15)
    interval = sides.bootstrap(ratios)
    assert interval == sides.bootstrap(ratios)
    assert interval.low < interval.median < interval.high
    assert 1.85 < interval.low < interval.high < 2.15
    assert sides.bootstrap([3.0]) == sides.Interval(3.0, 3.0, 3.0)


def test_bootstrap_covers_the_true_median():
    random = np.random.default_rng(5)
    samples = [sides.bootstrap(random.normal(2.0, 0.1, 15), resamples=500) for _ in range(200)]
    covered = sum(i.low <= 2.0 <= i.high for i in samples)
    assert 170 <= covered < 200  # of 15 values, the percentile bootstrap covers some 92 %


class Log:
    """A side that keeps the order of the questions; its roof moves when told to."""

    def __init__(self, name, log, roofs=()):
        self.name, self.log, self.roofs = name, log, iter(roofs)

    def ask(self, do, **_):
        self.log.append((self.name, do))
        return {"gflops": next(self.roofs, 100.0)} if do == "probe" else {"seconds": [1.0]}


def test_rounds_alternate():
    log = []
    sides.alternate(Log("A", log), Log("B", log), rounds=3, seconds=0.1)
    assert [name for name, do in log if do == "time"] == ["A", "B"] * 3
    assert log[:4] == [("A", "probe"), ("A", "time"), ("B", "time"), ("A", "probe")]


def test_disturbed_rounds_are_taken_again():
    log = []
    rounds = sides.alternate(
        Log("A", log, [100, 100, 80, 80]), Log("B", log), rounds=3, seconds=0.1
    )
    assert [r["roof"] for r in rounds] == [[100.0, 100.0]] * 3
    assert len([do for _, do in log if do == "time"]) == 2 * 4


def test_rounds_end_on_a_machine_that_is_never_calm():
    log = []
    rounds = sides.alternate(Log("A", log, [100, 80] * 9), Log("B", log), rounds=3, seconds=0.1)
    assert len(rounds) == 3
    assert (
        sides.summarise([{"own": [1.0], "peer": [2.0], "roof": r["roof"]} for r in rounds])[
            "calm_rounds"
        ]
        == 0
    )


def test_different_numbers_are_refused():
    good = {"loss": [2.3], "changes": [-0.1, -0.2]}
    assert max(sides.check_equal(good, good).values()) == 0
    for bad in (
        {"loss": [2.3], "changes": [-0.1, -0.21]},
        {"loss": [2.3], "changes": [-0.1, float("nan")]},
        {"loss": [2.3], "changes": [-0.1]},
        {"loss": [2.3]},
    ):
        with pytest.raises(sides.Mismatch):
            sides.check_equal(good, bad)


CASE = compare.Case("small", "predict", 2)


def test_a_case_from_end_to_end():
    with fake() as own, fake("peer", seconds=3.0) as peer:
        row = compare.run_case(own, peer, CASE, small_net(), rounds=3, seconds=0.0)
    assert row["ratio"] == {"median": 3.0, "low": 3.0, "high": 3.0}
    assert (row["own_ms"], row["peer_ms"], row["calm_rounds"]) == (1000, 3000, 3)


def test_a_mismatch_is_not_timed():
    with fake() as own, fake("peer", number=0.6) as peer:
        with pytest.raises(sides.Mismatch, match="outputs: relative difference"):
            compare.run_case(own, peer, CASE, small_net(), rounds=3, seconds=0.0)


def test_errors_of_a_side_are_named():
    with fake() as own:
        with pytest.raises(sides.SideError, match="own: no such thing"):
            own.ask("dance")
    command = [sys.executable, "-c", "raise SystemExit('no torch here')"]
    with sides.Side("pytorch", command, 1) as side:
        with pytest.raises(sides.SideError, match="pytorch: process ended: no torch here"):
            side.ask("hello")


@pytest.fixture
def compared(tmp_path, monkeypatch, capsys):
    """A run of the command: the reference as a peer that is there, and one that is not."""
    python = compare.python_of(tmp_path, "there")
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    peers = {"there": ["peers.reference"], "absent": ["peers.absent"]}
    monkeypatch.setattr(compare, "PEERS", peers)
    monkeypatch.setattr(compare, "command_of", lambda _, *a: command_of(sys.executable, *a))
    monkeypatch.setenv("PYTHONPATH", str(Path(pycnn.__file__).parent.parent))
    stem = tmp_path / "out" / "result"
    arguments = ["--peers", str(tmp_path), "--nets", "lenet5", "--batches", "2", "--threads", "1"]
    arguments += ["--rounds", "2", "--seconds", "0.001", "--out", str(stem)]
    arguments += ["--only", "there,absent"]
    compare.main(arguments)
    return stem, capsys.readouterr().out


command_of = compare.command_of


def test_command_writes_its_results_and_names_what_is_absent(compared):
    stem, out = compared
    assert "skipped absent all: not installed (compare.py --setup)" in out
    result = json.loads(Path(f"{stem}.json").read_text())
    (row,) = result["rows"]  # the reference does not train
    assert (row["peer"], row["mode"], row["batch"]) == ("there", "predict", 2)
    assert 0 <= row["difference"]["outputs"] < 1e-5
    assert row["ratio"]["low"] <= row["ratio"]["median"] <= row["ratio"]["high"]
    assert result["command"].startswith("python bench/compare.py --peers DIR --nets lenet5")
    assert result["roof_before"] > 0
    table = Path(f"{stem}.md").read_text()
    assert "lenet5 | predict | 2 | there |" in table
    assert "- absent, all: not installed" in table
    assert Path(f"{stem}.png").read_bytes().startswith(b"\x89PNG")


def test_losses_are_marked():
    ratio = {"median": 0.5, "low": 0.4, "high": 0.6}
    row = {**vars(CASE), "peer": "p", "variant": "v", "own_ms": 2.0, "peer_ms": 1.0}
    row |= {"calm_rounds": 2, "roof": [1.0]}
    about = {"processor": "P", "threads": 2, "date": "D", "command": "C", "rounds": 3}
    about |= {"versions": {}, "skipped": [], "roof_before": 1.0, "roof_after": 1.0}
    table = report.markdown({**about, "rows": [{**row, "ratio": ratio}]})
    assert "| ~ small | predict | 2 | p | v | 2.00 | 1.00 | 0.50 [0.40, 0.60] (slower) |" in table


@pytest.mark.peers
@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("name", compare.PEERS)
def test_peer_computes_the_same(name, net, monkeypatch):
    """For each peer in the folder PYCNN_PEERS, as compare.py --setup makes it."""
    python = compare.python_of(Path(os.environ.get("PYCNN_PEERS", "peers")), name)
    if not python.exists():
        pytest.skip(f"no {name}: {python} is missing (set PYCNN_PEERS)")
    monkeypatch.setenv("PYTHONPATH", str(Path(pycnn.__file__).parent.parent))
    own_command = compare.command_of(sys.executable, ["peers.own"], 1)
    with sides.Side("pycnn", own_command, 1) as own:
        monkeypatch.delenv("PYTHONPATH")
        with sides.Side(name, compare.command_of(python, compare.PEERS[name], 1), 1) as peer:
            for mode in peer.ask("hello")["modes"]:
                case = compare.Case(net, mode, 3)
                row = compare.run_case(own, peer, case, NETS[net](), rounds=1, seconds=0.0)
                assert max(row["difference"].values()) < 1e-4
