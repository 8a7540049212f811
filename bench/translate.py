# SPDX-License-Identifier: Apache-2.0
"""pycnn model -> Program: the layers build into a recorder instead of a graph.

A layer is a spec that calls the graph's ops, so a layer that is new to pycnn needs nothing here; an
op that is new needs one function in each adapter.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from peers.program import Op, Program

from pycnn import Model, reference
from pycnn.builder import GraphBuilder


class Recorder:
    """Stands in for a core graph: passes every call on to it and keeps it as an Op."""

    def __init__(self, core: Any) -> None:
        self._core = core
        self.ops: list[Op] = []
        self.weights: dict[int, str] = {}
        self.sources: dict[int, Op] = {}  # of each value, also of an op's further results

    def shape(self, value: int) -> tuple[int | None, ...]:
        return tuple(self._core.shape(value))

    def input(self, name: str, shape: Any, dtype: str = "float32") -> int:
        return int(self._core.input(name, shape, dtype))

    def parameter(self, name: str, shape: Any, trainable: bool = True) -> int:
        value = int(self._core.parameter(name, shape, trainable))
        self.weights[value] = name
        return value

    def __getattr__(self, kind: str) -> Callable[..., Any]:
        call = getattr(self._core, kind)

        def record(*arguments: Any, **attributes: Any) -> Any:
            result = call(*arguments, **attributes)
            values = result if isinstance(result, tuple) else (result,)
            op = self._op(kind, arguments, attributes, values[0])
            self.ops.append(op)
            self.sources.update(dict.fromkeys(values, op))
            return result

        return record

    def _op(
        self, kind: str, arguments: tuple[Any, ...], attributes: dict[str, Any], output: int
    ) -> Op:
        kept = {k: v for k, v in attributes.items() if k not in ("name", "stream")}
        kept = {k: v for k, v in kept.items() if v is not None}
        if kind == "activation":
            kept["kind"] = arguments[1]
        values = [a for a in arguments if isinstance(a, int) and a not in self.weights]
        weights = [self.weights.get(a) for a in arguments if a is None or a in self.weights]
        if "padding" in kept:
            kept["pads"] = self._pads(kept, values[0], arguments)
        shape = tuple(extent or 0 for extent in self.shape(output)[1:])
        return Op(kind, tuple(values), tuple(weights), kept, output, shape)

    def _pads(self, attributes: dict[str, Any], x: int, arguments: tuple[Any, ...]) -> list[int]:
        size = tuple(extent or 0 for extent in self.shape(x)[1:3])
        window = attributes.get("pool_size") or self.shape(arguments[1])[:2]
        dilation = attributes.get("dilation", (1, 1))
        strides = attributes["strides"]
        pads = reference.conv_padding(attributes["padding"], size, window, strides, dilation)
        return [extent for axis in pads for extent in axis]


def translate(model: Model, *, training: bool) -> Program:
    """The ops of a model with one input and one output, as its layers build them in that mode."""
    network = model.network
    if len(network.inputs) != 1 or len(network.outputs) != 1:
        raise ValueError(f"{model.name}: expected 1 input and 1 output")
    graph = GraphBuilder(training)
    recorder = Recorder(graph.core)
    graph.core = recorder  # type: ignore[assignment]
    door = network.inputs[0]
    values = network.add_to(graph, [recorder.input(door.layer.name, door.shape)])
    for weight, sample, momentum in graph.averages:
        op = recorder.sources[sample]
        op.attributes.setdefault("moving", []).append(recorder.weights[weight])
        op.attributes["momentum"] = momentum
    return Program(
        input=values[id(door)],
        input_shape=tuple(extent or 0 for extent in door.shape[1:]),
        output=values[id(network.outputs[0])],
        ops=tuple(recorder.ops),
        constants=tuple(name for name, weight in graph.weights.items() if not weight.updated),
    )


def weights_of(model: Model) -> dict[str, NDArray[np.float32]]:
    """All weights by name, the fixed ones included."""
    return {path: variable.numpy() for path, variable in model.network.variables.items()}


def randomize(model: Model, seed: int) -> None:
    """Moves the weights that start as 0 or 1 off it, so that a wrong use of them shows."""
    random = np.random.default_rng(seed)
    for variable in model.weights:
        if len(variable.shape) == 1:
            noise = random.standard_normal(variable.shape, np.float32)
            variable.assign(variable.numpy() + np.float32(0.03) * np.clip(noise, -3, 3))
