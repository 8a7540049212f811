# SPDX-License-Identifier: Apache-2.0
"""A random graph with numbers to run it on, and its runs."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from graph_cases import Maker
from graph_training import train
from twins import SLOTS, UPDATES, Array

from pycnn import _core

LIMITS = {"max_arena_bytes": 1 << 27, "max_scratch_bytes": 1 << 27, "max_operations": 5e7}
MEMORY = ("planned", "guard_end", "guard_begin")
MAX_PARAMETERS = 1 << 24  # floats
LEARNING_RATE = 0.125


@dataclass
class Run:
    """What a run left: values by number, parameters and slots by name."""

    values: dict[int, Array]
    parameters: dict[str, Array]

    def bytes_of(self) -> list[bytes]:
        arrays = [*self.values.values(), *self.parameters.values()]
        return [array.tobytes() for array in arrays]


def again(graph: _core.Graph) -> _core.Graph:
    """The same graph, from its program as a file would hold it."""
    copy = _core.Graph.from_program(json.loads(json.dumps(graph.program(), allow_nan=False)))
    assert copy.nodes() == graph.nodes()
    assert copy.program() == graph.program()
    return copy


class Case:
    """One graph, with numbers to run it on."""

    def __init__(self, seed: int, number: int) -> None:
        self.rng = rng = random.Random(f"{seed}/{number}")
        self.numbers = np.random.default_rng([seed, number])
        self.data = rng.choices(("whole", "real", "wild"), (4, 5, 1))[0]
        self.odd = rng.choice((0.0, 0.0, 0.02, 0.2))
        self.maker = Maker(rng, self.data == "whole", self.odd)
        self.maker.grow(rng.randint(1, 9))
        if rng.random() < 0.5:
            train(self.maker)
        self.graph, self.batch = again(self.maker.graph), rng.choice((1, 1, 2, 3, 4, 5, 8))
        self.isa = rng.choice(_core.isas())
        self.nodes = self.graph.nodes()
        self.step, self.seed = rng.randint(1, 3), rng.randrange(2**64)

    # ---- numbers ----

    def floats(self, shape: Sequence[int]) -> Array:
        if self.data == "whole":
            return self.numbers.integers(-2, 3, shape).astype(np.float32)
        array = self.numbers.standard_normal(shape).astype(np.float32)
        if self.data == "wild":
            special = np.float32([0, -0.0, np.inf, -np.inf, np.nan, 1e38, -3e38, 1e-40, 1e-45])
            mask = self.numbers.random(shape) < self.rng.choice((0.0, 0.02, 0.3))
            array = np.where(mask, self.numbers.choice(special, shape), array)
        return np.ascontiguousarray(array, np.float32).reshape(shape)

    def arrays(self) -> list[Array]:
        """Of the inputs; labels are what their losses expect."""
        found = []
        for name, (extents, dtype) in self.maker.inputs.items():
            shape = tuple(self.batch if e is None else e for e in extents)
            kind, classes = self.maker.truths.get(self.maker.ids[name], ("", 0))
            if dtype == "int32":
                labels = self.numbers.integers(0, classes, shape)
                if self.data == "wild" and self.rng.random() < 0.3:
                    labels = self.numbers.integers(-(2**31), 2**31, shape)
                found.append(labels.astype(np.int32))
            elif kind == "binary_crossentropy":
                found.append(self.numbers.integers(0, 2, shape).astype(np.float32))
            elif kind == "categorical_crossentropy":
                ones = np.zeros(shape, np.float32)
                places = self.numbers.integers(0, classes, (*shape[:-1], 1))
                np.put_along_axis(ones, places, 1, -1)
                found.append(ones)
            else:
                found.append(self.floats(shape))
        return [np.ascontiguousarray(array) for array in found]

    def weights(self) -> dict[str, Array]:
        found = {}
        variances = {
            i for n in self.nodes if n["op"] == "batch_norm_inference" for i in n["inputs"][4:]
        }
        for name, shape in self.maker.parameters.items():
            array = self.floats(shape)
            if self.maker.ids[name] in variances:
                array = np.abs(array) + np.float32(0.5)
            found[name] = array
        return found

    # ---- runs ----

    def too_large(self) -> bool:
        """Parameters that a machine may or may not hold are not asked for."""
        sizes = [math.prod(shape) for shape in self.maker.parameters.values()]
        inputs = [math.prod(e or self.batch for e in s) for s, _ in self.maker.inputs.values()]
        return sum(sizes) + sum(inputs) > MAX_PARAMETERS

    def run(
        self,
        outputs: Sequence[int],
        arrays: Sequence[Array],
        weights: dict[str, Array],
        memory: str,
        threads: int,
    ) -> Run:
        """A first step with these weights; the outputs are those marked so far."""
        parameters = _core.Parameters(self.graph, self.isa, memory)
        for name, array in weights.items():
            parameters.set(name, array)
        plan = _core.Plan(
            self.graph, parameters, self.batch, memory, operations_per_thread=1.0, **LIMITS
        )
        _core.set_num_threads(threads)
        options = {"learning_rate": LEARNING_RATE, "seed": self.seed, "step": self.step}
        if not any(n["op"] in UPDATES for n in self.nodes):  # what one run leaves, another survives
            plan.run([array[::-1].copy() for array in arrays], **options)
        plan.run(arrays, **options)
        state = {name: parameters.get(name) for name in weights}
        for name, slot in self.slots():
            state[f"{slot}:{name}"] = parameters.get(name, slot)
        values = {value: plan.output(i) for i, value in enumerate(outputs)}
        given = {self.maker.ids[name]: array for name, array in weights.items()}
        return Run({**values, **given}, state)  # an updated parameter is read after its update

    def slots(self) -> list[tuple[str, str]]:
        names = {value: name for name, value in self.maker.ids.items()}
        updates = [n for n in self.nodes if n["op"] in UPDATES]
        return [(names[n["inputs"][0]], slot) for n in updates for slot in SLOTS[n["op"]]]
