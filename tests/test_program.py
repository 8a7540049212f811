# SPDX-License-Identifier: Apache-2.0
"""The graph as plain data: there and back again, of every op; what is no program is refused."""

from __future__ import annotations

import inspect
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import stub

import pycnn
from pycnn import _core, applications, layers, reference
from pycnn.engine.network import Network
from pycnn.engine.programs import predict_graph

sys.path.insert(0, str(Path(__file__).parent / "fuzz"))
from graph_runs import Case

OPS = _core.ops()
FLIP = (1, 1, -1, -1)


def again(graph: _core.Graph) -> _core.Graph:
    """The graph of the program as a file would hold it."""
    program = graph.program()
    text = json.dumps(program, allow_nan=False)
    copy = _core.Graph.from_program(json.loads(text))
    assert json.dumps(copy.program()) == text
    assert copy.nodes() == graph.nodes()
    return copy


def classifier() -> _core.Graph:
    """Convolutions, pools, joins, a norm, and all that a training step adds."""
    g = _core.Graph()
    x, t = g.input("x", (None, 9, 8, 4)), g.input("t", (None, 3))
    w, b = g.parameter("w", (3, 3, 4, 6)), g.parameter("b", (6,))
    gamma, beta, mean, var = (g.parameter(n, (6,)) for n in ("gamma", "beta", "mean", "var"))
    y = g.conv2d(x, w, b, strides=(2, 1), padding="same", name="conv")
    y, sample_mean, _ = g.batch_norm_training(y, gamma, beta, epsilon=1e-3)
    g.moving_average(mean, sample_mean, momentum=0.9)
    y = g.activation(g.batch_norm_inference(y, gamma, beta, mean, var, epsilon=0.25), "leaky_relu")
    y = g.conv2d_transpose(y, g.parameter("u", (2, 3, 6, 6)), strides=(2, 3), padding="same")
    y = g.concatenate([g.max_pool2d(y, pool_size=(2, 2), strides=(2, 1)), y_of(g, y)])
    y = g.slice_channels(y, first=2, count=7)
    y = g.slice(y, start=(0, 0, *(n - 1 for n in g.shape(y)[2:])), count=g.shape(y), steps=FLIP)
    y = g.concatenate([y, g.transpose(g.transpose(y, axes=(0, 2, 3, 1)), (0, 3, 1, 2))], axis=1)
    y = g.pad(g.pad(y, pads=(0, 0, 1, 0, 0, 1, 0, 0), mode="reflect"), pads=(0,) * 8, value=0.5)
    y = g.resize(y, size=(9, 8), interpolation="nearest", rounding="floor")
    y = g.avg_pool2d(y, pool_size=(3, 2), strides=(1, 1), padding=(1, 0, 0, 1))
    y = g.upsample2d(y, size=(2, 1))
    y = g.add(y, g.dropout(y, rate=0.25, stream=3))
    mean = g.stop_gradient(g.reduce([y], "mean", axes=[-1], keepdims=True))
    y = g.map([y, g.constant((7,), values=[0.5] * 7)], ["add x0 x1", "t0"])
    y = g.map([y, mean], ["subtract x0 x1", "multiply t0 0.1", "t1"])
    flat = g.dense(g.reshape(y), g.parameter("v", (int(np.prod(g.shape(y)[1:])), 3)))
    logits = g.add(flat, g.dense(g.global_avg_pool2d(y), g.parameter("z", (7, 3))))
    loss = g.loss("categorical_crossentropy", t, g.softmax(logits), name="loss")
    g.mark_output(loss)
    g.mark_output(g.metric("binary_accuracy", t, g.softmax(logits), threshold=0.5))
    wrt = [w, b, gamma]
    for value, gradient in zip(wrt, g.gradients(loss, wrt), strict=True):
        assert gradient is not None
        if value == b:
            g.sgd(value, gradient, momentum=0.5, nesterov=True)
        else:
            g.adam(value, gradient, weight_decay=1e-4)
    q = g.parameter("q", (4, 5))
    softmax = g.softmax(g.dense(g.conv2d(x, g.parameter("p", (1, 1, 4, 4))), q))
    second = g.loss("mean_squared_error", g.input("s", (None, 9, 8, 5)), softmax)
    g.gradients(second, [softmax, q, x])
    slot = g.slot(q, name="m")
    g.assign(slot, g.map([slot, q], ["subtract x1 x0", "multiply t0 0.5", "add x0 t1", "t2"]))
    table = g.parameter("table", (6, 3))
    rows = g.gather(table, g.input("rows", (None,), "int32"))
    g.gradients(g.loss("mean_squared_error", t, rows), [table])
    turned = g.parameter("turned", (5, 4))
    products = g.matmul(x, turned, transpose_b=True)
    g.gradients(g.loss("mean_squared_error", g.input("v5", (None, 9, 8, 5)), products), [turned])
    return g


