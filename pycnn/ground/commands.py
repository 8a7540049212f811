# SPDX-License-Identifier: Apache-2.0
"""What the commands share."""

import argparse

from .text import quoted


def positive(text: str) -> int:
    """For argparse: an integer of at least 1."""
    number = int(text) if text.isdecimal() and len(text) < 19 else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected an integer >= 1, got {quoted(text)}")
    return number
