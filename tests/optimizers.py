# SPDX-License-Identifier: Apache-2.0
"""Optimizers written as maps over gradients, weights and slots; and a network that they train."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from engine import Array, Net, Setting
from strategies import random_array

from pycnn import _core

Update = Callable[[_core.Graph, int, int], None]
RATE = 2.0**-4
# Of Adam, as the built-in one keeps them.
BETAS = [float(np.float32(beta)) for beta in (0.9, 0.999)]
GAINS = [float(np.float32(1 - beta)) for beta in BETAS]


def mapped(graph: _core.Graph, inputs: Sequence[int], *lines: str) -> int:
    return graph.map(inputs, lines)


# --- optimizers -----------------------------------------------------------------------------------


def sgd(graph: _core.Graph, w: int, g: int) -> None:
    velocity = graph.slot(w, name="velocity")
    new = mapped(
        graph, [velocity, g], "multiply 0.5 x0", "multiply learning_rate x1", "subtract t0 t1", "t2"
    )
    graph.assign(velocity, new)
    graph.assign(w, mapped(graph, [w, new], "add x0 x1", "t0"))


def adam(graph: _core.Graph, w: int, g: int, decay: float = 0.0) -> None:
    m, v = graph.slot(w, name="m"), graph.slot(w, name="v")
    alpha = mapped(
        graph,
        [],
        *(f"multiply step {np.log(beta):.9g}" for beta in BETAS),
        "expm1 t0",
        "expm1 t1",
        "negative t3",
        "sqrt t4",
        "multiply learning_rate t5",
        "divide t6 t2",
        "negative t7",
        "t8",
    )
    new_m = mapped(graph, [m, g], "subtract x1 x0", f"multiply t0 {GAINS[0]}", "add x0 t1", "t2")
    square = ["square x1", "subtract t0 x0", f"multiply t1 {GAINS[1]}", "add x0 t2", "t3"]
    new_v = mapped(graph, [v, g], *square)
    new_w = mapped(
        graph,
        [w, new_m, new_v, alpha],
        f"multiply x0 {decay}",
        "multiply t0 learning_rate",
        "subtract x0 t1",
        "multiply x3 x1",
        "sqrt x2",
        "add t4 1e-7",
        "divide t3 t5",
        "subtract t2 t6",
        "t7",
    )
    for target, value in ((m, new_m), (v, new_v), (w, new_w)):
        graph.assign(target, value)


def adamw(graph: _core.Graph, w: int, g: int) -> None:
    adam(graph, w, g, decay=0.5)


def rmsprop(graph: _core.Graph, w: int, g: int) -> None:
    mean, momentum = graph.slot(w, name="rms"), graph.slot(w, name="momentum")
    new = mapped(
        graph, [mean, g], "multiply 0.9 x0", "square x1", "multiply 0.1 t1", "add t0 t2", "t3"
    )
    move = mapped(
        graph,
        [momentum, g, new],
        "add x2 1e-6",
        "sqrt t0",
        "multiply learning_rate x1",
        "divide t2 t1",
        "multiply 0.5 x0",
        "add t4 t3",
        "t5",
    )
    graph.assign(w, mapped(graph, [w, move], "subtract x0 x1", "t0"))
    graph.assign(mean, new)
    graph.assign(momentum, move)


def adagrad(graph: _core.Graph, w: int, g: int) -> None:
    total = graph.slot(w, name="accumulator")
    new = mapped(graph, [total, g], "square x1", "add x0 t0", "t1")
    graph.assign(total, new)
    step = ["add x2 1e-6", "sqrt t0", "multiply learning_rate x1", "divide t2 t1", "subtract x0 t3"]
    graph.assign(w, mapped(graph, [w, g, new], *step, "t4"))


def lion(graph: _core.Graph, w: int, g: int) -> None:
    m = graph.slot(w, name="m")
    step = [
        "multiply 0.9 x1",
        "multiply 0.1 x2",
        "add t0 t1",
        "sign t2",
        "multiply learning_rate t3",
        "subtract x0 t4",
    ]
    graph.assign(w, mapped(graph, [w, m, g], *step, "t5"))
    mean = ["multiply 0.99 x0", "multiply 0.01 x1", "add t0 t1", "t2"]
    graph.assign(m, mapped(graph, [m, g], *mean))


def nadam(graph: _core.Graph, w: int, g: int) -> None:
    """Adam that looks ahead: the gradient has a share in the mean it moves by."""
    m, v = graph.slot(w, name="m"), graph.slot(w, name="v")
    new_m = mapped(graph, [m, g], "multiply 0.9 x0", "multiply 0.1 x1", "add t0 t1", "t2")
    square = ["multiply 0.999 x0", "square x1", "multiply 0.001 t1", "add t0 t2", "t3"]
    new_v = mapped(graph, [v, g], *square)
    ahead = mapped(graph, [new_m, g], "multiply 0.9 x0", "multiply 0.1 x1", "add t0 t1", "t2")
    step = ["sqrt x2", "add t0 1e-4", "divide x1 t1", "multiply learning_rate t2", "subtract x0 t3"]
    graph.assign(w, mapped(graph, [w, ahead, new_v], *step, "t4"))
    graph.assign(m, new_m)
    graph.assign(v, new_v)


State = dict[str, Array]


def numpy_adamw(s: State, g: Array, step: int) -> None:
    s["m"] += (g - s["m"]) * GAINS[0]
    s["v"] += (g * g - s["v"]) * GAINS[1]
    alpha = RATE * np.sqrt(1 - BETAS[1] ** step) / (1 - BETAS[0] ** step)
    s[""] = s[""] - s[""] * 0.5 * RATE - alpha * s["m"] / (np.sqrt(s["v"]) + 1e-7)


def numpy_rmsprop(s: State, g: Array, step: int) -> None:
    s["rms"] = 0.9 * s["rms"] + 0.1 * g * g
    s["momentum"] = 0.5 * s["momentum"] + RATE * g / np.sqrt(s["rms"] + 1e-6)
    s[""] = s[""] - s["momentum"]


def numpy_adagrad(s: State, g: Array, step: int) -> None:
    s["accumulator"] += g * g
    s[""] = s[""] - RATE * g / np.sqrt(s["accumulator"] + 1e-6)


def numpy_lion(s: State, g: Array, step: int) -> None:
    s[""] = s[""] - RATE * np.sign(0.9 * s["m"] + 0.1 * g)
    s["m"] = 0.99 * s["m"] + 0.01 * g


def numpy_nadam(s: State, g: Array, step: int) -> None:
    s["m"] = 0.9 * s["m"] + 0.1 * g
    s["v"] = 0.999 * s["v"] + 0.001 * g * g
    ahead = 0.9 * s["m"] + 0.1 * g
    s[""] = s[""] - RATE * ahead / (np.sqrt(s["v"]) + 1e-4)


WRITTEN: dict[str, tuple[Update, Callable[[State, Array, int], None], tuple[str, ...]]] = {
    "adamw": (adamw, numpy_adamw, ("m", "v")),
    "rmsprop": (rmsprop, numpy_rmsprop, ("momentum", "rms")),
    "adagrad": (adagrad, numpy_adagrad, ("accumulator",)),
    "lion": (lion, numpy_lion, ("m",)),
    "nadam": (nadam, numpy_nadam, ("m", "v")),
}
NAMES = ("c", "b", "w", "d")  # kernel and bias of a convolution, and of a dense layer


def network(update: Update, setting: Setting, *, batch: int = 3) -> Net:
    """A convolution and a dense layer; marks the gradients, so that they are known exactly."""
    x, t = random_array((batch, 5, 5, 3), 1), random_array((batch, 7), 2)
    shapes = {"c": (3, 3, 3, 13), "b": (13,), "w": (13 * 9, 7), "d": (7,)}
    parameters = {n: random_array(shape, 3, i) for i, (n, shape) in enumerate(shapes.items())}

    def build(graph: _core.Graph, v: dict[str, int]) -> list[int]:
        y = graph.activation(graph.conv2d(v["x"], v["c"], v["b"]), "relu")
        y = graph.dense(graph.flatten(y), v["w"], v["d"])
        loss = graph.loss("mean_squared_error", v["t"], y)
        gradients = [g for g in graph.gradients(loss, [v[n] for n in NAMES]) if g is not None]
        for name, gradient in zip(NAMES, gradients, strict=True):
            update(graph, v[name], gradient)
        return [*gradients, loss]

    return Net(build, {"x": x, "t": t}, parameters, setting)
