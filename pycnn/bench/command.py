# SPDX-License-Identifier: Apache-2.0
"""The command line of the benchmark."""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pycnn

from .. import _core
from ..ground.commands import positive
from .measure import NETS, PASSES, Machine, measure_layer, measure_net, probe_machine
from .suites import SUITES


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pycnn bench",
        description="Measures roofs, convolution layers and networks. A line marked ~ was taken on "
        "a machine that was busy with something else: the roof moved by more than 5 % around it.",
    )
    parser.add_argument("what", nargs="*", metavar="roofs|layers|nets", help="default: all three")
    parser.add_argument("--suite", default="3x3,small", help=f"of {','.join(SUITES)}, or all")
    parser.add_argument("--nets", default="lenet5,mnist_cnn", help=f"of {','.join(NETS)}, or all")
    parser.add_argument("--threads", type=positive, help="default: all available")
    parser.add_argument("--batch", type=positive, default=16, help="images per layer (default 16)")
    parser.add_argument("--repeats", type=positive, default=15, help="runs behind each best time")
    parser.add_argument("--json", metavar="FILE", help="also write the results here (- = stdout)")
    return parser


def main(argv: Sequence[str]) -> int:
    options = make_parser().parse_args(list(argv))
    names = list(SUITES) if options.suite == "all" else options.suite.split(",")
    for name in names:
        if name not in SUITES:
            raise ValueError(f"bench: expected a suite of {', '.join(SUITES)}, got {name!r}")
    nets = list(NETS) if options.nets == "all" else options.nets.split(",")
    for net in nets:
        if net not in NETS:
            raise ValueError(f"bench: expected nets of {', '.join(NETS)}, got {net!r}")
    what = options.what or ["roofs", "layers", "nets"]
    for part in what:
        if part not in ("roofs", "layers", "nets"):
            raise ValueError(f"bench: expected roofs, layers or nets, got {part!r}")
    _core.set_num_threads(options.threads or 0)
    threads, isa = _core.num_threads(), _core.default_isa()
    if options.json and options.json != "-":
        with open(options.json, "a"):  # found out before the measuring
            pass
    out = sys.stderr if options.json == "-" else sys.stdout
    machine = probe_machine(isa, threads)
    results: dict[str, Any] = {
        "pycnn": pycnn.__version__,
        "command": "pycnn bench " + " ".join(argv),
        "processor": processor_name(),
        "machine": asdict(machine),
    }
    print_machine(machine, out)
    if "layers" in what:
        results["layers"] = []
        for name in names:
            print(f"\n{name}, batch {options.batch}: GFLOP/s (share of the FMA roof)", file=out)
            for layer in SUITES[name]:
                row = measure_layer(layer, options.batch, isa, threads, options.repeats)
                results["layers"].append({"suite": name, **row})
                print(layer_line(row), file=out, flush=True)
    if "nets" in what:
        results["nets"] = []
        print("\nnetworks, called from Python: best (median) time", file=out)
        for net in nets:
            for batch in NETS[net]:
                row = measure_net(net, batch, isa, threads, 4 * options.repeats)
                results["nets"].append(row)
                print(net_line(row), file=out, flush=True)
    if options.json:
        text = json.dumps(results, indent=1)
        sys.stdout.write(text + "\n") if options.json == "-" else Path(options.json).write_text(
            text
        )
    return 0


def processor_name() -> str:
    """As the system names it, such as "AMD EPYC"."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def print_machine(machine: Machine, out: Any) -> None:
    print(
        f"{processor_name()}, {machine.isa}, {machine.threads} threads: "
        f"multiply-adds {machine.fma_gflops:.0f} GFLOP/s "
        f"({machine.fma_gflops_one_thread:.0f} on one thread), "
        f"copy {machine.copy_gbytes:.1f} GB/s",
        file=out,
        flush=True,
    )


def layer_line(row: dict[str, Any]) -> str:
    cells = []
    unit, roof = ("gbytes", "copy_roof") if "copy_roof" in row else ("gflops", "roof")
    for name in PASSES:
        if name in row:
            cells.append(f"{name} {row[name][unit]:5.0f} ({row[name]['share'] * 100:3.0f} %)")
    mark = " " if row["calm"] else "~"
    note = "  GB/s" if unit == "gbytes" else ""
    return f"{mark} {row['layer']:22s} roof {row[roof]:4.0f}  " + "  ".join(cells) + note


def net_line(row: dict[str, Any]) -> str:
    mark = " " if row["calm"] else "~"
    return (
        f"{mark} {row['net']:16s} batch {row['batch']:4d}: "
        f"training step {row['train_ms']:7.3f} ({row['train_median_ms']:7.3f}) ms, "
        f"prediction {row['infer_ms']:7.3f} ({row['infer_median_ms']:7.3f}) ms, "
        f"{row['infer_images_per_second']:.0f} images/s"
    )