def y_of(g: _core.Graph, y: int) -> int:
    return g.max_pool2d(y, pool_size=(2, 2), strides=(2, 1), padding="valid")


def test_there_and_back_again():
    again(classifier())


def test_every_op_is_in_it():
    made = {node["op"] for node in classifier().nodes()}
    assert made == set(OPS)


@pytest.mark.parametrize("seed", range(6))
def test_random_graphs_come_back(seed):
    for number in range(30):
        again(Case(seed, number).graph)


def test_a_copy_computes_the_same_bits():
    model = applications.lenet5()
    x = np.random.default_rng(0).random((2, *model.input_shape[1:]), np.float32)
    graph = predict_graph(model.network).core
    plan = _core.Plan(again(graph), model.network.parameters, 2)
    y = np.empty((2, 10), np.float32)
    plan.run([x], [y])
    np.testing.assert_array_equal(y, model.predict(x))


def test_attributes_are_what_was_asked_for():
    g = _core.Graph()
    x = g.input("x", (None, 5, 5, 2))
    g.conv2d(x, g.parameter("w", (3, 3, 2, 4)), strides=(2, 2), padding="same", name="c")
    node = g.nodes()[-1]
    assert node["attributes"] == {
        "strides": [2, 2],
        "padding": [1, 1, 1, 1],  # "same", resolved
        "dilation": [1, 1],
        "groups": 1,
    }
    assert (node["op"], node["name"], node["inputs"]) == ("conv2d", "c", [0, 1, None])


# --- what is no program ---------------------------------------------------------------------------


def small() -> dict[str, Any]:
    g = _core.Graph()
    x = g.input("x", (None, 4))
    y = g.dense(x, g.parameter("w", (4, 2)), g.parameter("b", (2,)), name="d")
    g.mark_output(g.activation(y, "relu"))
    return g.program()


def broken(path: list[Any], value: Any) -> dict[str, Any]:
    program = small()
    place = program
    for key in path[:-1]:
        place = place[key]
    if value is None:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return program


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["nodes"], None, "program: it must be a dict of nodes, outputs"),
        (["outputs"], None, "program: it must be a dict of nodes, outputs"),
        (["more"], 1, "program: it must be a dict of nodes, outputs"),
        (["nodes"], 5, "program: nodes: of the wrong type"),
        (["nodes", 0], 5, "program: a node must be a dict of op, name, inputs, attributes"),
        (["outputs"], [99], "99"),
        (["outputs"], [-1], "program: outputs: of the wrong type"),
        (["outputs"], ["0"], "program: outputs: of the wrong type"),
        (["nodes", 3, "op"], "eval", "graph: no op is named 'eval'"),
        (["nodes", 3, "op"], 3, "program: op: of the wrong type"),
        (["nodes", 3, "name"], None, "program: a node must be a dict of op, name"),
        (["nodes", 3, "inputs"], [0, 1, 2, 2], "dense"),
        (["nodes", 3, "inputs"], [0, 99, 2], "dense"),
        (["nodes", 3, "inputs"], [0, 4, 2], "dense"),  # made later
        (["nodes", 3, "inputs"], [0.5, 1, 2], "program: inputs: of the wrong type"),
        (["nodes", 3, "inputs"], [None, 1, 2], "dense"),
        (["nodes", 3, "attributes", "units"], 4, "dense: has no attribute 'units'"),
        (["nodes", 4, "attributes", "kind"], None, "activation: kind is missing"),
        (["nodes", 4, "attributes", "kind"], "eval", "eval"),
        (["nodes", 4, "attributes", "kind"], 4, "activation: kind must be a name, got 4"),
        (["nodes", 4, "attributes", "alpha"], -1.0, "alpha"),
        (["nodes", 4, "attributes", "alpha"], float("nan"), "alpha"),
        (["nodes", 4, "attributes", "alpha"], [1, 2], "activation: alpha must be a number"),
        (["nodes", 0, "attributes", "shape"], [None, 2**40], "dense: x has 1099511627776 features"),
        (["nodes", 0, "attributes", "shape"], [4] * 99, ""),
        (["nodes", 0, "attributes", "shape"], "4", "input: shape must be a list of extents"),
        (["nodes", 0, "attributes", "dtype"], "float16", "float16"),
        (["nodes", 1, "attributes", "trainable"], 1, "parameter: trainable must be true or false"),
    ],
)
def test_what_is_no_program_is_refused(path, value, message):
    with pytest.raises((ValueError, TypeError)) as caught:
        _core.Graph.from_program(broken(path, value))
    assert message in str(caught.value)
    assert len(str(caught.value)) < 300


