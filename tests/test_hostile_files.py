# SPDX-License-Identifier: Apache-2.0
"""Well-formed files with hostile content: strings, numbers and sizes made to hurt."""

from __future__ import annotations

import json
import struct
import time
import tracemalloc

import numpy as np
import pytest
from test_container import assign, branched, rebuilt, trained, with_graph, with_training
from toys import tiny

from pycnn import metrics
from pycnn.errors import ModelFormatError
from pycnn.files import container, saving
from pycnn.layers import Add, Dense, Input, UpSampling2D
from pycnn.models import Model, Sequential, load_model

ESCAPE = "\x1b[2J\x1b]0;owned\x07"
LONG = "A" * 1_000_000


def refused(data):
    """The message a file is refused with: short, and nothing in it that a terminal obeys."""
    with pytest.raises(ModelFormatError) as caught:
        saving.from_bytes(data)
    error = caught.value
    while error is not None:
        assert str(error).isprintable()
        assert len(str(error)) < 500
        error = error.__cause__
    return str(caught.value)


# --- strings ------------------------------------------------------------------------------------

GRAPH_PLACES = [
    ("name",),
    ("class",),
    ("layers", 1, "class"),
    ("layers", 1, "config", "name"),
    ("layers", 1, "config", "activation"),
    ("layers", 1, "config", "units"),
    ("layers", 1, "config", "kernel_initializer"),
    ("layers", 0, "config", "shape"),
    ("layers", 1, "config", ESCAPE),
    ("layers", 1, "config", LONG),
    (ESCAPE,),
    (LONG,),
    ("inputs", 0),
    ("nodes", 1, 0),
    ("nodes", 1, 1, 0),
    ("seed",),
]
HOSTILE = [ESCAPE, LONG, "\0", "\ud800", "\u202e", "../../etc", "<script>", "", "a b", "\u00e9"]


@pytest.mark.parametrize("place", GRAPH_PLACES, ids=lambda place: repr(place)[:50])
@pytest.mark.parametrize("value", [*HOSTILE, [LONG], [1] * 100_000, {ESCAPE: 1}], ids=ascii)
def test_hostile_values_in_the_graph(place, value):
    """Finding 28: a 1 MB name gave a 1 MB message; escape sequences went to the terminal."""
    if value in ("../../etc", "") and place[-1] == "name":
        return  # allowed: no name is ever part of a path, and an empty one is none
    for model in (tiny(), branched()):
        refused(with_graph(saving.to_bytes(model), assign(*place, value)))


TRAINING_PLACES = [
    ("optimizer",),
    ("loss",),
    ("metrics",),
    ("iterations",),
    ("metrics", [{"class_name": "BinaryAccuracy", "config": {"name": 0}}], 0, "config", "name"),
    ("metrics", [{"class_name": "BinaryAccuracy", "config": {}}], 0, "config", ESCAPE),
    ("optimizer", "config", "learning_rate"),
    ("optimizer", "class_name"),
    ("optimizer", ESCAPE),
]


@pytest.mark.parametrize("place", TRAINING_PLACES, ids=lambda place: repr(place)[:50])
@pytest.mark.parametrize("value", HOSTILE[:-1], ids=ascii)
def test_hostile_values_in_the_training(place, value):
    if value in ("", "../../etc") and place[-1] in ("name", "metrics"):
        return

    def change(training):
        if place[0] == "metrics" and len(place) > 1:
            training["metrics"] = json.loads(json.dumps(place[1]))
            assign("metrics", *place[2:], value)(training)
        else:
            assign(*place, value)(training)

    refused(with_training(saving.to_bytes(trained()), change))


@pytest.mark.parametrize("value", ["\0", "\ud800", ESCAPE, "\u202e", "\x9b"], ids=ascii)
def test_unprintable_metadata_is_refused(value):
    """Finding 28: NUL and lone surrogates passed."""
    for change in (
        lambda header: header["__metadata__"].update({"note": value}),
        lambda header: header["__metadata__"].update({value: "note"}),
        lambda header: header["__metadata__"].update({"pycnn.format": value}),
    ):
        refused(rebuilt(saving.to_bytes(tiny()), change))


def test_metric_names_follow_the_rule_of_names():
    for name in (ESCAPE, LONG, "a b", "\0"):
        with pytest.raises(ValueError, match="name must match") as caught:
            metrics.BinaryAccuracy(name)
        assert len(str(caught.value)) < 300


# --- numbers ------------------------------------------------------------------------------------


