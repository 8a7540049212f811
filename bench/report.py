# SPDX-License-Identifier: Apache-2.0
"""A comparison as lines, as a Markdown table, as JSON and as a plot."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from pycnn.bench.command import processor_name as processor_name
from pycnn.bench.measure import PASSES
from pycnn.bench.suites import SUITES

Row = dict[str, Any]
COLORS = {
    "pytorch": "#d1495b",
    "tensorflow": "#edae49",
    "jax": "#66a182",
    "onnxruntime": "#2e4057",
    "openvino": "#8d96a3",
}


def write(result: dict[str, Any], layers: dict[str, Any] | None, stem: Path) -> None:
    """STEM.json, STEM.md and, where matplotlib is installed, STEM.png."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    Path(f"{stem}.json").write_text(json.dumps(result, indent=1) + "\n")
    Path(f"{stem}.md").write_text(markdown(result))
    try:
        plot(result, layers, Path(f"{stem}.png"))
    except ImportError:
        print("no plot: matplotlib is not installed")


def milliseconds(value: float) -> str:
    """Three digits, as in 0.0123, 1.23, 123."""
    digits = max(0, 2 - math.floor(math.log10(value)))
    return f"{value:.{digits}f}"


def interval(ratio: dict[str, float]) -> str:
    return f"{ratio['median']:.2f} [{ratio['low']:.2f}, {ratio['high']:.2f}]"


def line(row: Row) -> str:
    return (
        f"{row['net']:12s} {row['mode']:8s} batch {row['batch']:4d}: "
        f"pycnn {milliseconds(row['own_ms']):>7s} ms, "
        f"{row['peer']} {milliseconds(row['peer_ms']):>7s} ms ({row['variant']}), "
        f"ratio {interval(row['ratio'])}, difference {max(row['difference'].values()):.1e}, "
        f"calm {row['calm_rounds']}"
    )


def markdown(result: dict[str, Any]) -> str:
    """The table, with the losses in it, and what could not be compared."""
    best = max((max(row["roof"]) for row in result["rows"]), default=0.0)
    roofs = f"{result['roof_before']:.0f} GFLOP/s before, {result['roof_after']:.0f} after"
    roofs += f", at best {best:.0f} between"
    versions = ", ".join(
        f"{name} {version}"
        for name, version in sorted(
            {k: v for side in result["versions"].values() for k, v in side.items()}.items()
        )
    )
    lines = [
        f"{result['processor']}, {result['threads']} threads, {result['date']}; FMA roof {roofs}.",
        f"Versions: {versions}.",
        f"Command: `{result['command']}`",
        "",
        "Times are the best of all rounds. The ratio is peer / pycnn (above 1, pycnn is faster), "
        f"median of {result['rounds']} rounds with its 95 % bootstrap interval. A row marked ~ has "
        "fewer calm rounds, as something else kept the machine busy.",
        "",
        "| network | mode | batch | peer | its fastest variant | pycnn ms | peer ms | ratio |",
        "|---|---|---|---|---|---|---|---|",
    ]
    order = {"train": 0, "predict": 1}
    rows = sorted(result["rows"], key=lambda r: (r["net"], order[r["mode"]], r["batch"]))
    for r in rows:
        own, peer = milliseconds(r["own_ms"]), milliseconds(r["peer_ms"])
        ratio = interval(r["ratio"])
        lost = " (slower)" if r["ratio"]["median"] < 1 else ""
        busy = "~ " if r["calm_rounds"] < result["rounds"] else ""
        lines.append(
            f"| {busy}{r['net']} | {r['mode']} | {r['batch']} | {r['peer']} | {r['variant']} "
            f"| {own} | {peer} | {ratio}{lost} |"
        )
    if result["skipped"]:
        lines += ["", "Not compared:", ""]
        lines += [f"- {s['peer']}, {s['what']}: {s['why']}" for s in result["skipped"]]
    return "\n".join(lines) + "\n"