def test_inputs_that_may_be_absent_may_be_left_out():
    graph = _core.Graph.from_program(broken(["nodes", 3, "inputs"], [0, 1]))
    assert graph.program()["nodes"][3]["inputs"] == [0, 1, None]


# --- the table of ops -----------------------------------------------------------------------------

# Ops whose reference goes by the name of what they are asked for.
BY_KIND = {"loss", "loss_backward", "metric"}
# What a caller of NumPy does not say, or says otherwise.
ELSEWHERE = {"input", "parameter", "constant", "stop_gradient"}
REMEMBERED = {"arg"}  # of the forward pass; the reference finds it in x again


@pytest.mark.parametrize("name", sorted(set(OPS) - BY_KIND - ELSEWHERE))
def test_the_reference_knows_each_op_and_its_arguments(name):
    op = OPS[name]
    known = inspect.signature(getattr(reference, name)).parameters
    read = [i for i, presence in op["inputs"].items() if not presence.endswith("shape_only")]
    wanted = [*read, *op["attributes"]]
    missing = [a for a in wanted if a not in known and a not in REMEMBERED]
    assert not missing, f"reference.{name}({', '.join(known)})"


def test_the_stub_says_what_the_table_does():
    assert stub.split(stub.STUB.read_text())[1] == stub.methods(), "run python tests/stub.py"


def test_models_give_their_program():
    model = pycnn.Sequential([layers.Dense(3, activation="relu", input_shape=(4,))])
    program = model.program()
    json.dumps(program)
    assert [node["op"] for node in program["nodes"]][-2:] == ["dense", "activation"]
    names = [node["name"] for node in program["nodes"] if node["op"] == "parameter"]
    assert names == ["dense/kernel", "dense/bias"]
    model.compile("sgd", "mse")
    step = model.program(training=True)
    assert {node["op"] for node in step["nodes"]} >= {"loss", "loss_backward", "sgd"}


def test_the_whole_graph_is_built_once_before_the_first_step(monkeypatch, tmp_path):
    """And not at all to make, compile, copy, save or load a model: layers are asked one by one."""
    built = []
    build = Network.build

    def counted(self, *arguments, **options):
        built.append(self)
        return build(self, *arguments, **options)

    monkeypatch.setattr(Network, "build", counted)
    model = applications.lenet5()
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.save(tmp_path / "m.pycnn")
    again = pycnn.load_model(tmp_path / "m.pycnn")
    assert model.count_params() == again.count_params() and not built
    x, y = np.zeros((4, 28, 28, 1), np.float32), np.zeros(4, int)
    model.fit(x, y, batch_size=2, epochs=2, verbose=0)
    assert len(built) == 1
