# SPDX-License-Identifier: Apache-2.0
"""pycnn model -> Program, from the nodes of the graph that its layers build.

A layer or op that is new to pycnn needs nothing here; an op needs one function in each adapter.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from peers.program import Op, Program

from pycnn import Model


def translate(model: Model, *, training: bool) -> Program:
    """The ops of a model with one input and one output, as its layers build them in that mode."""
    network = model.network
    if len(network.inputs) != 1 or len(network.outputs) != 1:
        raise ValueError(f"{model.name}: expected 1 input and 1 output")
    graph, values = network.build(training=training)
    weights = {value: name for name, value in graph.values.items()}
    ops = {}
    for node in graph.core.nodes():
        if node["op"] not in ("input", "parameter"):
            op = _op(node, weights, graph.core.shape(node["outputs"][0]))
            ops.update(dict.fromkeys(node["outputs"], op))
    for weight, sample, momentum in graph.averages:
        ops[sample].attributes.setdefault("moving", []).append(weights[weight])
        ops[sample].attributes["momentum"] = momentum
    return Program(
        input=values[id(network.inputs[0])],
        input_shape=tuple(extent or 0 for extent in network.inputs[0].shape[1:]),
        output=values[id(network.outputs[0])],
        ops=tuple({op.output: op for op in ops.values()}.values()),
        constants=tuple(name for name, weight in graph.weights.items() if not weight.updated),
    )


def _op(node: dict[str, Any], weights: dict[int, str], shape: tuple[int | None, ...]) -> Op:
    if node["op"] == "reshape" and len(shape) != 2:
        raise ValueError(f"{node['name']}: peers flatten, they know no other reshape")
    return Op(
        node["op"],
        tuple(i for i in node["inputs"] if i is not None and i not in weights),
        tuple(weights.get(i) for i in node["inputs"] if i is None or i in weights),
        {name: value for name, value in node["attributes"].items() if name != "stream"},
        node["outputs"][0],
        tuple(extent or 0 for extent in shape[1:]),
    )


def weights_of(model: Model) -> dict[str, NDArray[np.float32]]:
    """All weights by name."""
    return {path: variable.numpy() for path, variable in model.network.variables.items()}


def randomize(model: Model, seed: int) -> None:
    """Moves the weights that start as 0 or 1 off it, so that a wrong use of them shows."""
    random = np.random.default_rng(seed)
    for variable in model.weights:
        if len(variable.shape) == 1:
            noise = random.standard_normal(variable.shape, np.float32)
            variable.assign(variable.numpy() + np.float32(0.03) * np.clip(noise, -3, 3))
