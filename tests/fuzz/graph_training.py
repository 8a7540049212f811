# SPDX-License-Identifier: Apache-2.0
"""What a training step adds to a random graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graph_cases import REFUSALS, Maker
from twins import Call

LOSSES = (
    "mean_squared_error",
    "binary_crossentropy",
    "categorical_crossentropy",
    "sparse_categorical_crossentropy",
)
METRICS = ("accuracy", "binary_accuracy", "categorical_accuracy", "sparse_categorical_accuracy")


def train(m: Maker) -> None:
    """Losses, metrics, gradients and updates on top of what has grown."""
    kind = "mean_squared_error" if m.whole else m.pick(LOSSES)
    y = m.any_value()
    try:
        shape = m.shape(y)
    except ValueError:
        return
    sparse = kind.startswith("sparse")
    truth = m.input(shape[:-1] if sparse else shape, "int32" if sparse else "float32")
    if truth is None:
        return
    if not sparse:
        m.values.remove(truth)
    m.truths[truth] = (kind, shape[-1] or 1)
    logits = kind != "mean_squared_error" and m.rng.random() < 0.5
    loss = m.call("loss", kind=kind, y_true=truth, y_pred=y, from_logits=logits)
    if loss is None:
        return
    made = next(n for n in m.graph.nodes() if loss in n["outputs"])
    if made["inputs"][1] != y:  # taken of the logits
        m.calls[made["name"]].arguments["from_logits"] = True
    metric = "sparse_categorical_accuracy" if sparse else m.pick(METRICS[:3])
    m.call("metric", kind=metric, y_true=truth, y_pred=y, threshold=m.pick((0.5, 0.0, 0.3)))
    names = [name for name in m.parameters if m.rng.random() < 0.8]
    wrt = [m.ids[name] for name in names]
    wrt += [m.ids[name] for name in m.inputs if m.rng.random() < 0.3 and m.ids[name] != truth]
    before = m.graph.nodes()
    try:
        gradients = m.graph.gradients(loss, wrt)
    except REFUSALS as error:
        m.log.append(f"gradients({loss}, {wrt}) -> {type(error).__name__}: {error}")
        m.refused += 1
        find_slices(m, before, wrt)  # nodes of the part that went well stay
        return
    m.log.append(f"gradients({loss}, {wrt}) -> {gradients}")
    find_slices(m, before, wrt)
    m.gradients = (loss, [(v, g) for v, g in zip(wrt, gradients, strict=True) if g is not None])
    for name, gradient in zip(names, gradients, strict=False):
        if gradient is not None and m.rng.random() < 0.7:
            updated(m, m.ids[name], gradient)


def find_slices(m: Maker, before: Sequence[dict[str, Any]], wrt: Sequence[int]) -> None:
    """What the gradient of concatenate takes: channels of inputs that depend on wrt, in order."""
    depends = set(wrt)
    waiting: dict[str, list[Call]] = {}
    for node in before:
        if depends.intersection(node["inputs"]):
            depends.update(node["outputs"])
        if node["op"] == "concatenate":
            first = 0
            for value in node["inputs"]:
                count = m.shape(value)[-1] or 1
                if value in depends:
                    call = Call("slice_channels", {"first": first, "count": count})
                    waiting.setdefault(node["name"], []).append(call)
                first += count
    for node in m.graph.nodes()[len(before) :]:
        if node["op"] == "slice_channels" and node["name"] in waiting:
            m.calls_of_values[node["outputs"][0]] = waiting[node["name"]].pop(0)


def updated(m: Maker, parameter: int, gradient: int) -> None:
    """One optimizer; now and then a second one, or the gradient of another parameter."""
    if m.rng.random() < 0.5:
        options = {"momentum": m.pick((0.0, 0.9)), "nesterov": m.rng.random() < 0.5}
        m.call("sgd", parameter, gradient, **options, weight_decay=m.pick((0.0, 0.01)))
    else:
        m.call("adam", parameter, gradient, weight_decay=m.pick((0.0, 0.01)))
    if m.rng.random() < m.odd:
        m.call("sgd", m.pick(list(m.ids.values())), gradient)
    if m.statistics and m.rng.random() < 0.3:
        sample = m.pick(m.statistics)
        average = m.parameter(m.shape(sample)[0] or 1)
        if average is not None and average != parameter:
            m.call("moving_average", average, sample, momentum=m.pick((0.0, 0.9, 1.0)))
