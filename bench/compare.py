# SPDX-License-Identifier: Apache-2.0
"""pycnn beside its peers: the same networks, weights, batches and threads, A B A B ...

    python bench/compare.py --setup DIR     # once: an environment for each peer
    python bench/compare.py --peers DIR --out STEM

Writes STEM.json, STEM.md and STEM.png. What is equal and how it is measured: bench/README.md.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import report
import translate
from sides import BENCH, TOLERANCE, Mismatch, Side, SideError, alternate, check_equal, summarise

import pycnn
from pycnn import applications

# peer -> its module and further arguments; requirements-NAME.txt and DIR/NAME have its name
PEERS = {
    "pytorch": ["peers.pytorch"],
    "tensorflow": ["peers.keras3", "tensorflow"],
    "jax": ["peers.keras3", "jax"],
    "onnxruntime": ["peers.onnxruntime"],
    "openvino": ["peers.openvino"],
}

# network of pycnn.applications -> batches of a training step, batches of a prediction
NETS = {
    "lenet5": ([1, 64], [1, 16]),
    "mnist_cnn": ([64, 128, 512], [1, 16]),
    "resnet20": ([128], [1, 16]),
    "resnet18": ([16], [1, 16]),
    "mobilenetv2": ([16], [1, 16]),
    "resnet50": ([8], [1, 16]),
}


@dataclass(frozen=True)
class Case:
    net: str
    mode: str  # "train" or "predict"
    batch: int

    def __str__(self) -> str:
        return f"{self.net} {self.mode} b{self.batch}"


def python_of(folder: Path, peer: str) -> Path:
    return folder / peer / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def set_up(folder: Path, peers: list[str]) -> None:
    """Makes the missing environments."""
    for peer in peers:
        python = python_of(folder, peer)
        if python.exists():
            print(f"{peer}: is there")
            continue
        print(f"{peer}: installing", flush=True)
        subprocess.run([sys.executable, "-m", "venv", folder / peer], check=True)
        requirements = BENCH / "peers" / f"requirements-{peer}.txt"
        subprocess.run([python, "-m", "pip", "install", "--quiet", "-r", requirements], check=True)


def command_of(python: Path | str, module: list[str], threads: int) -> list[str]:
    return [str(python), "-m", module[0], str(threads), *module[1:]]


def make_model(net: str) -> pycnn.Model:
    pycnn.set_seed(1)
    model: pycnn.Model = getattr(applications, net)()
    return model


def write_case(case: Case, model: pycnn.Model, folder: Path) -> None:
    """What both sides compute on: weights, a batch, labels, all from a fixed seed."""
    translate.randomize(model, seed=2)
    model.save(folder / "model.pycnn")
    program = translate.translate(model, training=case.mode == "train")
    (folder / f"{case.mode}.json").write_text(program.to_json())
    if program.ends_in_softmax:
        (folder / "softmax").touch()
    random = np.random.default_rng(3)
    x = random.random((case.batch, *program.input_shape), np.float32)
    y = random.integers(0, program.ops[-1].shape[-1], case.batch).astype(np.int32)
    weights = {"w:" + name: array for name, array in translate.weights_of(model).items()}
    np.savez(folder / "arrays.npz", x=x, y=y, **weights)  # type: ignore[arg-type]


def run_case(
    own: Any, peer: Any, case: Case, model: pycnn.Model, rounds: int, seconds: float
) -> dict[str, Any]:
    """Check, then time; SideError or Mismatch where there is nothing to time."""
    with tempfile.TemporaryDirectory() as folder:
        write_case(case, model, Path(folder))
        where = {"folder": folder, "mode": case.mode}
        own.ask("prepare", **where)
        prepared = peer.ask("prepare", **where)
        own.ask("choose", seconds=seconds)
        prepared.update(choose(peer, seconds))
        difference = check_equal(own.ask("check"), peer.ask("check"))
        return {**prepared, "difference": difference, **measure(own, peer, rounds, seconds)}


def choose(peer: Any, seconds: float) -> dict[str, Any]:
    chosen: dict[str, Any] = peer.ask("choose", seconds=seconds)
    return chosen


def measure(own: Any, peer: Any, rounds: int, seconds: float) -> dict[str, Any]:
    return summarise(alternate(own, peer, rounds, seconds))


def cases_of(options: argparse.Namespace) -> Iterator[Case]:
    for net in options.nets:
        if not hasattr(applications, net):
            print(f"skipped {net}: pycnn.applications does not have it")
            continue
        for mode, batches in zip(("train", "predict"), NETS[net], strict=True):
            if mode in options.modes:
                yield from (Case(net, mode, batch) for batch in options.batches or batches)


def compare(options: argparse.Namespace) -> dict[str, Any]:
    """All cases beside all peers that are there; what was skipped is listed by name."""
    cases = list(cases_of(options))
    own_command = command_of(sys.executable, ["peers.own"], options.threads)
    rows: list[dict[str, Any]] = []
    skipped: list[dict[str, str]] = []

    def skip(peer: str, what: str, why: object) -> None:
        skipped.append({"peer": peer, "what": what, "why": str(why)})
        print(f"skipped {peer} {what}: {why}", flush=True)

    with Side("pycnn", own_command, options.threads) as own:
        result = {"versions": {"pycnn": own.ask("hello")["versions"]}, "roof_before": roof(own)}
        for name in options.only:
            python = python_of(options.peers, name)
            if not python.exists():
                skip(name, "all", "not installed (compare.py --setup)")
                continue
            command = command_of(python, PEERS[name], options.threads)
            with Side(name, command, options.threads) as peer:
                try:
                    hello = peer.ask("hello")
                except SideError as error:
                    skip(name, "all", error)
                    continue
                result["versions"][name] = hello["versions"]
                for case in cases:
                    if case.mode not in hello["modes"]:
                        continue
                    model = make_model(case.net)
                    try:
                        row = run_case(own, peer, case, model, options.rounds, options.seconds)
                    except (SideError, Mismatch) as error:
                        skip(name, str(case), f"{type(error).__name__}: {error}")
                        continue
                    rows.append({"peer": name, **vars(case), **row})
                    print(report.line(rows[-1]), flush=True)
        result["roof_after"] = roof(own)
    return {**result, "rows": rows, "skipped": skipped}


def roof(own: Any) -> float:
    """GFLOP/s of multiply-adds, the best of some probes."""
    return max(float(own.ask("probe", seconds=0.05)["gflops"]) for _ in range(5))


def parse(arguments: list[str]) -> argparse.Namespace:
    def names(text: str) -> list[str]:
        return text.split(",")

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--setup", metavar="DIR", type=Path, help="make the environments there")
    parser.add_argument("--peers", metavar="DIR", type=Path, help="where --setup made them")
    parser.add_argument(
        "--only", type=names, default=list(PEERS), help="peers, such as jax,pytorch"
    )
    parser.add_argument("--nets", type=names, default=list(NETS), help=f"of {','.join(NETS)}")
    parser.add_argument("--modes", type=names, default=["train", "predict"])
    parser.add_argument("--batches", type=lambda text: [int(b) for b in names(text)])
    parser.add_argument("--threads", type=int, default=pycnn.num_threads())
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=0.2, help="of each side in a round")
    parser.add_argument("--layers", metavar="FILE", type=Path, help="JSON of pycnn bench layers")
    parser.add_argument("--out", metavar="STEM", type=Path, help="STEM.json, STEM.md, STEM.png")
    options = parser.parse_args(arguments)
    if not options.setup and not options.peers:
        parser.error("--peers DIR is needed; --setup DIR makes it")
    for given, known in ((options.only, PEERS), (options.nets, NETS)):
        if unknown := [name for name in given if name not in known]:
            parser.error(f"expected names of {', '.join(known)}, got {unknown[0]!r}")
    return options


def main(arguments: list[str]) -> None:
    options = parse(arguments)
    if options.setup:
        set_up(options.setup, options.only)
        return
    shown = " ".join(a if a != str(options.peers) else "DIR" for a in arguments)
    about = {
        "command": f"python bench/compare.py {shown}",
        "date": time.strftime("%Y-%m-%d"),
        "processor": report.processor_name(),
        "threads": options.threads,
        "rounds": options.rounds,
        "seconds": options.seconds,
        "tolerance": TOLERANCE,
    }
    result = {**about, **compare(options)}
    layers = json.loads(options.layers.read_text()) if options.layers else None
    if options.out:
        report.write(result, layers, options.out)
    else:
        print("\n" + report.markdown(result))


if __name__ == "__main__":
    main(sys.argv[1:])
