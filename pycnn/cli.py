# SPDX-License-Identifier: Apache-2.0
"""The command pycnn: train, info, bench."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pycnn

from . import _core
from .ground.commands import positive
from .ground.text import printable

if TYPE_CHECKING:
    from .recipes import Outcome


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        if arguments[:1] == ["bench"]:  # has a parser of its own
            status = importlib.import_module("pycnn.bench").main(arguments[1:])
            return int(status or 0)
        options = make_parser().parse_args(arguments)
        return int(options.run(options))
    except KeyboardInterrupt:
        print("pycnn: interrupted", file=sys.stderr)
        return 130
    except (OSError, ValueError, ImportError, ArithmeticError) as error:
        print(f"pycnn: {printable(str(error))}", file=sys.stderr)
        return 1


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="pycnn", description="Convolutional networks on the CPU.")
    parser.add_argument("--version", action="version", version=f"pycnn {pycnn.__version__}")
    commands = parser.add_subparsers(required=True, metavar="command")
    _add_train(commands)
    info = commands.add_parser("info", help="show version, instruction sets, threads and kernels")
    info.set_defaults(run=run_info)
    commands.add_parser("bench", help="measure kernels, layers and networks", add_help=False)
    return parser


def _add_train(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    train = commands.add_parser(
        "train", help="train, test and save a network for handwritten digits"
    )
    train.add_argument(
        "dataset",
        choices=("digits", "mnist"),
        help="digits: scikit-learn's, bundled; mnist: idx files in $PYCNN_HOME/mnist",
    )
    train.add_argument("--epochs", type=positive, help="at most this many")
    train.add_argument("--batch-size", type=positive, help="samples a step")
    train.add_argument("--threads", type=positive, help="default: all this process may use")
    train.add_argument("--seed", type=int, default=0, help="same seed, same result (default 0)")
    train.add_argument(
        "--output",
        type=Path,
        default=Path("pycnn_runs"),
        metavar="DIR",
        help="folder for the model and the picture (default pycnn_runs)",
    )
    train.add_argument("--quiet", action="store_true", help="show the result only")
    train.set_defaults(run=run_train)


def run_train(options: argparse.Namespace) -> int:
    from . import recipes

    recipe = recipes.RECIPES[options.dataset]
    pycnn.set_seed(options.seed)
    if options.threads is not None:
        pycnn.set_num_threads(options.threads)
    model_path = options.output / f"{options.dataset}.pycnn"
    picture = options.output / f"{options.dataset}.png"
    _check_output(options.output, model_path, picture)
    outcome = recipes.run(
        recipe,
        options.epochs or recipe.epochs,
        options.batch_size or recipe.batch_size,
        verbose=0 if options.quiet else "auto",
    )
    options.output.mkdir(parents=True, exist_ok=True)
    outcome.model.save(model_path)
    result = (
        f"test accuracy {100 * outcome.accuracy:.2f} % "
        f"({outcome.correct} of {len(outcome.data.y_test)})"
    )
    epochs, threads = len(outcome.history.epoch), pycnn.num_threads()
    print(
        f"{options.dataset}: {result}, trained {epochs} epochs in {outcome.seconds:.1f} s, "
        f"{threads} thread{'s' * (threads > 1)}"
    )
    print(f"model:   {model_path}")
    _write_picture(picture, f"{options.dataset}: {result}", outcome)
    return 0


def _check_output(folder: Path, *paths: Path) -> None:
    """Finds out before the training what would keep its results from being written."""
    present = folder
    while not _exists(present):
        present = present.parent
    with tempfile.TemporaryFile(dir=present):
        pass
    for path in paths:
        if path.exists() and not path.is_file():
            raise OSError(f"--output: not a regular file: {path}")


def _exists(path: Path) -> bool:
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _write_picture(path: Path, title: str, outcome: Outcome) -> None:
    from . import viz

    data = outcome.data
    try:
        viz.save_report(
            path, title, outcome.history.history, data.x_test, data.y_test, outcome.predictions
        )
    except ImportError:
        print("picture: none, it needs matplotlib: pip install 'pycnn[demo]'")
        return
    print(f"picture: {path}")


def run_info(options: argparse.Namespace) -> int:
    print(f"pycnn {pycnn.__version__}")
    print(f"instruction sets: {', '.join(pycnn.isas())} (used: {_core.default_isa()})")
    print(f"threads: {pycnn.num_threads()} of {_core.available_threads()} available")
    for isa in pycnn.isas():
        print(f"kernels, {isa}: {', '.join(_core.kernels(isa))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