def plot(result: dict[str, Any], layers: dict[str, Any] | None, path: Path) -> None:
    """Bars of the ratios and, where layers were measured, a roofline with a point for each."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    bars = len({case_of(row) for row in result["rows"]})
    width = 3 + 0.75 * bars
    size = (width + (6 if layers else 0), 4.5)
    figure, axes = pyplot.subplots(
        1,
        2 if layers else 1,
        figsize=size,
        squeeze=False,
        width_ratios=[width, 6][: 1 + bool(layers)],
    )
    draw_ratios(axes[0][0], result)
    if layers:
        draw_roofline(axes[0][1], layers)
    figure.tight_layout()
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


def case_of(row: Row) -> tuple[str, str, int]:
    return row["mode"], row["net"], row["batch"]


def draw_ratios(axis: Any, result: dict[str, Any]) -> None:
    rows: list[Row] = result["rows"]
    cases = sorted({case_of(row) for row in rows}, key=lambda c: (c[0] != "train", c[1:]))
    peers = [name for name in result["versions"] if any(r["peer"] == name for r in rows)]
    share = 0.8 / max(1, len(peers))
    for i, peer in enumerate(peers):
        mine = [row for row in rows if row["peer"] == peer]
        places = [cases.index(case_of(row)) + (i + 0.5) * share - 0.4 for row in mine]
        ratios = [row["ratio"] for row in mine]
        heights = [r["median"] - 1 for r in ratios]  # a loss hangs below the line
        errors = [
            [r["median"] - r["low"] for r in ratios],
            [r["high"] - r["median"] for r in ratios],
        ]
        axis.bar(
            places,
            heights,
            share,
            bottom=1,
            yerr=errors,
            label=peer,
            color=COLORS.get(peer),
            error_kw={"linewidth": 1},
        )
    axis.axhline(1, color="black", linewidth=1)
    axis.set_yscale("log")
    axis.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.set_xticks(range(len(cases)), [f"{n}\n{m}\nb{b}" for m, n, b in cases], fontsize=8)
    axis.set_ylabel("time of the peer / time of pycnn\n(above 1, pycnn is faster)")
    axis.set_title(f"{result['processor']}, {result['threads']} threads", fontsize=10)
    axis.set_ylim(min(0.5, *axis.get_ylim()), max(2, *axis.get_ylim()) * 1.5)
    axis.legend(fontsize=8, ncols=max(1, len(peers)), loc="upper left")


def draw_roofline(axis: Any, layers: dict[str, Any]) -> None:
    """GFLOP/s over FLOP per byte of compulsory traffic: x, w and y once."""
    machine = layers["machine"]
    for name, marker in zip(PASSES, "o^s", strict=True):
        points = [(intensity(row), row[name]["gflops"]) for row in layers["layers"] if name in row]
        if points:
            axis.scatter(*zip(*points, strict=True), marker=marker, s=18, label=name)
    known = [intensity(row) for row in layers["layers"]]
    left, right = min(known) / 2, max(known) * 2
    steps = [left * (right / left) ** (i / 99) for i in range(100)]
    roof = [min(machine["fma_gflops"], s * machine["copy_gbytes"]) for s in steps]
    axis.plot(steps, roof, color="black", linewidth=1, label="multiply-adds, copy from memory")
    axis.set_xscale("log")
    axis.set_yscale("log")
    for side in (axis.xaxis, axis.yaxis):
        side.set_major_formatter(lambda value, _: f"{value:g}")
    axis.yaxis.set_minor_formatter(lambda value, _: "")
    axis.set_xlabel("FLOP per byte (above the roof: the layer lies in the cache)")
    axis.set_ylabel("GFLOP/s")
    axis.set_title(f"layers, {machine['isa']}, {machine['threads']} threads", fontsize=10)
    axis.legend(fontsize=8)


def intensity(row: Row) -> float:
    layer = next(layer for layer in SUITES[row["suite"]] if layer.name == row["layer"])
    pixels = row["batch"] * (layer.size**2 * layer.channels + layer.out**2 * layer.filters)
    weights = layer.kernel**2 * layer.channels * layer.filters
    return layer.flops(row["batch"]) / (4 * (pixels + weights))
