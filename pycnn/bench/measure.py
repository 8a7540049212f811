# SPDX-License-Identifier: Apache-2.0
"""Measurements. Each is framed by probes of the roof; one that was disturbed is taken again."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _core, applications
from .suites import ConvLayer

PASSES = ("forward", "backward_data", "backward_weights")
DRIFT = 0.05  # how far the roof may move during a measurement
ATTEMPTS = 6


@dataclass(frozen=True)
class Machine:
    """What everything is compared with."""

    isa: str
    threads: int
    fma_gflops: float
    fma_gflops_one_thread: float
    copy_gbytes: float


def probe_machine(isa: str, threads: int) -> Machine:
    """The roofs: multiply-adds on one and on all threads, copies (read + write) on all."""
    return Machine(
        isa,
        threads,
        _core.probe_fma(isa, threads),
        _core.probe_fma(isa, 1),
        _core.probe_copy(threads),
    )


def undisturbed(isa: str, threads: int, measure: Callable[[], Any]) -> tuple[Any, float, bool]:
    """measure() between two probes of the FMA roof that agree: (result, GFLOP/s, calm).

    After ATTEMPTS the quietest attempt is returned, with calm=False where it was not quiet.
    """
    best: tuple[float, Any, float] | None = None
    for _ in range(ATTEMPTS):
        before = _core.probe_fma(isa, threads, 0.01)
        result = measure()
        after = _core.probe_fma(isa, threads, 0.01)
        drift, roof = abs(before - after) / max(before, after), max(before, after)
        if best is None or drift < best[0]:
            best = (drift, result, roof)
        if drift <= DRIFT:
            break
    assert best is not None
    return best[1], best[2], best[0] <= DRIFT


def layer_plan(
    layer: ConvLayer, batch: int, isa: str
) -> tuple[_core.Plan, list[NDArray[np.float32]]]:
    """The three passes of one layer, and random numbers to run them on."""
    random = np.random.default_rng(0)
    graph = _core.Graph()
    x = graph.input("x", (None, layer.size, layer.size, layer.channels))
    channels = layer.channels // layer.groups
    w = graph.parameter("w", (layer.kernel, layer.kernel, channels, layer.filters))
    geometry: dict[str, Any] = {
        "strides": (layer.stride,) * 2,
        "padding": layer.padding,
        "groups": layer.groups,
    }
    graph.mark_output(graph.conv2d(x, w, **geometry))
    dy = graph.input("dy", (None, layer.out, layer.out, layer.filters))
    if not layer.first:
        graph.mark_output(graph.conv2d_backward_data(dy, w, x, **geometry))
    graph.mark_output(graph.conv2d_backward_weights(x, dy, w, **geometry))
    parameters = _core.Parameters(graph, isa)
    parameters.set("w", random.standard_normal(parameters.get("w").shape, np.float32))
    shapes = (
        (batch, layer.size, layer.size, layer.channels),
        (batch, layer.out, layer.out, layer.filters),
    )
    inputs = [random.standard_normal(shape, np.float32) for shape in shapes]
    return _core.Plan(graph, parameters, batch), inputs


def measure_layer(
    layer: ConvLayer, batch: int, isa: str, threads: int, repeats: int
) -> dict[str, Any]:
    """Best time of each pass, its GFLOP/s and its share of the roof (a best, too) around it.

    Of a depthwise layer also GB/s of its two tensors; its share is that of the copy roof.
    """
    plan, inputs = layer_plan(layer, batch, isa)

    def seconds() -> dict[str, float]:
        names = {"conv2d": PASSES[0], "conv2d_" + PASSES[1]: PASSES[1]}
        names["conv2d_" + PASSES[2]] = PASSES[2]
        return {names[op]: s for op, _, s in plan.profile(inputs, repeats=repeats) if op in names}

    times, roof, calm = undisturbed(isa, threads, seconds)
    row: dict[str, Any] = {"layer": layer.name, "batch": batch, "roof": roof, "calm": calm}
    for name, value in times.items():
        gflops = layer.flops(batch) / value / 1e9
        row[name] = {"ms": value * 1e3, "gflops": gflops, "share": gflops / roof}
    if layer.depthwise:
        row["copy_roof"] = _core.probe_copy(threads)
        for name, value in times.items():
            gbytes = layer.bytes(batch) / value / 1e9
            row[name].update(gbytes=gbytes, share=gbytes / row["copy_roof"])
    return row


# network of pycnn.applications -> batches it is measured at
NETS = {
    "lenet5": (1, 64),
    "mnist_cnn": (64, 128),
    "resnet20": (1, 128),
    "resnet18": (1, 16),
    "mobilenetv2": (1, 16),
    "resnet50": (1, 16),
}


def call_seconds(call: Callable[[], Any], repeats: int) -> tuple[float, float]:
    """Best and median of `repeats` calls after two that warm up."""
    times = []
    for i in range(repeats + 2):
        start = time.perf_counter()
        call()
        if i >= 2:
            times.append(time.perf_counter() - start)
    return min(times), statistics.median(times)


def measure_net(name: str, batch: int, isa: str, threads: int, repeats: int) -> dict[str, Any]:
    """Times of train_on_batch (Adam) and of a prediction from Python, on random images."""
    random = np.random.default_rng(0)
    model = getattr(applications, name)()
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    x = random.random((batch, *model.input_shape[1:]), np.float32)
    y = random.integers(0, model.output_shape[-1], batch).astype(np.int32)
    from .._predictor import Predictor

    predict = Predictor(model, batch)

    def seconds() -> tuple[tuple[float, float], tuple[float, float]]:
        train = call_seconds(lambda: model.train_on_batch(x, y), repeats)
        return train, call_seconds(lambda: predict(x), repeats)

    ((train, train_median), (infer, infer_median)), roof, calm = undisturbed(isa, threads, seconds)
    return {
        "net": name,
        "batch": batch,
        "train_ms": train * 1e3,
        "train_median_ms": train_median * 1e3,
        "train_images_per_second": batch / train,
        "infer_ms": infer * 1e3,
        "infer_median_ms": infer_median * 1e3,
        "infer_images_per_second": batch / infer,
        "roof": roof,
        "calm": calm,
    }
