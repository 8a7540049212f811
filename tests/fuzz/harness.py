# SPDX-License-Identifier: Apache-2.0
"""Runs the cases of a fuzzer in a child process, so that a crash or a hang names its case.

A case is a function of (seed, number). The child says which one it begins and how it ended; where
it dies or stays silent, the parent notes the case and starts another child behind it.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import os
import secrets
import select
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

HANG_SECONDS = 10.0
MAX_MEMORY = 1 << 30  # what a case may add to the process
FEWEST_CASES = 3  # however short the time is
MAX_TEXT = 6000

# run(seed, case, say): the outcome, several joined by "+"; say(text) notes what the case does.
# What it raises is a finding.
RunCase = Callable[[int, int, Callable[[str], None]], str]


class Finding(Exception):
    """A result that is wrong."""


@dataclass
class Tally:
    """What came of the cases."""

    executions: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    failures: list[int] = field(default_factory=list)


def main(run: RunCase) -> int:
    """The command line of a fuzzer: 0 where no case failed."""
    parser = argparse.ArgumentParser(description=sys.modules["__main__"].__doc__)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--seed", type=int, help="of all cases; a fresh one where absent")
    parser.add_argument("--case", type=int, help="run this case alone and say what it does")
    parser.add_argument("--hang", type=float, default=HANG_SECONDS, help="seconds for one case")
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.seed is None:
        options.seed = secrets.randbelow(2**31)
    if options.child is not None:
        run_cases(run, options.seed, options.child, options.case is not None)
        return 0
    name = Path(sys.argv[0]).name
    print(f"{name}: seed {options.seed}", flush=True)
    start = time.monotonic()
    tally = Tally()
    first = options.case or 0
    while first >= 0 and (tally.executions == 0 or time.monotonic() < start + options.seconds):
        first = watch_child(options, first, start + options.seconds, tally)
    counts = ", ".join(f"{outcome} {count}" for outcome, count in tally.outcomes.most_common())
    print(
        f"{name}: {tally.executions} executions in {time.monotonic() - start:.0f} s, "
        f"seed {options.seed}: {counts or 'none passed'}; {len(tally.failures)} failed"
    )
    return 1 if tally.failures else 0


# --- the child ------------------------------------------------------------------------------------


def run_cases(run: RunCase, seed: int, first: int, alone: bool) -> None:
    """Cases from the first on, until the parent has enough."""
    faulthandler.enable()
    start_memory = peak_memory()
    case = first
    while True:
        report("start", case)
        notes: list[str] = []
        say = print_note if alone else notes.append
        try:
            outcome = run(seed, case, say)
            grown = peak_memory() - start_memory
            if grown > MAX_MEMORY:
                reset_peak_memory()
                raise Finding(f"took {grown >> 20} MiB")
            report("done", case, outcome)
        except Exception:
            text = traceback.format_exc()[-MAX_TEXT:]
            report("fail", case, "\n".join([*notes, text]) if notes else text)
        if alone:
            return
        case += 1


def report(event: str, case: int, text: str = "") -> None:
    print(json.dumps([event, case, text]), flush=True)


def print_note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def peak_memory() -> int:
    """The most bytes the process had at once; 0 where the system does not say."""
    try:
        text = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return 0
    return int(text.partition("VmHWM:")[2].split()[0]) * 1024


def reset_peak_memory() -> None:
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        pass


# --- the parent -----------------------------------------------------------------------------------


def watch_child(options: argparse.Namespace, first: int, end: float, tally: Tally) -> int:
    """The case to go on with after the child is gone; -1 where all is done."""
    with tempfile.TemporaryFile() as errors:
        command = [sys.executable, sys.argv[0], "--seed", str(options.seed), "--child", str(first)]
        if options.case is not None:
            command += ["--case", str(first)]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors)
        assert child.stdout is not None
        running: int | None = None
        for line in lines_of(child, options.hang):
            event, case, text = json.loads(line)
            if event == "start":
                running = case
                continue
            running = None
            tally.executions += event == "done"
            if event == "done":
                tally.outcomes.update(text.split("+"))
            else:
                fail(tally, options.seed, case, text)
            enough = time.monotonic() >= end and tally.executions >= FEWEST_CASES
            if options.case is None and enough:
                child.kill()
                break
        code = child.wait()
        child.stdout.close()
        if options.case is not None:
            print(tail_of(errors), file=sys.stderr)
        if running is not None or tally.executions == 0:
            case = first if running is None else running
            fail(tally, options.seed, case, f"{cause_of(code)}\n{tail_of(errors)}")
            return -1 if options.case is not None else case + 1
        return -1


def lines_of(child: subprocess.Popen[bytes], patience: float) -> Iterator[bytes]:
    """The lines a child prints; a silent one is told to show where it is, and ended."""
    assert child.stdout is not None
    buffer = b""
    patience_now = patience + 60  # it imports first
    while True:
        ready, _, _ = select.select([child.stdout], [], [], patience_now)
        if not ready:
            child.send_signal(signal.SIGABRT)  # faulthandler prints the stack
            child.wait()
            return
        patience_now = patience
        block = os.read(child.stdout.fileno(), 1 << 16)
        if not block:
            return
        *lines, buffer = (buffer + block).split(b"\n")
        yield from lines


def cause_of(code: int) -> str:
    if code == -signal.SIGABRT:
        return "crash or hang: SIGABRT"
    return f"crash: {signal.Signals(-code).name}" if code < 0 else f"exit with {code}"


def tail_of(errors: IO[bytes]) -> str:
    errors.seek(0)
    return errors.read().decode(errors="replace")[-MAX_TEXT:]


def fail(tally: Tally, seed: int, case: int, text: str) -> None:
    tally.executions += 1
    tally.failures.append(case)
    print(f"--- case {case} of seed {seed} failed:\n{text.rstrip()}")
    print(f"reproduce: python {sys.argv[0]} --seed {seed} --case {case}", flush=True)
