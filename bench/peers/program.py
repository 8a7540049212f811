# SPDX-License-Identifier: Apache-2.0
"""A network as a list of ops: what a peer gets instead of pycnn's layers.

The ops are those of the engine's graph, under its names and with its arguments, so each has its
definition in pycnn.reference. Images are NHWC, kernels HWIO; an adapter converts.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Op:
    """values[output] = kind(*values[inputs], *weights, **attributes)

    Args:
        weights: names; None where an optional one is absent.
        attributes: plain data; padding is (top, bottom, left, right).
        shape: of the output, without the batch.
    """

    kind: str
    inputs: tuple[int, ...]
    weights: tuple[str | None, ...]
    attributes: dict[str, Any]
    output: int
    shape: tuple[int, ...]

    def __getitem__(self, attribute: str) -> Any:
        return self.attributes[attribute]


@dataclass(frozen=True)
class Program:
    """Ops in the order they run, from one input to one output."""

    input: int
    input_shape: tuple[int, ...]
    output: int
    ops: tuple[Op, ...]
    constants: tuple[str, ...]  # weights that training leaves alone

    def run(self, apply: Callable[..., Any], x: Any) -> Any:
        """The output for x, where apply(op, *inputs) runs one op; drops what is not needed more."""
        values, left = {self.input: x}, self.uses()
        for op in self.ops:
            result = apply(op, *(values[i] for i in op.inputs))
            left.subtract(op.inputs)
            for i in op.inputs:
                if not left[i]:
                    values.pop(i, None)
            values[op.output] = result
        return values[self.output]

    def uses(self) -> Counter[int]:
        """How many times each value is read; the output once more."""
        return Counter([i for op in self.ops for i in op.inputs] + [self.output])

    def shape(self, value: int) -> tuple[int, ...]:
        shapes = {op.output: op.shape for op in self.ops}
        return shapes.get(value, self.input_shape)

    @property
    def ends_in_softmax(self) -> bool:
        return self.ops[-1].kind == "softmax" and self.ops[-1].output == self.output

    def logits(self) -> Program:
        """The program without a softmax at its end, for losses that contain it."""
        if not self.ends_in_softmax:
            return self
        return replace(self, ops=self.ops[:-1], output=self.ops[-1].inputs[0])

    def without_dropout(self) -> Program:
        """The same values and work, but nothing is random."""
        ops = (
            replace(op, attributes={**op.attributes, "rate": 0.0}) if op.kind == "dropout" else op
            for op in self.ops
        )
        return replace(self, ops=tuple(ops))

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Program:
        fields = json.loads(text)
        ops = [
            Op(**{k: tuple(v) if isinstance(v, list) else v for k, v in op.items()})
            for op in fields.pop("ops")
        ]
        fields = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
        return cls(ops=tuple(ops), **fields)


def symmetric(op: Op) -> bool:
    """Whether both ends of each axis are padded alike."""
    top, bottom, left, right = op["padding"]
    return bool(top == bottom and left == right)


def same_padding(op: Op, size: tuple[int, ...], window: tuple[int, ...]) -> list[int]:
    """What "same" would be of images of this size: out = ceil(in / stride), the rest at the end."""
    pads: list[int] = []
    dilation = op.attributes.get("dilation", (1, 1))
    for n, k, step, d in zip(size, window, op["strides"], dilation, strict=True):
        total = max((-(-n // step) - 1) * step + (k - 1) * d + 1 - n, 0)
        pads += [total // 2, total - total // 2]
    return pads