@pytest.mark.parametrize("iterations", [2**32 - 1, 2**31, -1, 1.0, True, 10**19])
def test_iterations_that_would_wrap_are_refused(iterations):
    """Finding 28: the step is a 32-bit number, one more than the iterations."""
    data = saving.to_bytes(trained())
    message = refused(with_training(data, assign("iterations", iterations)))
    assert "bad number of iterations" in message
    model = saving.from_bytes(with_training(data, assign("iterations", 2**31 - 2)))
    model.train_on_batch(np.ones((2, 3)), np.ones((2, 2)))
    again = saving.from_bytes(saving.to_bytes(model))
    assert again.optimizer.iterations == 2**31 - 1
    with pytest.raises(RuntimeError, match="has taken its last step"):
        again.train_on_batch(np.ones((2, 3)), np.ones((2, 2)))


@pytest.mark.parametrize("offsets", ["[-0,24]", "[0,24.0]", "[0,2.4e1]", "[0e0,24]"])
def test_odd_spellings_of_offsets_are_refused(offsets):
    def change(header):
        text = json.dumps(header, separators=(",", ":"))
        return text.replace("[0,24]", offsets, 1)

    refused(rebuilt(saving.to_bytes(tiny()), change))


# --- sizes --------------------------------------------------------------------------------------


def measured(data):
    """(seconds, bytes at most) of refusing the file."""
    start = time.process_time()
    refused(data)
    seconds = time.process_time() - start
    tracemalloc.start()
    refused(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return seconds, peak


ENTRY = '"t%d":{"dtype":"F32","shape":[1],"data_offsets":[%d,%d]}'


@pytest.mark.parametrize(
    "text",
    [
        '{"a":' + "[" * (16_700_000),
        '{"a":' * 3_000_000,
        '{"a":[' + "{}," * 5_000_000,
        '{"a":[' + "[]," * 5_000_000,
        '{"a":[' + '"ab",' * 3_000_000,
        '{"a":[' + "999," * 4_000_000,
        '{"a":' + "9" * 16_000_000 + "}",
        '{"a":0.' + "9" * 16_000_000 + "}",
        "{" + ",".join(ENTRY % (i, 4 * i, 4 * i + 4) for i in range(240_000)) + "}",
        "{" + " " * 16_000_000,
    ],
    ids=lambda text: text[:12],
)
def test_hostile_headers_take_little_time_and_memory(text):
    """Robustness row 49."""
    raw = text[: container.MAX_HEADER].encode()
    seconds, peak = measured(struct.pack("<Q", len(raw)) + raw)
    assert seconds < 0.5  # on a busy machine
    assert peak <= 8 * len(raw)


@pytest.mark.parametrize("inputs", [[0] * 1025, [0] * 1_000_000])
def test_inputs_of_a_node_are_limited(inputs):
    """Finding 5: an Add of 10^6 inputs took 9 s and 0.9 GB."""
    x = Input((2,))
    data = saving.to_bytes(Model(x, Add()([x, x])))
    start = time.process_time()
    message = refused(with_graph(data, assign("nodes", 1, 1, inputs)))
    assert "at most 1024 inputs of a node" in message
    assert time.process_time() - start < 2


def test_connections_are_limited():
    x = Input((2,))
    data = saving.to_bytes(Model(x, Add()([x, x])))

    def change(graph):
        graph["nodes"] = [[0, []]] + [[1, [0] * 1024]] * 300

    start = time.process_time()
    assert "262144 in all" in refused(with_graph(data, change))
    assert time.process_time() - start < 20


def test_what_would_not_load_is_not_saved():
    x = Input((2,))
    with pytest.raises(ValueError, match="save: at most 1024 inputs of a layer, got 1025"):
        saving.to_bytes(Model(x, Add()([x] * 1025)))
    model = Sequential([Dense(2, input_dim=3, name="n" * 255)])
    model.compile("adam", "mse")
    model.train_on_batch(np.ones((2, 3)), np.ones((2, 2)))
    saving.from_bytes(saving.to_bytes(model))


def test_small_files_that_ask_for_much_memory(tmp_path):
    """Finding 5, robustness row 57: a file of 448 bytes asked for 4 GiB."""
    path = tmp_path / "m.pycnn"
    Sequential([Input((1, 1, 1)), UpSampling2D((2**15, 2**15))]).save(path)
    with pytest.raises(ModelFormatError, match=r"up_sampling2d: needs \d+ bytes for one sample"):
        load_model(path)
    load_model(path, max_activations=2**33)
    Sequential([Input((1, 1, 1)), UpSampling2D((2**10, 2**10))]).save(path)
    load_model(path)
    with pytest.raises(ModelFormatError, match="max_activations"):
        load_model(path, max_activations=2**20)
