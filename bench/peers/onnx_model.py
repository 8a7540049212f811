# SPDX-License-Identifier: Apache-2.0
"""Program -> ONNX model (NCHW), for the two runtimes that read it."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto, checker, helper, numpy_helper

from .program import Op, Program

OPSET = 17
ACTIVATIONS = {"relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh"}


class Writer:
    """Appends the nodes of each op; a method for each kind."""

    def __init__(self, program: Program, weights: dict[str, Any]) -> None:
        self.program, self.weights = program, weights
        self.nodes: list[Any] = []
        self.tensors: dict[str, Any] = {}
        self.blocks: dict[str, tuple[int, ...]] = {}  # HWC of vectors that were flattened as CHW

    def node(self, kind: str, inputs: list[str], op: Op, **attributes: Any) -> str:
        output = f"v{op.output}"
        if any(node.output[0] == output for node in self.nodes):
            output += "_" + kind  # an op of two nodes
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def tensor(self, name: str, array: Any) -> str:
        self.tensors[name] = numpy_helper.from_array(np.ascontiguousarray(array), name)
        return name

    def vectors(self, names: Any) -> list[str]:
        return [self.tensor(name, self.weights[name]) for name in names if name]

    def window(self, op: Op) -> dict[str, Any]:
        top, bottom, left, right = op["padding"]
        return {"strides": list(op["strides"]), "pads": [top, left, bottom, right]}

    def conv2d(self, op: Op, x: str) -> str:
        name, *bias = op.weights
        w = self.tensor(name, self.weights[name].transpose(3, 2, 0, 1))
        arguments = {"dilations": list(op["dilation"]), "group": op["groups"]}
        return self.node("Conv", [x, w, *self.vectors(bias)], op, **arguments, **self.window(op))

    def dense(self, op: Op, x: str) -> str:
        name, *bias = op.weights
        w = self.weights[name]
        if x in self.blocks:
            w = w.reshape(*self.blocks[x], -1).transpose(2, 0, 1, 3).reshape(w.shape)
        return self.node("Gemm", [x, self.tensor(name, w), *self.vectors(bias)], op)

    def reshape(self, op: Op, x: str) -> str:
        shape = self.program.shape(op.inputs[0])
        readers = [other for other in self.program.ops if op.output in other.inputs]
        if len(shape) == 3 and all(other.kind == "dense" for other in readers):
            y = self.node("Flatten", [x], op)
            self.blocks[y] = shape  # the dense layer's rows are put in this order instead
            return y
        if len(shape) == 3:
            x = self.node("Transpose", [x], op, perm=[0, 2, 3, 1])
        return self.node("Flatten", [x], op)

    def max_pool2d(self, op: Op, x: str) -> str:
        return self.node("MaxPool", [x], op, kernel_shape=list(op["pool_size"]), **self.window(op))

    def avg_pool2d(self, op: Op, x: str) -> str:
        size = list(op["pool_size"])
        return self.node("AveragePool", [x], op, kernel_shape=size, **self.window(op))

    def global_avg_pool2d(self, op: Op, x: str) -> str:
        return self.node("Flatten", [self.node("GlobalAveragePool", [x], op)], op)

    def add(self, op: Op, a: str, b: str) -> str:
        return self.node("Add", [a, b], op)

    def softmax(self, op: Op, x: str) -> str:
        return self.node("Softmax", [x], op, axis=1)

    def activation(self, op: Op, x: str) -> str:
        kind = op["kind"]
        if kind == "relu6":
            bounds = [self.tensor(f"bound_{v}", np.float32(v)) for v in (0, 6)]
            return self.node("Clip", [x, *bounds], op)
        if kind in ("leaky_relu", "elu"):
            name = {"leaky_relu": "LeakyRelu", "elu": "Elu"}[kind]
            return self.node(name, [x], op, alpha=op["alpha"])
        return self.node(ACTIVATIONS[kind], [x], op)

    def batch_norm_inference(self, op: Op, x: str) -> str:
        given = [self.weights[name] if name else None for name in op.weights]
        channels = op.shape[-1]
        absent = (np.ones, np.zeros, np.zeros, np.ones)
        inputs = [
            self.tensor(
                f"norm_{op.output}_{i}", make(channels, np.float32) if array is None else array
            )
            for i, (array, make) in enumerate(zip(given, absent, strict=True))
        ]
        return self.node("BatchNormalization", [x, *inputs], op, epsilon=op["epsilon"])


def to_onnx(program: Program, weights: dict[str, Any], batch: int) -> bytes:
    """A checked model; input "x" (N, C, H, W), output (N, K)."""
    writer = Writer(program, weights)
    *size, channels = program.input_shape
    shape = [batch, channels, *size]
    output = program.run(lambda op, *inputs: getattr(writer, op.kind)(op, *inputs), "x")
    graph = helper.make_graph(
        writer.nodes,
        "pycnn",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, [batch, None])],
        list(writer.tensors.values()),
    )
    opsets = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


def channels_first(x: Any) -> Any:
    return np.ascontiguousarray(x.transpose(0, 3, 1, 2)) if x.ndim == 4 else x
