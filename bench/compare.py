# SPDX-License-Identifier: Apache-2.0
"""pycnn beside a peer: training steps of the same networks, A B A B ..., the ratio of each round.

    python bench/compare.py --peer-python PATH [--threads 2] [--rounds 5] [--json FILE]

PATH is the Python of an environment with torch (pip install torch). Each side runs in a process of
its own. A round's figure is its best step; the summary is the median of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

PEER = Path(__file__).parent / "peers" / "pytorch.py"
REPEATS = 60


def own_seconds(threads: int, repeats: int) -> dict[str, list[float]]:
    """Of train_on_batch, on the same random batch."""
    import pycnn
    from pycnn import applications

    pycnn.set_num_threads(threads)
    random, times = np.random.default_rng(0), {}
    nets = {
        "LeNet-5, 64": (applications.lenet5, 64),
        "Keras MNIST CNN, 128": (applications.mnist_cnn, 128),
    }
    for name, (make, batch) in nets.items():
        model = make()
        model.compile("adam", "sparse_categorical_crossentropy")
        x = random.random((batch, 28, 28, 1), np.float32)
        y = random.integers(0, 10, batch).astype(np.int32)
        taken = []
        for _ in range(repeats + 3):
            start = time.perf_counter()
            model.train_on_batch(x, y)
            taken.append(time.perf_counter() - start)
        times[name] = taken[3:]
    return times


def run(command: list[str]) -> dict[str, list[float]]:
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    seconds: dict[str, list[float]] = json.loads(output.splitlines()[-1])["seconds"]
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer-python", help="Python of an environment with torch")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--own", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.own:
        print(json.dumps({"seconds": own_seconds(options.threads, REPEATS)}))
        return
    if not options.peer_python:
        parser.error("--peer-python is needed")
    own = [sys.executable, __file__, "--own", "--threads", str(options.threads)]
    peer = [options.peer_python, str(PEER), str(options.threads), str(REPEATS)]
    rounds = [(run(own), run(peer)) for _ in range(options.rounds)]
    rows = []
    for name in rounds[0][0]:
        best = [(min(a[name]) * 1e3, min(b[name]) * 1e3) for a, b in rounds]
        middle = [(statistics.median(a[name]), statistics.median(b[name])) for a, b in rounds]
        rows.append(
            {
                "net": name,
                "best_ms": best,
                "ratio_of_best": statistics.median(b / a for a, b in best),
                "ratio_of_medians": statistics.median(b / a for a, b in middle),
            }
        )
        print(
            f"{name:22s} pycnn {min(a for a, _ in best):7.2f} ms, "
            f"PyTorch {min(b for _, b in best):7.2f} ms, "
            f"ratio {rows[-1]['ratio_of_best']:.2f} (of medians {rows[-1]['ratio_of_medians']:.2f})"
        )
    if options.json:
        command = f"python bench/compare.py --peer-python PYTHON --threads {options.threads}"
        command += f" --rounds {options.rounds}"
        result = {"command": command, "threads": options.threads, "nets": rows}
        Path(options.json).write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
